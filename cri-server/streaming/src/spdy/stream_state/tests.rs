//! Checks of `spdy/stream_state.rs`.

use proptest::prelude::*;

use super::*;

fn event() -> impl Strategy<Value = Event> {
    use Event as E;
    prop::sample::select(vec![
        E::RemoteData,
        E::RemoteFin,
        E::Reset,
        E::Accept,
        E::LocalData,
        E::LocalFin,
    ])
}

#[track_caller]
fn check(from: StreamState, event: Event, to: Option<StreamState>) {
    assert_eq!(from.apply(event).ok(), to);
}

const OFFERED: StreamState = StreamState::Offered {
    remote_ended: false,
};

#[test]
fn nothing_is_sent_before_the_reply() {
    check(OFFERED, Event::LocalData, None);
    check(OFFERED, Event::LocalFin, None);
    check(OFFERED, Event::Accept, Some(StreamState::Open));
    let ended = StreamState::Offered { remote_ended: true };
    check(ended, Event::Accept, Some(StreamState::RemoteEnded));
}

#[test]
fn each_side_ends_by_itself() {
    use StreamState as S;
    check(S::Open, Event::RemoteFin, Some(S::RemoteEnded));
    check(S::RemoteEnded, Event::LocalData, Some(S::RemoteEnded));
    check(S::RemoteEnded, Event::RemoteData, None);
    check(S::RemoteEnded, Event::LocalFin, Some(S::Closed));
    check(S::Open, Event::LocalFin, Some(S::LocalEnded));
    check(S::LocalEnded, Event::RemoteData, Some(S::LocalEnded));
    check(S::LocalEnded, Event::LocalData, None);
    check(S::LocalEnded, Event::RemoteFin, Some(S::Closed));
}

proptest! {
    /// The state against what it stands for, event by event.
    #[test]
    fn the_state_is_the_sum_of_what_happened(events in prop::collection::vec(event(), 0..20)) {
        let mut state = OFFERED;
        let (mut accepted, mut remote, mut local, mut reset) = (false, true, true, false);
        for event in events {
            let open = !reset && (remote || local);
            let allowed = match event {
                Event::Reset => true,
                Event::RemoteData | Event::RemoteFin => open && remote,
                Event::Accept => open && !accepted,
                Event::LocalData | Event::LocalFin => open && accepted && local,
            };
            match state.apply(event) {
                Ok(next) => {
                    prop_assert!(allowed, "{:?} on {:?}", event, state);
                    state = next;
                }
                Err(denied) => {
                    prop_assert!(!allowed, "{}", denied);
                    continue;
                }
            }
            match event {
                Event::RemoteFin => remote = false,
                Event::LocalFin => local = false,
                Event::Accept => accepted = true,
                Event::Reset => reset = true,
                Event::RemoteData | Event::LocalData => {}
            }
            let closed = reset || !(remote || local);
            prop_assert_eq!(state == StreamState::Closed, closed);
        }
    }
}

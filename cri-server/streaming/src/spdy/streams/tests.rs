//! Checks of `spdy/streams.rs`.

use proptest::prelude::*;

use super::*;

#[test]
fn ids_are_odd_and_only_rise() {
    let mut streams = Streams::new(10);
    assert!(matches!(streams.open(2, false), Opened::BadId));
    assert!(matches!(streams.open(3, false), Opened::Offered(_)));
    assert!(matches!(streams.open(3, false), Opened::BadId));
    assert!(matches!(streams.open(1, false), Opened::BadId));
    assert!(matches!(streams.open(5, false), Opened::Offered(_)));
}

#[test]
fn there_are_never_too_many_streams_and_ended_ones_make_room() {
    let mut streams = Streams::new(1);
    assert!(matches!(streams.open(1, false), Opened::Offered(_)));
    assert!(matches!(streams.open(3, false), Opened::TooMany));
    streams.apply(1, Event::Accept).unwrap();
    streams.apply(1, Event::LocalFin).unwrap();
    assert_eq!(streams.arrived(1, Event::RemoteFin), Ok(Arrived::Wanted));
    assert!(matches!(streams.open(5, false), Opened::Offered(_)));
}

#[test]
fn bytes_for_an_ended_stream_are_dropped_and_for_one_that_never_was_denied() {
    let mut streams = Streams::new(10);
    let _ = streams.open(3, true);
    assert_eq!(streams.arrived(3, Event::RemoteData), Ok(Arrived::Unwanted));
    assert_eq!(streams.arrived(1, Event::RemoteData), Ok(Arrived::Unwanted));
    assert!(streams.arrived(5, Event::RemoteData).is_err());
    assert!(streams.arrived(2, Event::RemoteData).is_err());
}

#[test]
fn a_reset_by_the_client_is_told_and_an_orderly_end_is_not() {
    let mut streams = Streams::new(10);
    let Opened::Offered(mut reset) = streams.open(1, true) else {
        panic!("there is room");
    };
    streams.reset(1);
    assert_eq!(reset.try_recv(), Ok(()));
    let Opened::Offered(mut orderly) = streams.open(3, true) else {
        panic!("there is room");
    };
    streams.apply(3, Event::Accept).unwrap();
    streams.apply(3, Event::LocalFin).unwrap();
    assert!(orderly.try_recv().is_err());
    assert_eq!(streams.len(), 0);
}

proptest! {
    #[test]
    fn whatever_a_client_does_the_table_stays_small(
        steps in prop::collection::vec((0u8..6, 0u32..40), 0..200),
    ) {
        let most = 5;
        let mut streams = Streams::new(most);
        for (step, id) in steps {
            match step {
                0 => drop(streams.open(id, false)),
                1 => drop(streams.open(id, true)),
                2 => drop(streams.arrived(id, Event::RemoteData)),
                3 => drop(streams.arrived(id, Event::RemoteFin)),
                4 => streams.reset(id),
                _ => drop(streams.apply(id, Event::Accept)),
            }
            prop_assert!(streams.len() <= most);
            prop_assert!(streams.last() % 2 == 1 || streams.last() == 0);
        }
    }
}

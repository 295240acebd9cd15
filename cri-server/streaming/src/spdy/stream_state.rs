//! Where a stream is in its life.
//!
//! ```text
//!            SYN_STREAM               SYN_REPLY             FIN of either side
//! (nothing) ───────────▶ Offered ───────────▶ Open ───────▶ RemoteEnded │ LocalEnded
//!                           │                   │                 │  FIN of the other
//!                           └───────────────────┴─────────────────┴──────▶ Closed
//!                               RST_STREAM of either side
//! ```

/// Where a stream is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamState {
    /// The client has opened it, and we have not answered.
    Offered {
        /// The client sends nothing more on it.
        remote_ended: bool,
    },
    /// Both sides may send.
    Open,
    /// Only we may send.
    RemoteEnded,
    /// Only the client may send.
    LocalEnded,
    /// Over.
    Closed,
}

/// What happens to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The client sends bytes.
    RemoteData,
    /// The client sends its last.
    RemoteFin,
    /// Somebody ends it for good.
    Reset,
    /// We take it: `SYN_REPLY`.
    Accept,
    /// We send bytes.
    LocalData,
    /// We send our last.
    LocalFin,
}

/// An event that is not allowed in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} on a stream that is {state:?}")]
pub(crate) struct Denied {
    pub(crate) state: StreamState,
    pub(crate) event: Event,
}

impl StreamState {
    /// The state after `event`, or why it is not allowed now.
    pub(crate) fn apply(self, event: Event) -> Result<Self, Denied> {
        use {Event as E, StreamState as S};
        let may_receive = |state| !matches!(state, S::RemoteEnded | S::Closed);
        Ok(match (self, event) {
            (_, E::Reset) => S::Closed,
            (S::Offered { remote_ended: true }, E::RemoteData | E::RemoteFin) => {
                return Err(Denied { state: self, event });
            }
            (S::Offered { .. }, E::RemoteFin) => S::Offered { remote_ended: true },
            (S::Offered { remote_ended: true }, E::Accept) => S::RemoteEnded,
            (S::Offered { .. }, E::Accept) | (S::Open, E::LocalData) => S::Open,
            (S::Open, E::RemoteFin) => S::RemoteEnded,
            (S::Open, E::LocalFin) => S::LocalEnded,
            (S::LocalEnded, E::RemoteFin) | (S::RemoteEnded, E::LocalFin) => S::Closed,
            (S::RemoteEnded, E::LocalData) => S::RemoteEnded,
            (state, E::RemoteData) if may_receive(state) => state,
            (state, event) => return Err(Denied { state, event }),
        })
    }
}

#[cfg(test)]
mod tests;

//! The streams of a connection: which there are, and in which state. No I/O.

use std::collections::HashMap;

use tokio::sync::oneshot;

use super::stream_state::{Denied, Event, StreamState};

/// The streams of a connection.
#[derive(Debug)]
pub(crate) struct Streams {
    open: HashMap<u32, Entry>,
    /// The highest id that the client has used.
    last: u32,
    most: usize,
}

#[derive(Debug)]
struct Entry {
    state: StreamState,
    /// Tells whoever works on the stream that the client has reset it.
    reset: Option<oneshot::Sender<()>>,
}

/// What becomes of a stream that the client opens.
#[derive(Debug)]
pub(crate) enum Opened {
    /// It is offered to the session; the receiver hears of a reset by the client.
    Offered(oneshot::Receiver<()>),
    /// There are too many.
    TooMany,
    /// Its id was used before, or is one of ours.
    BadId,
}

/// What becomes of bytes that the client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// They are for the stream.
    Wanted,
    /// The stream is over, which the client may not know yet.
    Unwanted,
}

impl Streams {
    /// None yet, and never more than `most` at once.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            open: HashMap::new(),
            last: 0,
            most,
        }
    }

    /// The client opens a stream.
    pub(crate) fn open(&mut self, id: u32, fin: bool) -> Opened {
        if id.is_multiple_of(2) || id <= self.last {
            return Opened::BadId;
        }
        self.last = id;
        if self.open.len() >= self.most {
            return Opened::TooMany;
        }
        let (reset, was_reset) = oneshot::channel();
        let entry = Entry {
            state: StreamState::Offered { remote_ended: fin },
            reset: Some(reset),
        };
        self.open.insert(id, entry);
        Opened::Offered(was_reset)
    }

    /// The client sends bytes or its end on a stream. Denied if it never opened that stream.
    pub(crate) fn arrived(&mut self, id: u32, event: Event) -> Result<Arrived, Denied> {
        if id > self.last || id.is_multiple_of(2) {
            let state = StreamState::Closed;
            return Err(Denied { state, event });
        }
        // What comes after the end does no harm, and is dropped as other implementations do.
        let wanted = self.apply(id, event).is_ok();
        Ok(if wanted {
            Arrived::Wanted
        } else {
            Arrived::Unwanted
        })
    }

    /// Something happens to a stream; one that is over is forgotten.
    pub(crate) fn apply(&mut self, id: u32, event: Event) -> Result<(), Denied> {
        let Some(entry) = self.open.get_mut(&id) else {
            let state = StreamState::Closed;
            return Err(Denied { state, event });
        };
        entry.state = entry.state.apply(event)?;
        if entry.state == StreamState::Closed {
            self.open.remove(&id);
        }
        Ok(())
    }

    /// The client resets a stream; whoever works on it is told.
    pub(crate) fn reset(&mut self, id: u32) {
        if let Some(mut entry) = self.open.remove(&id)
            && let Some(reset) = entry.reset.take()
        {
            let _ = reset.send(());
        }
    }

    /// The stream is not over.
    pub(crate) fn contains(&self, id: u32) -> bool {
        self.open.contains_key(&id)
    }

    /// The highest id that the client has used.
    pub(crate) fn last(&self) -> u32 {
        self.last
    }

    /// How many are not over.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests;

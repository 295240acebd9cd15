//! A conversation with a client from the first frame to the last, whichever protocol it speaks.
//!
//! Everything runs in one task: whatever ends the conversation drops the rest of it, so that nothing is
//! left of it but the log line.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures::future::{Fuse, FusedFuture, FutureExt};

use crate::activity::Activity;
use crate::limits::Limits;

/// For a client to hear the last word, and for what it still sends to be thrown away.
const FAREWELL: Duration = Duration::from_secs(1);

/// The sending half of a protocol.
pub(crate) trait Talk: Send {
    /// Sends what the session has to say, until the session is over and all of it is sent.
    fn talk(&mut self) -> impl Future<Output = io::Result<()>> + Send;

    /// Answers what the client asks once all is sent, for as long as it is polled or until it can't.
    fn answer(&mut self) -> impl Future<Output = io::Result<()>> + Send;

    /// Says in the words of the protocol that this was all, and closes our side.
    fn part(&mut self) -> impl Future<Output = io::Result<()>> + Send;
}

/// How a session ended.
#[derive(Debug)]
pub(crate) enum Ending<V> {
    /// It was over, and the client has everything.
    Finished,
    /// The client closed the connection, or it broke.
    ClientGone,
    /// Nothing moved for too long.
    Idle,
    /// The client did not open its streams in time.
    NoStreams,
    /// What the client sent made no sense.
    Violation(V),
}

/// What a session itself comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All is said.
    Finished,
    /// The client did not open its streams in time.
    NoStreams,
}

/// Runs `session` on a connection whose halves are `listen` and `talker`. `session` must hold whatever
/// keeps `talker`'s queue open.
pub(crate) async fn converse<V, T: Talk>(
    session: impl Future<Output = Outcome>,
    listen: impl Future<Output = Result<(), V>>,
    mut talker: T,
    activity: &Activity,
    limits: &Limits,
) -> Ending<V> {
    let mut listen = pin!(listen.fuse());
    let ending = tokio::select! {
        ending = exchange(session, listen.as_mut(), &mut talker, limits) => ending,
        () = activity.idle(limits.idle) => Ending::Idle,
    };
    if !matches!(ending, Ending::ClientGone) {
        let farewell = tokio::time::timeout(FAREWELL, talker.part()).await;
        // Closing with unread bytes would reset the connection, and the client might lose our last.
        if matches!(farewell, Ok(Ok(()))) && !listen.is_terminated() {
            let _ = tokio::time::timeout(FAREWELL, listen).await;
        }
    }
    ending
}

async fn exchange<V, T: Talk>(
    session: impl Future<Output = Outcome>,
    mut listen: Pin<&mut Fuse<impl Future<Output = Result<(), V>>>>,
    talker: &mut T,
    limits: &Limits,
) -> Ending<V> {
    let heard = |heard: Result<(), V>| match heard {
        Ok(()) => Ending::ClientGone,
        Err(violation) => Ending::Violation(violation),
    };
    let outcome = {
        let mut talk = pin!(talker.talk());
        let outcome = tokio::select! {
            outcome = session => outcome,
            result = listen.as_mut() => return heard(result),
            _ = talk.as_mut() => return Ending::ClientGone,
        };
        // The client may be slow to read what is left; only idleness ends that.
        tokio::select! {
            sent = talk => if sent.is_err() { return Ending::ClientGone },
            result = listen.as_mut() => return heard(result),
        }
        outcome
    };
    if outcome == Outcome::NoStreams {
        return Ending::NoStreams;
    }
    // A client closes when it has everything. A goodbye of ours could overtake what its reader has not
    // got to yet, so that all we do is to answer it.
    let lingering = async {
        tokio::select! {
            _ = listen => {}
            _ = talker.answer() => {}
        }
    };
    let _ = tokio::time::timeout(limits.linger, lingering).await;
    Ending::Finished
}

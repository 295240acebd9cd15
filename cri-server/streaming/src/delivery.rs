//! Handing what the client sent to whoever reads it, for as long as the client is there.

use std::time::Duration;

use tokio::io::{AsyncWriteExt, DuplexStream};

use crate::activity::Activity;

/// How often a client is told that we are there while nothing is read from it.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// What became of bytes from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// They are in the inbox.
    Yes,
    /// Nobody reads this inbox any more.
    Unwanted,
    /// The client hung up while the inbox was full.
    ClientGone,
}

/// Waits until `bytes` fit into `inbox`. While it waits nothing is read from the client, which is the
/// back-pressure; that the client hangs up is seen all the same. `beat` sends it a sign of life, for the
/// end of a connection hides behind what is unread: only a client that is gone answers, with a reset.
pub(crate) async fn deliver(
    inbox: &mut DuplexStream,
    bytes: &[u8],
    activity: &Activity,
    beat: impl Fn(),
) -> Delivered {
    let beating = async {
        loop {
            tokio::time::sleep(HEARTBEAT).await;
            beat();
        }
    };
    tokio::select! {
        biased;
        written = inbox.write_all(bytes) => match written {
            Ok(()) => Delivered::Yes,
            Err(_) => Delivered::Unwanted,
        },
        () = activity.hung_up() => Delivered::ClientGone,
        () = beating => Delivered::ClientGone,
    }
}

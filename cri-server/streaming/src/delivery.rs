//! Handing what the client sent to whoever reads it, for as long as the client is there.

use tokio::io::{AsyncWriteExt, DuplexStream};

use crate::activity::Activity;

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
/// back-pressure; that the client hangs up is seen all the same.
pub(crate) async fn deliver(
    inbox: &mut DuplexStream,
    bytes: &[u8],
    activity: &Activity,
) -> Delivered {
    tokio::select! {
        biased;
        written = inbox.write_all(bytes) => match written {
            Ok(()) => Delivered::Yes,
            Err(_) => Delivered::Unwanted,
        },
        () = activity.hung_up() => Delivered::ClientGone,
    }
}

//! One forwarded connection: bytes both ways, each direction with an end of its own.

use std::io;

use cri_api::v1::PortForwardRequest;
use tokio::io::DuplexStream;
use tokio::sync::oneshot;
use tracing::debug;

use crate::copy::{copy_in, copy_out};
use crate::executor::{Connection, Error, Executor, chain};
use crate::output::{Gone, Output};

/// The client's ends of a forwarded connection.
#[derive(Debug)]
pub(crate) struct PortStreams {
    pub(crate) port: u16,
    pub(crate) inbox: DuplexStream,
    pub(crate) data: Output,
    pub(crate) error: Output,
    /// Resolves with `Ok` when the client gives the connection up.
    pub(crate) was_reset: Option<oneshot::Receiver<()>>,
}

/// Dials the port and copies until both directions have ended, or one has failed. What goes wrong is
/// told on the error stream, whose end the client waits for.
pub(crate) async fn forward(
    request: &PortForwardRequest,
    executor: &dyn Executor,
    streams: PortStreams,
) {
    let PortStreams {
        port,
        inbox,
        data,
        error,
        was_reset,
    } = streams;
    let copied = async {
        let connection = executor.dial(request, port).await?;
        copy(connection, inbox, &data).await
    };
    let ended = tokio::select! {
        ended = copied => ended,
        () = reset(was_reset) => Ok(()),
    };
    if let Err(complaint) = ended {
        let complaint = chain(complaint.as_ref());
        debug!(sandbox_id = %request.pod_sandbox_id, port, error = complaint, "can't forward a port");
        let text = format!("forward port {port} of the pod: {complaint}");
        let _ = error.send_text(&text).await;
    }
    error.finish().await;
    data.finish().await;
    data.abandon().await;
    error.abandon().await;
}

async fn copy(connection: Connection, inbox: DuplexStream, data: &Output) -> Result<(), Error> {
    let Connection {
        mut reader,
        mut writer,
    } = connection;
    let outward = async {
        let copied = copy_out(&mut reader, data).await;
        data.finish().await;
        match copied {
            // Where ends can't be told one by one, that of the port is the end of both.
            Ok(()) if data.half_closes() => Ok(()),
            Ok(()) | Err(Gone) => Err(Ended::Over),
        }
    };
    let inward = async {
        match copy_in(inbox, &mut writer).await {
            // A port may close the connection when it has heard enough; it may still have to say.
            Err(error) if !is_close(&error) => Err(Ended::Port(error)),
            _ => Ok(()),
        }
    };
    match tokio::try_join!(outward, inward) {
        Ok(_) | Err(Ended::Over) => Ok(()),
        Err(Ended::Port(error)) => Err(error.into()),
    }
}

/// Resolves when the client resets the stream.
async fn reset(was_reset: Option<oneshot::Receiver<()>>) {
    if let Some(was_reset) = was_reset
        && was_reset.await.is_ok()
    {
        return;
    }
    // It ended in an orderly way, or can't be reset.
    std::future::pending().await
}

enum Ended {
    /// One side is gone, and the other would talk to nobody.
    Over,
    /// The port can't be written to.
    Port(io::Error),
}

fn is_close(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        error.kind(),
        K::BrokenPipe | K::ConnectionReset | K::NotConnected
    )
}

//! What the owner of the containers does for a client: run, join, dial.

use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;
use cri_api::v1::{AttachRequest, ExecRequest, PortForwardRequest};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// Why something could not be done. The client reads it, with its causes.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The owner of the containers. Requests were checked when their URL was asked for. A call whose client
/// goes is dropped, and so is what it has returned.
#[async_trait]
pub trait Executor: Send + Sync + 'static {
    /// Runs a command in a container, with the streams that the request asks for.
    async fn exec(&self, request: &ExecRequest) -> Result<Process, Error>;

    /// Joins the first process of a container, with the streams that the request asks for.
    async fn attach(&self, request: &AttachRequest) -> Result<Process, Error>;

    /// Connects to a TCP port as a process in the pod would connect to localhost.
    async fn dial(&self, request: &PortForwardRequest, port: u16) -> Result<Connection, Error>;
}

/// A process and its streams. Dropping it means that the client is gone: an exec'd process is to be
/// ended with all it holds, an attached one let go.
pub struct Process {
    /// Its stdin; shut down when the client sends no more, and dropped when nobody takes it.
    pub stdin: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    /// Its output. It is read only as fast as the client reads.
    pub stdout: Option<Pin<Box<dyn AsyncRead + Send>>>,
    /// Its error output, never with a terminal.
    pub stderr: Option<Pin<Box<dyn AsyncRead + Send>>>,
    /// Takes new terminal sizes as (columns, rows).
    pub resize: mpsc::Sender<(u16, u16)>,
    /// Its exit code, or why nobody knows. Output that is still held open some seconds later is given up.
    pub exit: Pin<Box<dyn Future<Output = Result<u8, Error>> + Send>>,
}

/// A connection to a port. Shutting the writer down half-closes it; dropping both ends it.
pub struct Connection {
    /// What the port sends.
    pub reader: Pin<Box<dyn AsyncRead + Send>>,
    /// What it is sent.
    pub writer: Pin<Box<dyn AsyncWrite + Send>>,
}

/// `error` and its causes on one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

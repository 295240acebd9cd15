//! What clients of exec, attach and port-forward are connected to.
//!
//! A URL is handed out only for what runs at that moment; when its client comes, it is looked at again.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use cri_api::v1::{AttachRequest, ExecRequest, PortForwardRequest};
use cri_streaming::{
    Connection, Error as ClientError, Executor, Process, RequestError, StreamingServer,
};
use sandbox::{Container as Workload, ExecSpec};

use crate::CriServer;
use crate::error::{Error, Kind, Result};
use crate::pods::PodState;

/// Runs, joins and dials in the server's pods. The server owns the streaming server, which owns this.
pub(crate) struct InPods(pub(crate) Weak<CriServer>);

impl InPods {
    fn server(&self) -> Result<Arc<CriServer>> {
        self.0
            .upgrade()
            .ok_or_else(|| Error::new(Kind::Unavailable, "the server is ending"))
    }
}

#[async_trait]
impl Executor for InPods {
    async fn exec(&self, request: &ExecRequest) -> std::result::Result<Process, ClientError> {
        let workload = running(&*self.server()?, &request.container_id)?;
        let spec = ExecSpec {
            args: request.cmd.clone(),
            terminal: request.tty,
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            timeout: None,
        };
        Ok(process(workload.exec(spec).await?))
    }

    async fn attach(&self, request: &AttachRequest) -> std::result::Result<Process, ClientError> {
        let workload = running(&*self.server()?, &request.container_id)?;
        let spec = ExecSpec {
            args: Vec::new(),
            terminal: request.tty,
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            timeout: None,
        };
        Ok(process(workload.attach(spec).await?))
    }

    async fn dial(
        &self,
        request: &PortForwardRequest,
        port: u16,
    ) -> std::result::Result<Connection, ClientError> {
        let pod = self.server()?.pods.get(&request.pod_sandbox_id)?;
        let sandbox = pod.sandbox.get().cloned();
        let sandbox = sandbox.ok_or_else(|| not_ready(&request.pod_sandbox_id))?;
        let connection = sandbox.dial(port).await?;
        Ok(Connection {
            reader: connection.reader,
            writer: connection.writer,
        })
    }
}

fn process(process: sandbox::Process) -> Process {
    let exit = process.exit;
    let ended = async {
        let exit = exit.await.map_err(|_| {
            Error::new(
                Kind::Unavailable,
                "the pod ended while the command was running",
            )
        })?;
        Ok(exit.code)
    };
    Process {
        stdin: process.stdin,
        stdout: process.stdout,
        stderr: process.stderr,
        resize: process.resize,
        exit: Box::pin(ended),
    }
}

/// Begins to listen for clients.
pub(crate) async fn open(server: &Arc<CriServer>) -> Result<()> {
    let executor = Arc::new(InPods(Arc::downgrade(server)));
    let config = server.config.streaming.clone();
    let opened = StreamingServer::open(config, executor).await;
    let opened = opened.map_err(|error| {
        Error::caused(Kind::Internal, "serve exec, attach and port-forward", error)
    })?;
    server.streaming.set(opened).ok();
    Ok(())
}

/// Who hands out URLs.
pub(crate) fn of(server: &CriServer) -> Result<&StreamingServer> {
    let starting = || Error::new(Kind::Unavailable, "streaming is not served yet");
    server.streaming.get().ok_or_else(starting)
}

/// Why there is no URL.
pub(crate) fn refused(error: RequestError) -> Error {
    let kind = if error.is_exhausted() {
        Kind::NoSpace
    } else {
        Kind::Invalid
    };
    Error::new(kind, error.to_string())
}

/// The container with this id, which runs.
pub(crate) fn running(server: &CriServer, id: &str) -> Result<Arc<dyn Workload>> {
    Ok(server.containers.get(id)?.running()?.clone())
}

/// Fails if the pod with this id can't be connected to.
pub(crate) fn must_be_ready(server: &CriServer, id: &str) -> Result<()> {
    if server.pods.get(id)?.record.get().state == PodState::Ready {
        return Ok(());
    }
    Err(not_ready(id))
}

fn not_ready(id: &str) -> Error {
    Error::new(Kind::WrongState, format!("pod {id} is not ready"))
}

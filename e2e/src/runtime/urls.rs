//! Where a client finds the streams of exec, attach and port-forward.

use anyhow::{Context, Result};
use k8s_cri::v1::{AttachRequest, ExecRequest, PortForwardRequest};

use super::{Container, Pod};

/// Which streams a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streams {
    /// Output and error output.
    Output,
    /// The same, and stdin.
    All,
    /// stdin and output, in a terminal.
    Terminal,
}

impl Streams {
    /// The `streamType`s that a SPDY client has to open, errors first.
    pub const fn types(self) -> &'static [&'static str] {
        match self {
            Self::Output => &["error", "stdout", "stderr"],
            Self::All => &["error", "stdin", "stdout", "stderr"],
            Self::Terminal => &["error", "stdin", "stdout", "resize"],
        }
    }

    fn stdin(self) -> bool {
        self != Self::Output
    }

    fn terminal(self) -> bool {
        self == Self::Terminal
    }
}

impl Container {
    /// The URL of a command in it.
    pub async fn exec_url(&mut self, command: &[&str], streams: Streams) -> Result<String> {
        let request = ExecRequest {
            container_id: self.id.clone(),
            cmd: command.iter().map(|&word| word.to_owned()).collect(),
            tty: streams.terminal(),
            stdin: streams.stdin(),
            stdout: true,
            stderr: !streams.terminal(),
        };
        let answer = self.runtime.runtime.exec(request).await;
        Ok(answer.context("ask for a URL to exec")?.into_inner().url)
    }

    /// The URL of its first process.
    pub async fn attach_url(&mut self, streams: Streams) -> Result<String> {
        let request = AttachRequest {
            container_id: self.id.clone(),
            tty: streams.terminal(),
            stdin: streams.stdin(),
            stdout: true,
            stderr: !streams.terminal(),
        };
        let answer = self.runtime.runtime.attach(request).await;
        Ok(answer.context("ask for a URL to attach")?.into_inner().url)
    }
}

impl Pod {
    /// The URL of its ports, of which only clients over WebSocket name any beforehand.
    pub async fn ports_url(&mut self, ports: &[u16]) -> Result<String> {
        let request = PortForwardRequest {
            pod_sandbox_id: self.id.clone(),
            port: ports.iter().map(|&port| port.into()).collect(),
        };
        let answer = self.runtime.runtime.port_forward(request).await;
        Ok(answer.context("ask for a URL to ports")?.into_inner().url)
    }
}

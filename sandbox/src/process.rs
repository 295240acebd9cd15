//! Processes in a sandbox: how they are asked for, their streams, and how they end.

use std::pin::Pin;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};

/// A process to run in a container, or, for attach, how to join its first one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecSpec {
    /// Program and arguments; empty for attach.
    pub args: Vec<String>,
    /// It gets a terminal.
    pub terminal: bool,
    /// Which streams are wanted.
    pub stdin: bool,
    /// Which streams are wanted.
    pub stdout: bool,
    /// Which streams are wanted; never with a terminal.
    pub stderr: bool,
    /// After this the process and its offspring are killed.
    pub timeout: Option<Duration>,
}

/// A process that runs, and its streams. Dropping it lets go of the streams and kills an exec'd process.
pub struct Process {
    /// Its stdin, if asked for; closing it ends the process's stdin.
    pub stdin: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    /// Its output, if asked for. Reading slowly slows the process (exec) or loses this reader (attach).
    pub stdout: Option<Pin<Box<dyn AsyncRead + Send>>>,
    /// Its error output, if asked for.
    pub stderr: Option<Pin<Box<dyn AsyncRead + Send>>>,
    /// Takes new terminal sizes as (columns, rows).
    pub resize: mpsc::Sender<(u16, u16)>,
    /// How it ended, after the last output. A closed channel means that the sandbox is gone.
    pub exit: oneshot::Receiver<ExecExit>,
}

/// A TCP connection into a sandbox. Shutting the writer down half-closes it; dropping both ends it.
pub struct Connection {
    /// What the other side sends.
    pub reader: Pin<Box<dyn AsyncRead + Send>>,
    /// What it is sent.
    pub writer: Pin<Box<dyn AsyncWrite + Send>>,
}

/// How an exec'd process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecExit {
    /// 0 to 255; 128 + signal where a signal ended it.
    pub code: u8,
    /// It was killed because its time was over.
    pub timed_out: bool,
}

/// A container's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerStatus {
    /// Where it is in its life.
    pub state: RunState,
    /// Its first process as the node sees it, where it does.
    pub pid: Option<u32>,
    /// When it was let run.
    pub started_at: Option<SystemTime>,
    /// Who its first process runs as.
    pub user: (u32, u32, Vec<u32>),
    /// How it ended.
    pub exit: Option<ContainerExit>,
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunState {
    /// Made, not started.
    Created,
    /// Runs.
    Running,
    /// Its first process has ended.
    Exited,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerExit {
    /// 0 to 255; 128 + signal where a signal ended it; 255 where nobody can tell any more.
    pub code: u8,
    /// The kernel killed it, or a process of it, for want of memory.
    pub oom_killed: bool,
    /// When.
    pub finished_at: SystemTime,
    /// In words where the code does not say it: the sandbox died under it, its supervisor was lost.
    pub message: String,
}

/// How a sandbox ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxExit {
    /// It was stopped by us, not by itself.
    pub asked: bool,
    /// Why, for people.
    pub message: String,
    /// When.
    pub at: SystemTime,
}

//! An executor over real processes and ports of this machine.

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::io::{AsyncWriteExt, duplex};
use tokio::process::Command;
use tokio::sync::mpsc;

use super::*;
use crate::executor::{Connection, Error, Process};

/// Runs what it is told on this machine.
#[derive(Debug, Default)]
pub(super) struct Shell {
    /// Processes that are held.
    pub(super) held: Arc<AtomicUsize>,
}

/// Counts a process for as long as it is held.
struct Held(Arc<AtomicUsize>);

impl Held {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Executor for Shell {
    async fn exec(&self, request: &ExecRequest) -> Result<Process, Error> {
        let pipe = |wanted| {
            if wanted {
                Stdio::piped()
            } else {
                Stdio::null()
            }
        };
        let mut child = Command::new(&request.cmd[0])
            .args(&request.cmd[1..])
            .stdin(pipe(request.stdin))
            .stdout(pipe(request.stdout))
            .stderr(pipe(request.stderr))
            .kill_on_drop(true)
            .spawn()?;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let held = Held::new(&self.held);
        Ok(Process {
            stdin: stdin.map(|stream| Box::pin(stream) as _),
            stdout: stdout.map(|stream| Box::pin(stream) as _),
            stderr: stderr.map(|stream| Box::pin(stream) as _),
            resize: mpsc::channel(1).0,
            exit: Box::pin(async move {
                let status = child.wait().await?;
                drop(held);
                Ok(u8::try_from(status.code().unwrap_or(255)).unwrap_or(255))
            }),
        })
    }

    /// A terminal that shows what is typed, and its sizes; it ends with stdin.
    async fn attach(&self, _: &AttachRequest) -> Result<Process, Error> {
        let (stdin, mut typed) = duplex(100);
        let (mut screen, stdout) = duplex(100);
        let (resize, mut sizes) = mpsc::channel::<(u16, u16)>(1);
        let held = Held::new(&self.held);
        let exit = async move {
            let mut bytes = [0; 100];
            loop {
                tokio::select! {
                    read = typed.read(&mut bytes) => match read? {
                        0 => break,
                        read => screen.write_all(&bytes[..read]).await?,
                    },
                    Some((columns, rows)) = sizes.recv() => {
                        screen.write_all(format!("{columns}x{rows}").as_bytes()).await?;
                    }
                }
            }
            drop(held);
            Ok(7)
        };
        Ok(Process {
            stdin: Some(Box::pin(stdin)),
            stdout: Some(Box::pin(stdout)),
            stderr: None,
            resize,
            exit: Box::pin(exit),
        })
    }

    async fn dial(&self, _: &PortForwardRequest, port: u16) -> Result<Connection, Error> {
        let (reader, writer) = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await?
            .into_split();
        Ok(Connection {
            reader: Box::pin(reader),
            writer: Box::pin(writer),
        })
    }
}

//! `ExecSync`: run a command in a container and hand back what it printed.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cri_api::MAX_MESSAGE;
use cri_api::v1::{ExecSyncRequest, ExecSyncResponse};
use parking_lot::Mutex;
use sandbox::process::ExecExit;
use sandbox::{ExecSpec, Kind, Process};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinHandle;
use tracing::warn;

use crate::CriServer;
use crate::error::{Doing, Error, Result};

/// Most bytes of output, so that the answer fits in a message.
const OUTPUT_MAX: usize = MAX_MESSAGE - 4096;
/// How much later than its timeout a command may be reported as timed out.
const SLACK: Duration = Duration::from_secs(10);
/// How long output may take to arrive once the command has ended.
const DRAIN: Duration = Duration::from_secs(2);

type Output = Option<Pin<Box<dyn AsyncRead + Send>>>;

pub(super) async fn exec_sync(
    server: Arc<CriServer>,
    request: ExecSyncRequest,
) -> Result<ExecSyncResponse> {
    let container = server.containers.get(&request.container_id)?;
    if request.cmd.first().is_none_or(String::is_empty) {
        return Err(Error::invalid("there is no command to run"));
    }
    let timeout = match u64::try_from(request.timeout) {
        Ok(0) => None,
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            return Err(Error::invalid(format!(
                "timeout {} is negative",
                request.timeout
            )));
        }
    };
    let command = request.cmd.join(" ");
    let spec = ExecSpec {
        args: request.cmd,
        stdout: true,
        stderr: true,
        timeout,
        ..ExecSpec::default()
    };
    let workload = container.running()?;
    // Getting it started counts too: that may take for ever, and a guest may never say that it has.
    let finished = async { finish(workload.exec(spec).await.doing("run the command")?).await };
    let done = match timeout {
        None => finished.await,
        // The sandbox keeps the time; should it fail to, we do not wait for ever.
        Some(timeout) => tokio::time::timeout(timeout + SLACK, finished)
            .await
            .unwrap_or_else(|_| Ok(Finished::late())),
    }?;
    if done.exit.timed_out {
        let timeout = timeout.unwrap_or_default();
        let message = format!("command {command:?} timed out after {timeout:?} and was killed");
        return Err(Error::new(Kind::TimedOut, message));
    }
    Ok(ExecSyncResponse {
        stdout: done.stdout,
        stderr: done.stderr,
        exit_code: done.exit.code.into(),
    })
}

struct Finished {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    exit: ExecExit,
}

impl Finished {
    fn late() -> Self {
        Self {
            stdout: Vec::new(),
            stderr: Vec::new(),
            exit: ExecExit {
                code: 0,
                timed_out: true,
            },
        }
    }
}

async fn finish(process: Process) -> Result<Finished> {
    let left = Arc::new(AtomicUsize::new(OUTPUT_MAX));
    let stdout = Collector::start(process.stdout, left.clone());
    let stderr = Collector::start(process.stderr, left);
    let exit = process.exit.await;
    // What it started in the background may keep its output open for ever.
    let (stdout, stderr) = tokio::join!(stdout.finish(), stderr.finish());
    let exit = exit.map_err(|_| {
        Error::new(
            Kind::Unavailable,
            "the pod ended while the command was running",
        )
    })?;
    Ok(Finished {
        stdout,
        stderr,
        exit,
    })
}

/// Reads a stream to its end; keeps what fits and drops the rest, so that the command is not held up.
struct Collector {
    task: JoinHandle<()>,
    kept: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    fn start(output: Output, left: Arc<AtomicUsize>) -> Self {
        let kept = Arc::<Mutex<Vec<u8>>>::default();
        let task = tokio::spawn(collect(output, left, kept.clone()));
        Self { task, kept }
    }

    /// What came, once the stream has ended or has had its time.
    async fn finish(mut self) -> Vec<u8> {
        if tokio::time::timeout(DRAIN, &mut self.task).await.is_err() {
            warn!("a process in the background holds the command's output open");
            self.task.abort();
        }
        std::mem::take(&mut self.kept.lock())
    }
}

async fn collect(output: Output, left: Arc<AtomicUsize>, kept: Arc<Mutex<Vec<u8>>>) {
    let Some(mut output) = output else {
        return;
    };
    let mut piece = vec![0; 64 * 1024];
    while let Ok(read) = output.read(&mut piece).await {
        if read == 0 {
            return;
        }
        let take = |left: usize| Some(left.saturating_sub(read));
        let before = left.fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
        let room = before.unwrap_or(0).min(read);
        kept.lock().extend_from_slice(&piece[..room]);
    }
}

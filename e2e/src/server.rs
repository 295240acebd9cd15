//! The server under test, as a process of the node.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

const LOG: &str = "/var/log/bulkhead.log";

/// How long the server may take to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// The process id of the running server, if one runs.
pub fn pid() -> Result<Option<i32>> {
    let output = Command::new("pgrep")
        .args(["-f", "-o", "^/usr/local/bin/bulkhead serve"])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .split_whitespace()
        .next()
        .and_then(|pid| pid.parse().ok()))
}

/// Starts a server that outlives us.
pub fn start() -> Result<()> {
    start_with(&[])
}

/// The same with `arguments` beside.
pub fn start_with(arguments: &[&str]) -> Result<()> {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(LOG)?;
    Command::new("setsid")
        .args(["--fork", "/usr/local/bin/bulkhead", "serve"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .status()
        .context("start the server")?;
    Ok(())
}

/// Sends `signal` (`KILL`, `TERM`) to the server and waits until it is gone.
pub async fn end(signal: &str) -> Result<()> {
    let pid = pid()?.context("a running server")?;
    let killed = Command::new("kill")
        .args([format!("-{signal}"), pid.to_string()])
        .status()?;
    ensure!(killed.success(), "kill {pid}");
    // It waits for calls under way, and for clients to let go of their connections. Ours do, unless this
    // blocks them.
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if !std::fs::exists(format!("/proc/{pid}"))? {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("the server does not end on SIG{signal}")
}

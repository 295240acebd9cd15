//! crictl as a process; where the server is, the node's `/etc/crictl.yaml` says.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

fn run(arguments: &[&str]) -> Result<Output> {
    let output = Command::new("crictl").args(arguments).output();
    output.with_context(|| format!("run crictl {arguments:?}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What crictl prints; it must succeed.
pub(super) fn crictl(arguments: &[&str]) -> Result<String> {
    let output = run(arguments)?;
    let said = text(&output.stderr);
    ensure!(output.status.success(), "crictl {arguments:?}: {said}");
    Ok(text(&output.stdout))
}

/// What crictl prints as JSON.
pub(super) fn json(arguments: &[&str]) -> Result<Value> {
    let printed = crictl(arguments)?;
    serde_json::from_str(&printed).with_context(|| format!("read {printed}"))
}

/// That crictl fails, and that what it says has all of `words`.
pub(super) fn refused(arguments: &[&str], words: &[&str]) -> Result<()> {
    let output = run(arguments)?;
    let said = text(&output.stderr);
    let helps = words.iter().all(|word| said.contains(word));
    ensure!(
        !output.status.success() && helps,
        "crictl {arguments:?}: {}, and does not say {words:?}: {said}",
        output.status
    );
    Ok(())
}

/// `crictl logs -f`.
pub(super) struct Following {
    crictl: Child,
    log: BufReader<ChildStdout>,
}

impl Following {
    pub(super) fn log_of(container: &str) -> Result<Self> {
        let mut command = Command::new("crictl");
        command.args(["logs", "-f", container]);
        let mut crictl = command.stdout(Stdio::piped()).spawn()?;
        let log = BufReader::new(crictl.stdout.take().context("its output")?);
        Ok(Self { crictl, log })
    }

    /// The next line, when it comes.
    pub(super) fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.log.read_line(&mut line)?;
        Ok(line)
    }

    /// What comes until it ends by itself.
    pub(super) fn rest(mut self) -> Result<String> {
        let mut rest = String::new();
        self.log.read_to_string(&mut rest)?;
        let status = self.crictl.wait()?;
        ensure!(status.success(), "crictl logs -f: {status}");
        Ok(rest)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // It has ended, or a test has failed.
        let _ = self.crictl.kill();
        let _ = self.crictl.wait();
    }
}

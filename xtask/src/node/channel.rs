//! Commands in the node, over one shared ssh connection.

use super::runtime_dir::RuntimeDir;
use crate::process;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a booting node may take to answer. Under TCG on a loaded machine it is slow.
const BOOT_LIMIT: Duration = Duration::from_secs(180);

/// What the node's init says on the console when sshd is about to start.
const READY: &str = "node: ready";

/// What ssh itself exits with when the connection fails.
const SSH_FAILED: i32 = 255;

/// The way into one running node.
pub(crate) struct Channel {
    dir: RuntimeDir,
}

impl Channel {
    /// Waits for a booting node and opens the connection that all commands share.
    pub(crate) fn connect(dir: RuntimeDir) -> Result<Self> {
        let channel = Self { dir };
        let deadline = Instant::now() + BOOT_LIMIT;
        loop {
            if !channel.dir.is_running() {
                return Err(channel.dir.died("QEMU ended while it booted").into());
            }
            if channel.dir.console().contains(READY) && channel.open_master().is_ok() {
                return Ok(channel);
            }
            if Instant::now() > deadline {
                return Err(channel.dir.died("it does not come up").into());
            }
            sleep(Duration::from_millis(200));
        }
    }

    /// The way into a node that is up.
    pub(crate) fn attach(dir: RuntimeDir) -> Result<Self> {
        if !dir.was_started() {
            bail!(
                "node {0} is not up: `cargo xtask node up --name {0}`",
                dir.name()
            );
        }
        if !dir.is_running() {
            return Err(dir.died("QEMU has ended").into());
        }
        let channel = Self { dir };
        if !channel.has_master() {
            let _ = std::fs::remove_file(channel.dir.file("ssh.sock"));
            channel.open_master()?;
        }
        Ok(channel)
    }

    pub(crate) fn dir(&self) -> &RuntimeDir {
        &self.dir
    }

    /// Runs a shell script in the node on our own stdin, stdout and stderr.
    pub(crate) fn run(&self, script: &str) -> Result<ExitCode> {
        let status = self
            .ssh(&["-T"])
            .arg(script)
            .status()
            .context("start ssh")?;
        self.exit_code(status)
    }

    /// Runs a shell script in the node, without stdin, and passes on its stdout line by line.
    pub(crate) fn each_line(&self, script: &str, line: impl FnMut(&str)) -> Result<i32> {
        let mut ssh = self.ssh(&["-T"]);
        ssh.arg(script).stdin(Stdio::null());
        let status = process::each_line(&mut ssh, line)?;
        self.code(status)
    }

    /// A login shell on our terminal.
    pub(crate) fn terminal(&self) -> Result<ExitCode> {
        let status = self.ssh(&["-t"]).status().context("start ssh")?;
        self.exit_code(status)
    }

    /// Copies `source` to `destination`; a `/` at its end makes it the directory to put it into.
    pub(crate) fn push(&self, source: &Path, destination: &str) -> Result<()> {
        let source = source
            .canonicalize()
            .with_context(|| format!("find {}", source.display()))?;
        let name = source.file_name().context("push a file or a directory")?;
        let destination = if destination.ends_with('/') {
            format!("{destination}{}", name.to_string_lossy())
        } else {
            destination.to_owned()
        };
        let (parent, new_name) = destination
            .rsplit_once('/')
            .context("push to an absolute path")?;
        let mut tar = Command::new("tar");
        tar.args(["--create", "--owner=0", "--group=0", "--file=-"]);
        let script = if source.is_dir() {
            tar.arg("--directory").arg(&source).arg(".");
            format!("mkdir -p {0} && tar -x -C {0}", quote(&destination))
        } else {
            // Written beside the old file and renamed, so that a running program can be replaced.
            tar.arg("--directory")
                .arg(source.parent().context("find the directory")?)
                .arg(name);
            let temporary = quote(&format!("{parent}/.{new_name}.new"));
            let (parent, destination) = (quote(&format!("{parent}/")), quote(&destination));
            format!(
                "mkdir -p {parent} && tar -x -O > {temporary} && chmod {mode:o} {temporary} \
                 && mv -f {temporary} {destination}",
                mode = mode(&source)?,
            )
        };
        self.feed(&mut tar, &script)
    }

    /// Runs `script` in the node with the output of `producer` as its stdin.
    fn feed(&self, producer: &mut Command, script: &str) -> Result<()> {
        let mut producer = producer
            .stdout(Stdio::piped())
            .spawn()
            .context("start tar")?;
        let stdin = producer.stdout.take().expect("stdout is piped");
        let status = self
            .ssh(&["-T"])
            .arg(script)
            .stdin(stdin)
            .status()
            .context("start ssh")?;
        if !producer.wait().context("wait for tar")?.success() {
            bail!("tar failed");
        }
        if self.exit_code(status)? != ExitCode::SUCCESS {
            bail!("the node could not take the files: `{script}` failed there");
        }
        Ok(())
    }

    /// Whether the shared connection is there. It ends when the machine outside was suspended, say.
    fn has_master(&self) -> bool {
        process::run_silently(&mut self.ssh(&["-O", "check"]))
    }

    /// Opens the shared connection. It ends with the node.
    fn open_master(&self) -> Result<()> {
        let mut master = self.ssh(&["-M", "-N", "-f"]);
        master
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let status = master.status().context("start ssh")?;
        if !status.success() {
            bail!("the node does not answer on its control channel");
        }
        Ok(())
    }

    fn ssh(&self, options: &[&str]) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.current_dir(self.dir.path())
            .args(["-F", "ssh_config"])
            .args(options)
            .arg("node");
        ssh
    }

    /// The exit code of what ran in the node; ssh's own failure is the death of the node.
    fn code(&self, status: ExitStatus) -> Result<i32> {
        let code = status.code().context("ssh was killed")?;
        if code == SSH_FAILED && !self.answers() {
            return Err(self.dir.died("it does not answer any more").into());
        }
        Ok(code)
    }

    fn exit_code(&self, status: ExitStatus) -> Result<ExitCode> {
        Ok(ExitCode::from(
            u8::try_from(self.code(status)?).unwrap_or(1),
        ))
    }

    fn answers(&self) -> bool {
        self.dir.is_running()
            && process::run_silently(self.ssh(&["-T", "-o", "ControlPath=none"]).arg("true"))
    }
}

/// The shell script for a command line: one word is a script already, several are quoted.
pub(crate) fn script(words: &[String]) -> String {
    match words {
        [script] => script.clone(),
        words => words
            .iter()
            .map(|word| quote(word))
            .collect::<Vec<_>>()
            .join(" "),
    }
}

fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn mode(file: &Path) -> Result<u32> {
    use std::os::unix::fs::PermissionsExt;
    Ok(file.metadata()?.permissions().mode() & 0o7777)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(words: &[&str], expected: &str) {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        assert_eq!(script(&words), expected);
    }

    #[test]
    fn one_word_is_a_script_and_several_are_a_command() {
        check(&["echo $HOME; false"], "echo $HOME; false");
        check(&["echo", "a b", "it's"], r"'echo' 'a b' 'it'\''s'");
    }
}

//! The servers that are compared, as processes of the node: ours, ours of another checkout, containerd.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use super::Setup;
use crate::runtime::{Runtime, SOCKET};

/// How long an emulated node may take to bring a server up, or down.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the node has the containerd and runc that are measured.
const PEERS: &str = "/opt/peers/bin";

const CONTAINERD_CONFIG: &str = include_str!("servers/containerd.toml");
const OLD_CONTAINERD_CONFIG: &str = include_str!("servers/containerd-1.6.toml");

const CONFIG: &str = include_str!("servers/bulkhead.toml");

const BEFORE_SOCKET: &str = "/run/before/bulkhead.sock";
const BEFORE_CONFIG: &str = include_str!("servers/before.toml");

/// A running server. It ends with this value; the pods that it has left stay.
pub(super) struct Server {
    name: &'static str,
    process: Child,
    /// A client of it.
    pub(super) runtime: Runtime,
    /// Where it keeps images.
    pub(super) image_root: &'static str,
}

/// One of those that are compared: a server with the handler that its pods run under.
#[derive(Clone)]
pub(super) struct Side {
    /// Its name in the table.
    pub(super) name: String,
    /// The handler.
    pub(super) handler: &'static str,
    /// A client of the server.
    pub(super) runtime: Runtime,
}

impl Server {
    /// Ours, and ours of another checkout where there is one: installed elsewhere, sharing nothing.
    pub(super) async fn ours(setup: &Setup) -> Result<Vec<Self>> {
        let mut servers = vec![Self::of_this_checkout().await?];
        if let Some(directory) = &setup.before {
            servers.push(Self::before(directory).await?);
        }
        Ok(servers)
    }

    /// Ours alone.
    pub(super) async fn of_this_checkout() -> Result<Self> {
        let mut bulkhead = Command::new("/usr/local/bin/bulkhead");
        bulkhead.args([
            "serve",
            "--config",
            write("/run/bench/bulkhead.toml", CONFIG)?,
        ]);
        let root = "/var/lib/bulkhead/images";
        Self::start("bulkhead", bulkhead, SOCKET, root).await
    }

    async fn before(directory: &Path) -> Result<Self> {
        let config = BEFORE_CONFIG.replace("{before}", &directory.display().to_string());
        let path = write("/run/bench/before.toml", &config)?;
        let mut command = Command::new(directory.join("bin/bulkhead"));
        command.args(["serve", "--config", path]);
        let root = "/var/lib/before/images";
        Self::start("before", command, BEFORE_SOCKET, root).await
    }

    /// containerd with runc, both as new as we know them.
    pub(super) async fn containerd() -> Result<Self> {
        let (socket, root) = ("/run/bench/containerd.sock", "/var/lib/bench/containerd");
        let config = CONTAINERD_CONFIG
            .replace("{socket}", socket)
            .replace("{root}", root)
            .replace("{programs}", PEERS);
        let path = write("/run/bench/containerd.toml", &config)?;
        let mut command = Command::new(format!("{PEERS}/containerd"));
        // Its shim is looked for like any program.
        let others = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{PEERS}:{others}"));
        command.args(["--config", path]);
        Self::start("containerd", command, socket, root).await
    }

    /// Debian's containerd with crun: its crun is too old for a newer one.
    pub(super) async fn containerd_with_crun() -> Result<Self> {
        let (socket, root) = (
            "/run/bench/containerd-1.6.sock",
            "/var/lib/bench/containerd-1.6",
        );
        let config = OLD_CONTAINERD_CONFIG
            .replace("{socket}", socket)
            .replace("{root}", root);
        let path = write("/run/bench/containerd-1.6.toml", &config)?;
        let mut command = Command::new("/usr/bin/containerd");
        command.args(["--config", path]);
        Self::start("containerd-1.6", command, socket, root).await
    }

    async fn start(
        name: &'static str,
        mut command: Command,
        socket: &'static str,
        image_root: &'static str,
    ) -> Result<Self> {
        let path = format!("/var/log/bench-{name}.log");
        let log = File::options().create(true).append(true).open(&path)?;
        command.stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        let process = command.spawn().with_context(|| format!("start {name}"))?;
        let runtime = Runtime::connect_to(socket, PATIENCE).await;
        Ok(Self {
            name,
            process,
            runtime: runtime.with_context(|| format!("{name}; its log is {path}"))?,
            image_root,
        })
    }

    /// The side that its pods under `handler` are, called by what comes after the `+` as well.
    pub(super) fn side(&self, runs: &str, handler: &'static str) -> Side {
        Side {
            name: match runs {
                "" => self.name.to_owned(),
                runs => format!("{}+{runs}", self.name),
            },
            handler,
            runtime: self.runtime.clone(),
        }
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Asks it to end, and waits until it has.
    fn end(&mut self) -> Result<()> {
        let pid = i32::try_from(self.process.id())?;
        let pid = Pid::from_raw(pid).context("a process has an id")?;
        kill_process(pid, Signal::TERM)?;
        let deadline = Instant::now() + PATIENCE;
        while self.process.try_wait()?.is_none() {
            if Instant::now() > deadline {
                self.process.kill()?;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The node ends soon, and with it whatever could not be ended here.
        let _ = self.end();
    }
}

fn write<'a>(path: &'a str, text: &str) -> Result<&'a str> {
    let directory = Path::new(path).parent().context("a file has a directory")?;
    fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    fs::write(path, text).with_context(|| format!("write {path}"))?;
    Ok(path)
}

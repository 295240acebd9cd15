//! Bringing a machine up: `Planned → Prepared → Launched`.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use agent_api::client::Address;
use agent_api::v1;
use agent_api::version::AGENT_PORT;
use vmm_api::{Event, Request};

use super::Config;
use super::console;
use super::control::{self, Control, Events};
use super::network::{Mover, Network};
use super::plan::{FIRST_INTERFACE_FD, Places, Planned};
use super::users::Users;
use crate::agent::{Agent, refused};
use crate::cgroup::PodCgroup;
use crate::sizing::Size;
use crate::supervisor::{self, Launch, LogFile, Supervisor};
use crate::{Error, Kind, Resources, Result, SandboxId, SandboxSpec};

/// Bytes of the VMM's last words in an error.
const LAST_WORDS: usize = 2000;

/// An agent that says that it is ready answers at once, on a node with any CPU left.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// Everything that a VMM needs is there.
pub(super) struct Prepared<'a> {
    config: &'a Config,
    planned: Planned,
    uid: u32,
    /// What the VMM finds as its first descriptors: where it listens to us, and the lock that it holds.
    handed: Vec<OwnedFd>,
    vsock: UnixListener,
    console: File,
    kernel: File,
    initramfs: File,
}

/// The machine runs and its agent knows what the sandbox is to be.
pub(super) struct Launched {
    pub(super) id: SandboxId,
    pub(super) cgroup: PodCgroup,
    pub(super) places: Places,
    pub(super) state_dir: PathBuf,
    pub(super) overhead: Resources,
    pub(super) size: Size,
    /// Its interfaces, for people.
    pub(super) network: String,
    /// How long it took to wire them up; unknown of one that was adopted.
    pub(super) network_setup: Option<Duration>,
    pub(super) uid: u32,
    pub(super) supervisor: Supervisor,
    pub(super) control: Arc<Control>,
    pub(super) agent: Agent,
}

impl Planned {
    /// Makes cgroup, sockets and files, and opens what the VMM will use. The VMM itself opens nothing.
    pub(super) fn prepare<'a>(self, config: &'a Config, users: &Users) -> Result<Prepared<'a>> {
        let places = &self.places;
        std::fs::create_dir_all(&places.containers)
            .map_err(|e| Error::io(format!("make {}", places.containers.display()), e))?;
        self.cgroup.create()?;
        self.cgroup.apply(&self.limits(config))?;
        let lock = supervisor::take(&places.lock)?.ok_or_else(|| {
            let doing = format!("take lock {}: another VMM holds it", places.lock.display());
            Error::new(Kind::AlreadyExists, doing)
        })?;
        let vsock = UnixListener::bind(&places.vsock)
            .map_err(|e| Error::io(format!("listen on {}", places.vsock.display()), e))?;
        Ok(Prepared {
            config,
            uid: users.assign(&places.lock)?,
            handed: vec![control::listen(&places.control)?, lock.into()],
            vsock,
            console: open_console(&places.console)?,
            kernel: open(&config.kernel)?,
            initramfs: open(&config.initramfs)?,
            planned: self,
        })
    }
}

/// A machine that is up, as those see it who talk to it.
type Up = (Arc<Control>, Events, Agent);

impl Prepared<'_> {
    /// Starts the VMM, boots the machine and configures its agent.
    pub(super) async fn launch(self) -> Result<(Launched, Events)> {
        let log = LogFile::at(self.planned.places.log.clone());
        let console = self.planned.places.console.clone();
        self.run(&log)
            .await
            .map_err(|error| told(error, &log, &console))
    }

    async fn run(mut self, log: &LogFile) -> Result<(Launched, Events)> {
        let since = Instant::now();
        let supervisor = self.start(log)?;
        // From here on only the VMM listens: if it dies, greeting it fails at once.
        self.handed.clear();
        let step = |step: &str| {
            let sandbox_id = &self.planned.spec.id;
            tracing::debug!(%sandbox_id, after = ?since.elapsed(), "{step}");
        };
        step("the VMM is started");
        let brought_up = self.bring_up_in_network(&supervisor, &step).await;
        let (network, (control, events, agent)) = match brought_up {
            Ok(up) => up,
            Err(error) => {
                supervisor.bury().await;
                return Err(error);
            }
        };
        let Self { planned, uid, .. } = self;
        let launched = Launched {
            id: planned.spec.id,
            cgroup: planned.cgroup,
            places: planned.places,
            state_dir: planned.spec.state_dir,
            overhead: planned.spec.overhead,
            size: planned.size,
            network: network.summary(),
            network_setup: Some(network.took()),
            uid,
            supervisor,
            control,
            agent,
        };
        Ok((launched, events))
    }

    async fn bring_up_in_network(
        &self,
        supervisor: &Supervisor,
        step: &impl Fn(&str),
    ) -> Result<(Network, Up)> {
        let network = self.connect_network().await?;
        match self.bring_up(supervisor, &network, step).await {
            Ok(up) => Ok((network, up)),
            Err(error) => {
                network.disconnect().await;
                Err(error)
            }
        }
    }

    async fn connect_network(&self) -> Result<Network> {
        let Some(path) = &self.planned.spec.network_namespace else {
            let doing = "make a machine for a pod without a network namespace";
            return Err(Error::new(Kind::Unsupported, doing));
        };
        let mover = Mover::choose(self.config.vhost_net)?;
        let network = Network::connect(path, self.planned.size.vcpus, mover).await?;
        tracing::info!(
            sandbox_id = %self.planned.spec.id,
            network = network.summary(),
            vhost_net = *network.mover() == Mover::Kernel,
            queue_pairs = network.pairs(),
            took = ?network.took(),
            "pod's network wired up"
        );
        Ok(network)
    }

    /// Boots the machine and configures its agent.
    async fn bring_up(
        &self,
        supervisor: &Supervisor,
        network: &Network,
        step: &impl Fn(&str),
    ) -> Result<Up> {
        let control = Arc::new(Control::at(self.planned.places.control.clone()));
        let mut events = control.subscribe().await?;
        self.boot(&control, network).await?;
        step("the machine runs");
        let agent = self.agent_up(supervisor, &mut events).await?;
        step("the guest's agent answers");
        let request = v1::ConfigureSandboxRequest {
            network: Some(network.words()),
            ..configuration(self.config, &self.planned.spec)
        };
        agent
            .client()
            .configure_sandbox(request)
            .await
            .map_err(refused)?;
        step("the sandbox is ready");
        Ok((control, events, agent))
    }

    fn start(&self, log: &LogFile) -> Result<Supervisor> {
        let Planned {
            spec,
            cgroup,
            places,
            ..
        } = &self.planned;
        let output = log
            .open()
            .map_err(|e| Error::io(format!("open {}", places.log.display()), e))?;
        let uid = self.uid.to_string();
        let launch = Launch {
            program: &self.config.vmm,
            args: ["--uid", &uid, "--gid", &uid].map(Into::into).to_vec(),
            descriptors: self.handed.iter().map(AsFd::as_fd).collect(),
            output: output.as_fd(),
            cgroup,
            oom_score_adj: spec.resources.oom_score_adj.unwrap_or(0),
        };
        Supervisor::start(&launch, places.lock.clone())
    }

    /// Resolves when the guest's agent answers.
    async fn agent_up(&self, supervisor: &Supervisor, events: &mut Events) -> Result<Agent> {
        let limit = Duration::from_secs(self.config.boot_timeout_s);
        let ready = tokio::time::timeout(limit, ready(supervisor, events)).await;
        ready.unwrap_or_else(|_| {
            let doing = format!("wait for the guest's agent: none within {limit:?}");
            Err(Error::new(Kind::TimedOut, doing))
        })?;
        Agent::connect(&address(&self.planned.places), CONNECT_LIMIT).await
    }

    async fn boot(&self, control: &Control, network: &Network) -> Result<()> {
        let (interfaces, taps) = network.interfaces(FIRST_INTERFACE_FD);
        let machine = self.planned.machine(self.config, interfaces);
        // In the order of the numbers in the plan.
        let mut fds = vec![
            self.kernel.as_fd(),
            self.initramfs.as_fd(),
            self.console.as_fd(),
            self.vsock.as_fd(),
        ];
        fds.extend(taps);
        control.tell(&Request::Boot(Box::new(machine)), &fds).await
    }
}

/// Resolves when the guest says that it is ready, or when the machine is over before it does.
async fn ready(supervisor: &Supervisor, events: &mut Events) -> Result<()> {
    let waiting = |how: String| {
        let doing = format!("wait for the guest's agent: {how}");
        Error::new(Kind::Internal, doing)
    };
    loop {
        match events.next().await {
            Some(Event::Running) => {}
            Some(Event::GuestReady) => return Ok(()),
            Some(Event::Stopped { why, .. }) => return Err(waiting(why)),
            None => return Err(waiting(format!("the VMM {}", supervisor.wait().await))),
        }
    }
}

/// Where a guest's agent is reached.
pub(super) fn address(places: &Places) -> Address {
    Address::Vsock {
        socket: places.vsock.clone(),
        port: AGENT_PORT,
    }
}

/// The error with what VMM and guest said last.
fn told(error: Error, log: &LogFile, console: &Path) -> Error {
    let mut doing = "start the machine".to_owned();
    for (who, words) in [
        ("the VMM's last words are", log.tail(LAST_WORDS)),
        ("the console's are", console::last_words(console)),
    ] {
        if !words.is_empty() {
            doing = format!("{doing}; {who} {words:?}");
        }
    }
    Error::caused(error.kind(), doing, error)
}

fn configuration(config: &Config, spec: &SandboxSpec) -> v1::ConfigureSandboxRequest {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    v1::ConfigureSandboxRequest {
        sandbox_id: spec.id.0.clone(),
        hostname: spec.hostname.clone(),
        sysctls: spec.sysctls.clone().into_iter().collect(),
        shared_pid: spec.shared_pid,
        shm_bytes: config.shm_mib << 20,
        time_ns: now.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(0)),
        ..v1::ConfigureSandboxRequest::default()
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|e| Error::io(format!("open {}", path.display()), e))
}

fn open_console(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| Error::io(format!("open {}", path.display()), e))
}

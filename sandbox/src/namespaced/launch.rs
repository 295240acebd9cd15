//! Starting a pod's agent: `Planned → Prepared → Launched`.

use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_api::client::Address;
use agent_api::v1;

use super::Config;
use super::saved::Saved;
use super::sealed::SealedProgram;
use crate::agent::{Agent, refused};
use crate::cgroup::{Limits, Parent, PodCgroup};
use crate::leftovers::Leftover;
use crate::supervisor::{self, Launch, LogFile, Supervisor};
use crate::{Error, Kind, Result, SandboxId, SandboxSpec};

/// The agent is the last of a pod that the kernel should kill for want of memory.
const OOM_SCORE_ADJ: i32 = -999;

/// Bytes of the agent's last words in an error.
const LAST_WORDS: usize = 2000;

/// Where a pod's agent keeps what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// Its socket.
    pub(super) socket: PathBuf,
    /// The lock that it holds for its life.
    pub(super) lock: PathBuf,
    /// Its log lines.
    pub(super) log: PathBuf,
    /// Its own records.
    pub(super) agent: PathBuf,
    /// Ours, of containers.
    pub(super) containers: PathBuf,
}

impl Places {
    /// The places below the sandbox's own directory.
    pub(super) fn below(dir: &Path) -> Self {
        Self {
            socket: dir.join("agent.sock"),
            lock: dir.join("agent.lock"),
            log: dir.join("agent.log"),
            agent: dir.join("agent"),
            containers: dir.join("containers"),
        }
    }

    fn all(&self) -> Vec<PathBuf> {
        let aside = self.log.with_extension("log.1");
        let Self {
            socket,
            lock,
            log,
            agent,
            containers,
        } = self.clone();
        vec![socket, log, aside, agent, containers, lock]
    }
}

/// A sandbox of which nothing exists yet.
pub(super) struct Planned<'a> {
    config: &'a Config,
    spec: SandboxSpec,
    cgroup: PodCgroup,
    places: Places,
}

/// Its cgroup, socket and files are there.
pub(super) struct Prepared<'a> {
    planned: Planned<'a>,
    listener: UnixListener,
}

/// Its agent runs and knows what the sandbox is to be.
pub(super) struct Launched {
    pub(super) id: SandboxId,
    pub(super) cgroup: PodCgroup,
    pub(super) places: Places,
    pub(super) state_dir: PathBuf,
    pub(super) overhead: crate::Resources,
    pub(super) supervisor: Supervisor,
    pub(super) agent: Agent,
}

impl<'a> Planned<'a> {
    pub(super) fn new(config: &'a Config, spec: SandboxSpec) -> Result<Self> {
        let cgroup = PodCgroup::of(&spec, &config.cgroup_parent)?;
        let places = Places::below(&spec.state_dir);
        Ok(Self {
            config,
            spec,
            cgroup,
            places,
        })
    }

    /// What is to be removed if we die from here on.
    pub(super) fn leftover(&self) -> Leftover {
        Leftover {
            cgroup: self.cgroup.path().to_owned(),
            parent: self.cgroup.parent(),
            lock: self.places.lock.clone(),
            files: self.places.all(),
        }
    }

    pub(super) fn prepare(self) -> Result<Prepared<'a>> {
        for dir in [&self.places.agent, &self.places.containers] {
            std::fs::create_dir_all(dir)
                .map_err(|e| Error::io(format!("make {}", dir.display()), e))?;
        }
        self.cgroup.create()?;
        self.cgroup.apply(&limits(&self.cgroup, &self.spec))?;
        let socket = &self.places.socket;
        let listener = UnixListener::bind(socket)
            .map_err(|e| Error::io(format!("listen on {}", socket.display()), e))?;
        Ok(Prepared {
            planned: self,
            listener,
        })
    }
}

impl Prepared<'_> {
    pub(super) async fn launch(self, agent: &SealedProgram) -> Result<Launched> {
        let log = LogFile::at(self.planned.places.log.clone());
        self.run(agent, &log).await.map_err(|error| {
            let words = log.tail(LAST_WORDS);
            if words.is_empty() {
                return error;
            }
            let doing = format!("start the pod's supervisor, whose last words are {words:?}");
            Error::caused(error.kind(), doing, error)
        })
    }

    async fn run(self, agent: &SealedProgram, log: &LogFile) -> Result<Launched> {
        let supervisor = self.start(agent, log)?;
        let Planned {
            config,
            spec,
            cgroup,
            places,
        } = self.planned;
        // From here on only the agent listens: if it dies, connecting fails at once.
        drop(self.listener);
        let agent = match configured(config, &spec, &cgroup, &places).await {
            Ok(agent) => agent,
            Err(error) => {
                supervisor.bury().await;
                return Err(error);
            }
        };
        Ok(Launched {
            id: spec.id,
            cgroup,
            places,
            state_dir: spec.state_dir,
            overhead: spec.overhead,
            supervisor,
            agent,
        })
    }

    fn start(&self, agent: &SealedProgram, log: &LogFile) -> Result<Supervisor> {
        let Planned { cgroup, places, .. } = &self.planned;
        let program = agent.get()?;
        let lock = supervisor::take(&places.lock)?.ok_or_else(|| {
            let doing = format!(
                "take lock {}: another agent holds it",
                places.lock.display()
            );
            Error::new(Kind::AlreadyExists, doing)
        })?;
        let output = log
            .open()
            .map_err(|e| Error::io(format!("open {}", places.log.display()), e))?;
        let launch = Launch {
            program: program.path(),
            args: ["host", "--socket-fd", "3", "--lock-fd", "4"]
                .map(Into::into)
                .to_vec(),
            descriptors: vec![self.listener.as_fd(), lock.as_fd()],
            output: output.as_fd(),
            cgroup,
            oom_score_adj: OOM_SCORE_ADJ,
        };
        Supervisor::start(&launch, places.lock.clone())
    }
}

/// Connects to the agent and tells it what the pod is.
async fn configured(
    config: &Config,
    spec: &SandboxSpec,
    cgroup: &PodCgroup,
    places: &Places,
) -> Result<Agent> {
    let limit = Duration::from_secs(config.start_timeout_s);
    let agent = Agent::connect(&Address::Unix(places.socket.clone()), limit).await?;
    let request = configuration(config, spec, cgroup, places)?;
    let configured = agent.client().configure_sandbox(request).await;
    configured.map_err(refused)?;
    Ok(agent)
}

impl Launched {
    /// What finds it again after a restart of ours.
    pub(super) fn saved(&self) -> Saved {
        Saved {
            supervisor: self.supervisor.saved().clone(),
            cgroup: self.cgroup.path().to_owned(),
            parent: self.cgroup.parent(),
            state_dir: self.state_dir.clone(),
            overhead: self.overhead.clone(),
        }
    }
}

/// The limits of a pod's cgroup, which the kubelet keeps where it made the parent.
pub(super) fn limits(cgroup: &PodCgroup, spec: &SandboxSpec) -> Limits {
    match cgroup.parent() {
        Parent::Ours => Limits::of_pod(&spec.resources, &spec.overhead),
        Parent::Kubelet => Limits::within_kubelets(&spec.resources, &spec.overhead),
    }
}

fn configuration(
    config: &Config,
    spec: &SandboxSpec,
    cgroup: &PodCgroup,
    places: &Places,
) -> Result<v1::ConfigureSandboxRequest> {
    let network_namespace = match &spec.network_namespace {
        None => String::new(),
        Some(path) => path_text(path)?,
    };
    Ok(v1::ConfigureSandboxRequest {
        sandbox_id: spec.id.0.clone(),
        hostname: spec.hostname.clone(),
        sysctls: spec.sysctls.clone().into_iter().collect(),
        network_namespace,
        cgroup: cgroup.path().to_owned(),
        host_ipc: spec.host_ipc,
        host_uts: spec.hostname.is_empty(),
        shared_pid: spec.shared_pid,
        state_dir: path_text(&places.agent)?,
        shm_bytes: config.shm_mib << 20,
        time_ns: 0,
        network: None,
    })
}

/// The protocol has text where the kernel has bytes.
pub(super) fn path_text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        let doing = format!("use {}: the path is not UTF-8", path.display());
        Error::new(Kind::Invalid, doing)
    })
}

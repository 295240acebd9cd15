//! What a pod's containers share: namespaces held open by descriptors, and a cgroup above theirs.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use agent_api::v1;
use rustix::fs::{Mode, OFlags, fstatfs, open};
use tokio::sync::OnceCell;

use crate::Error;
use crate::container::cgroup::PodCgroup;
use crate::mode::Mode as AgentMode;
use crate::reaper::Reaper;
use crate::spawn::{self, Waiting};
use crate::stage1::spec::{Job, PidOneJob, PodJob, Role};

mod sysctl;

/// `f_type` of the files in /proc/…/ns.
const NSFS: i64 = 0x6e73_6673;

/// Bytes of /dev/shm where nobody says.
const SHM_BYTES: u64 = 64 * 1024 * 1024;

/// In a guest the pod's cgroup is ours to name.
const GUEST_CGROUP: &str = "pod";

/// A pod's sandbox.
#[derive(Debug)]
pub(crate) struct Sandbox {
    request: v1::ConfigureSandboxRequest,
    pub(crate) cgroup: PodCgroup,
    /// Where exit records go; nowhere in a guest.
    pub(crate) state_dir: Option<PathBuf>,
    network: Option<OwnedFd>,
    shared: BTreeMap<Role, OwnedFd>,
    /// PID 1 of the namespace that containers share, once one does.
    pid_one: OnceCell<Waiting>,
}

impl Sandbox {
    /// Makes the sandbox that `request` describes.
    pub(crate) async fn configure(
        mode: AgentMode,
        reaper: &Arc<Reaper>,
        request: v1::ConfigureSandboxRequest,
    ) -> Result<Self, Error> {
        let path = if mode == AgentMode::Guest {
            GUEST_CGROUP
        } else {
            &request.cgroup
        };
        let cgroup = PodCgroup::open(path)?;
        let network = open_network(&request.network_namespace)?;
        let sysctls = sysctl::paths(mode, &request)?;
        let job = PodJob {
            hostname: request.hostname.clone(),
            sysctls,
            shm_bytes: if request.shm_bytes == 0 {
                SHM_BYTES
            } else {
                request.shm_bytes
            },
            host_ipc: request.host_ipc,
            host_uts: request.host_uts,
        };
        let join: Vec<_> = network
            .iter()
            .map(|fd| (Role::NetworkNamespace, fd.as_fd()))
            .collect();
        let mut made = spawn::namespaces(reaper, Job::Pod(job), &join).await?;
        let shared = [Role::IpcNamespace, Role::UtsNamespace, Role::ShmNamespace]
            .into_iter()
            .filter_map(|role| Some((role, made.take(role)?)))
            .collect();
        let state_dir = Some(&request.state_dir)
            .filter(|path| !path.is_empty())
            .map(PathBuf::from);
        let shared_pid = request.shared_pid;
        let sandbox = Self {
            request,
            cgroup,
            state_dir,
            network,
            shared,
            pid_one: OnceCell::new(),
        };
        if shared_pid {
            sandbox.pid_one(reaper).await?;
        }
        Ok(sandbox)
    }

    /// Whether a second request asks for what is there. The time is not part of the shape.
    pub(crate) fn is(&self, request: &v1::ConfigureSandboxRequest) -> bool {
        let same = v1::ConfigureSandboxRequest {
            time_ns: self.request.time_ns,
            ..request.clone()
        };
        self.request == same
    }

    /// /dev/shm and IPC are the host's.
    pub(crate) fn host_ipc(&self) -> bool {
        self.request.host_ipc
    }

    /// The namespaces that a container joins.
    pub(crate) fn namespaces(&self) -> Vec<(Role, BorrowedFd<'_>)> {
        let mut all: Vec<_> = self
            .shared
            .iter()
            .map(|(role, fd)| (*role, fd.as_fd()))
            .collect();
        all.extend(
            self.network
                .iter()
                .map(|fd| (Role::NetworkNamespace, fd.as_fd())),
        );
        all
    }

    /// The pod's network namespace; `None` means our own.
    pub(crate) fn network(&self) -> Option<BorrowedFd<'_>> {
        self.network.as_ref().map(AsFd::as_fd)
    }

    /// pidfd of PID 1 of the shared PID namespace, which is made when it is first asked for.
    pub(crate) async fn pid_one(&self, reaper: &Arc<Reaper>) -> Result<BorrowedFd<'_>, Error> {
        let made = self
            .pid_one
            .get_or_try_init(|| async {
                spawn::process(reaper, Job::PidOne(PidOneJob {}), &[]).await
            })
            .await?;
        if made.exit.is_terminated() || !made.exit.is_empty() {
            return Err(Error::NoPidOne);
        }
        Ok(made.pidfd.as_fd())
    }

    /// Ends what the sandbox itself keeps running.
    pub(crate) fn end(&self) {
        if let Some(pid_one) = self.pid_one.get() {
            let kill = rustix::process::Signal::KILL;
            // It may have ended by itself.
            let _ = rustix::process::pidfd_send_signal(&pid_one.pidfd, kill);
        }
    }
}

fn open_network(path: &str) -> Result<Option<OwnedFd>, Error> {
    if path.is_empty() {
        return Ok(None);
    }
    let error = |source: rustix::io::Errno| Error::Io {
        doing: "open the pod's network namespace",
        source: source.into(),
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace = open(path, flags, Mode::empty()).map_err(error)?;
    if fstatfs(&namespace).map_err(error)?.f_type != NSFS {
        return Err(Error::Invalid(format!("{path} is no network namespace")));
    }
    Ok(Some(namespace))
}

/// Sysctls as the request has them.
type Sysctls = HashMap<String, String>;

//! The seam between the CRI server and what isolates a pod: [`Sandboxer`], [`Sandbox`],
//! [`Container`], and nothing else.
//!
//! A [`Sandboxer`] makes sandboxes of one kind; each runtime handler is one value of it. What goes
//! through the seam is neutral: the pod's network namespace as a path, a container's files as a
//! [`Rootfs`], resources as numbers, stdio as streams. Nothing here may name a machine, an agent or
//! a namespace of a particular kind; a method that has nothing to do in one of the kinds does not
//! belong here.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub mod error;
pub mod process;
pub mod saved;
pub mod spec;
pub mod stats;

pub mod namespaced;
pub mod vm;

pub mod cgroup;
pub mod sizing;

#[cfg(feature = "conformance")]
#[expect(clippy::unwrap_used, reason = "a check fails by panicking")]
pub mod conformance;

mod agent;
mod config;
mod ending;
mod leftovers;
mod readiness;
mod record;
mod supervisor;

/// Links that a sandbox adds to its pod's network namespace have names that begin like this. What goes through
/// them goes through the pod's own links as well.
pub const OWN_LINKS: &str = "bulkhead";

pub use error::{Error, Kind, Result};
pub use process::{
    Connection, ContainerExit, ContainerStatus, ExecExit, ExecSpec, Process, RunState, SandboxExit,
};
pub use saved::SavedSandbox;
pub use spec::{
    ContainerId, ContainerSpec, Device, ImageForm, Mount, Namespaces, PidMode, ProcessSpec,
    Resources, Rlimit, Rootfs, SandboxId, SandboxSpec, Signal, User,
};
pub use stats::{ContainerStats, SandboxStats};

/// Makes sandboxes of one kind. One value per runtime handler.
#[async_trait]
pub trait Sandboxer: Send + Sync + 'static {
    /// What this kind can do; askable before anything exists.
    fn features(&self) -> Features;

    /// Whether sandboxes of this kind can be made on this node now, or why not, for the runtime status.
    fn available(&self) -> std::result::Result<(), String>;

    /// Makes and starts a sandbox. On failure nothing of it is left.
    async fn create(&self, spec: SandboxSpec) -> Result<Arc<dyn Sandbox>>;

    /// Takes back a sandbox that outlived our last process, or tells what is known of one that ended
    /// meanwhile. What is left of that one stays until it is discarded, so that nothing known is lost.
    async fn adopt(&self, saved: SavedSandbox) -> Result<Adopted>;

    /// Kills a sandbox that can't be adopted and removes what is left of it. Needs nobody inside to agree.
    async fn discard(&self, id: &SandboxId) -> Result<()>;

    /// Removes whatever sandboxes of this kind left behind. `keep` names every sandbox that the server
    /// knows, of whatever kind. Called once at start, after the known ones were adopted.
    async fn sweep(&self, keep: &[SandboxId]) -> Result<()>;
}

/// What became of a sandbox while nobody watched.
pub enum Adopted {
    /// It lives, and is ours again.
    Living(Arc<dyn Sandbox>),
    /// It has ended. These of its containers are known to have ended like this.
    Ended(Vec<(ContainerId, ContainerExit)>),
}

/// One pod's isolation. Speaks sandboxes and containers.
#[async_trait]
pub trait Sandbox: Send + Sync {
    /// Its id.
    fn id(&self) -> &SandboxId;

    /// Makes a container up to the point before its first instruction. On failure nothing is left.
    async fn create_container(&self, spec: ContainerSpec) -> Result<Arc<dyn Container>>;

    /// The container with this id, made before our last restart. `NotFound` if the sandbox has none.
    async fn adopt_container(&self, id: &ContainerId) -> Result<Arc<dyn Container>>;

    /// Changes the limits of the whole sandbox.
    async fn update(&self, resources: Resources) -> Result<()>;

    /// Connects to a TCP port as a process inside would connect to localhost, over either IP version.
    async fn dial(&self, port: u16) -> Result<Connection>;

    /// What it uses, as a whole.
    async fn stats(&self) -> Result<SandboxStats>;

    /// Ends everything inside: asks first, and after `grace` kills. Idempotent.
    async fn stop(&self, grace: Duration) -> Result<()>;

    /// Removes what is left of a stopped sandbox: files, cgroups. Idempotent.
    async fn remove(&self) -> Result<()>;

    /// Resolves when the sandbox is over, by [`Sandbox::stop`] or by itself, with the reason.
    async fn wait(&self) -> SandboxExit;

    /// What [`Sandboxer::adopt`] needs after a restart of ours.
    fn save(&self) -> SavedSandbox;

    /// How long it took on the node to bring the pod's network to the workloads, where they do not simply
    /// share the namespace. `None` after a restart of ours, too.
    fn network_setup(&self) -> Option<Duration> {
        None
    }

    /// Facts for people who debug, by name: process ids, kernel, the arithmetic of its size.
    async fn explain(&self) -> Vec<(String, String)>;
}

/// One workload in a sandbox.
#[async_trait]
pub trait Container: Send + Sync {
    /// Its id.
    fn id(&self) -> &ContainerId;

    /// Lets its first process run.
    async fn start(&self) -> Result<()>;

    /// Runs another process in it, with the container's own security context.
    async fn exec(&self, spec: ExecSpec) -> Result<Process>;

    /// Joins the streams of its first process.
    async fn attach(&self, spec: ExecSpec) -> Result<Process>;

    /// Signals its first process; [`Signal::KILL`] reaches all of it.
    async fn signal(&self, signal: Signal) -> Result<()>;

    /// Changes its limits.
    async fn update(&self, resources: Resources) -> Result<()>;

    /// What it uses.
    async fn stats(&self) -> Result<ContainerStats>;

    /// Its state now.
    async fn status(&self) -> Result<ContainerStatus>;

    /// Resolves when its first process has ended and all its output is in the log.
    async fn wait(&self) -> ContainerExit;

    /// Opens its log path anew; on return the new file exists and nothing more goes to the old one.
    async fn reopen_log(&self) -> Result<()>;

    /// Kills what is left and removes it. Idempotent.
    async fn remove(&self) -> Result<()>;
}

/// What a kind of sandbox can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// In which form it wants the read-only files of an image.
    pub image_form: ImageForm,
    /// Pods may share the network namespace of the node.
    pub host_network: bool,
    /// Pods may share the PID and IPC namespaces of the node.
    pub host_namespaces: bool,
    /// Mounts can be made read-only together with what is mounted below them.
    pub recursive_read_only_mounts: bool,
    /// Pods may have user namespaces of their own.
    pub user_namespaces: bool,
}

//! `cargo xtask node`: a whole Kubernetes node in a virtual machine.
//!
//! All privileged work happens in there, so that neither tests nor the demo touch the machine they
//! run on. The node has Debian user land, Debian's 6.12 kernel, cgroup v2 with all controllers and
//! nested KVM. Its disk is built once and cached; each boot writes to a throw-away snapshot of it.
//!
//! **Control channel: ssh.** It has exit codes, separate stdout and stderr, stdin, terminals, many
//! commands at once, and forwards unix sockets, and all of it is binary safe and long proven. One
//! connection is opened when the node is up and all commands share it (`ControlMaster`), because a
//! handshake under TCG takes a second. Rejected: virtio-serial with a daemon of ours (the same
//! again, less proven), vsock (the machine outside may have no vhost-vsock).
//!
//! **Network: its own.** The one network card is QEMU's user network with `restrict=on`: the node
//! reaches no address outside it, and only the forwarded ssh port on loopback reaches the node.
//!
//! Anybody may also use plain ssh: `cd target/node/<name> && ssh -F ssh_config node`.

mod boot;
mod channel;
mod image;
mod owned;
mod products;
mod qemu;
mod runtime_dir;

use crate::{process, repository};
use anyhow::{Context, Result, bail};
use channel::Channel;
use clap::Args;
use qemu::Lifetime;
use runtime_dir::RuntimeDir;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

pub(crate) use owned::OwnedNode;
pub(crate) use products::Product;
pub(crate) use qemu::PACKAGES as QEMU_PACKAGES;
pub(crate) use runtime_dir::Died;

/// What a node has unless somebody asks for more.
pub(crate) const DEFAULT_MEMORY_MIB: u32 = 4096;

/// What to do with a node.
#[derive(clap::Subcommand)]
pub(crate) enum Verb {
    /// Boots a node with a clean disk. It stays up until `down`.
    ///
    /// What was built so far is in it, as /opt/bulkhead/{bin,guest,manifests} and /opt/tools/bin, with
    /// links in /usr/local/bin. For a node that is up already, brings what was built since.
    Up {
        #[command(flatten)]
        node: Name,
        /// Memory of the node in MiB.
        #[arg(long, default_value_t = DEFAULT_MEMORY_MIB)]
        memory_mib: u32,
    },
    /// Runs a command in a node, with its stdin, stdout, stderr and exit code (70: the node died).
    ///
    /// One word is run by the node's shell; several words are run as they are.
    Exec {
        #[command(flatten)]
        node: Name,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Opens a shell in a node.
    Shell {
        #[command(flatten)]
        node: Name,
    },
    /// Copies a file or directory into a node; what is there is replaced even while it runs.
    Push {
        #[command(flatten)]
        node: Name,
        /// A file or directory on this machine.
        source: PathBuf,
        /// An absolute path in the node. With a `/` at the end: the directory to put it into.
        destination: String,
    },
    /// Switches a node off, if it is up. Its disk is gone with it.
    Down {
        #[command(flatten)]
        node: Name,
    },
}

/// Which of several nodes.
#[derive(Args)]
pub(crate) struct Name {
    /// Name of the node; its files are in target/node/`NAME`/.
    #[arg(long, default_value = "main")]
    name: String,
}

/// Builds the disk of nodes unless it is there.
pub(crate) fn prepare() -> Result<()> {
    image::Image::open().map(drop)
}

pub(crate) fn run(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Up { node, memory_mib } => up(&node.name, memory_mib),
        Verb::Exec { node, command } => attach(&node.name)?.run(&channel::script(&command)),
        Verb::Shell { node } => shell(&node.name),
        Verb::Push {
            node,
            source,
            destination,
        } => {
            attach(&node.name)?.push(&source, &destination)?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Down { node } => {
            RuntimeDir::open(&node.name)?.down()?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn up(name: &str, memory_mib: u32) -> Result<ExitCode> {
    let dir = RuntimeDir::open(name)?;
    let _lock = repository::lock(&format!("node-{name}"))?;
    if dir.is_running() {
        process::step(&format!("node {name} is up already"));
        boot::refresh(&Channel::attach(dir)?)?;
    } else {
        boot::boot(dir, memory_mib, Lifetime::UntilDown, &[])?;
    }
    Ok(ExitCode::SUCCESS)
}

fn shell(name: &str) -> Result<ExitCode> {
    if !std::io::stdin().is_terminal() {
        bail!("`node shell` wants a terminal; `node exec` runs commands without one");
    }
    attach(name)?.terminal()
}

fn attach(name: &str) -> Result<Channel> {
    let dir = RuntimeDir::open(name)?;
    Channel::attach(dir).with_context(|| format!("reach node {name}"))
}

//! What was typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Where the configuration is looked for unless another place is given.
pub const CONFIG: &str = "/etc/bulkhead/config.toml";

/// Bulkhead: a container runtime for Kubernetes nodes.
#[derive(Debug, Parser)]
#[command(name = "bulkhead", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the kubelet until SIGTERM. Pods go on without us.
    Serve(ConfigFile),
    /// Show the boot messages and console of a pod's virtual machine.
    Console(OfPod),
    /// Show what is known of a pod, and how the size of its virtual machine came about.
    Explain(OfPod),
    /// Show the versions of client and server.
    Version(ConfigFile),
}

/// Where the configuration is.
#[derive(Args, Debug)]
pub struct ConfigFile {
    /// Configuration file; it holds what is to differ from the defaults.
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
}

/// Which pod.
#[derive(Args, Debug)]
pub struct OfPod {
    /// Id of the pod, or a beginning of it.
    pub pod: String,
    /// Where the server is.
    #[command(flatten)]
    pub config: ConfigFile,
}

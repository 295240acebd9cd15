//! Why a container's tree could not be built: which mount, and what refused.

use rustix::io::Errno;

/// Why a container's tree could not be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MountError {
    /// The agent left something out of the job.
    #[error("the job has no {0}")]
    Incomplete(&'static str),
    /// The agent's namespace could not be left.
    #[error("cut the mount namespace off from the host")]
    CutOff(#[source] Errno),
    /// A path to be mounted.
    #[error("open mount source {path}")]
    Source {
        /// As asked for.
        path: String,
        /// Why not.
        source: Errno,
    },
    /// A path in the container.
    #[error("find {target} in the container")]
    Target {
        /// As asked for.
        target: String,
        /// Why not.
        source: Errno,
    },
    /// Path and content are of different kinds, or the kernel refused.
    #[error("mount on {target}")]
    Attach {
        /// As asked for.
        target: String,
        /// Why not.
        source: Errno,
    },
    /// Flags or propagation.
    #[error("change the mount at {target}")]
    Change {
        /// As asked for.
        target: String,
        /// Why not.
        source: Errno,
    },
    /// A file system that does not mount.
    #[error("make a {kind} file system{}", described(.kernel))]
    Filesystem {
        /// Its type.
        kind: &'static str,
        /// What the kernel said beside the error number.
        kernel: String,
        /// Why not.
        source: Errno,
    },
    /// A type that we do not mount.
    #[error("unknown mount type {0:?}")]
    Kind(String),
    /// A word that mount(8) does not have.
    #[error("unknown mount propagation {0:?}")]
    Propagation(String),
    /// A path that would depend on where we are.
    #[error("mount destination {0:?} is not absolute")]
    RelativeTarget(String),
    /// A path that would depend on where we are.
    #[error("working directory {0:?} is not absolute")]
    RelativeCwd(String),
    /// The working directory.
    #[error("make working directory {path}")]
    Cwd {
        /// As asked for.
        path: String,
        /// Why not.
        source: Errno,
    },
    /// A device node or a symlink in /dev.
    #[error("make device {path}")]
    Node {
        /// Path in the container.
        path: String,
        /// Why not.
        source: Errno,
    },
    /// A file with content of ours.
    #[error("write {path} in the container")]
    File {
        /// Path in the container.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The last step.
    #[error("enter the container's root")]
    Pivot(#[source] Errno),
}

impl MountError {
    /// Whether what was asked for is at fault rather than this machine.
    pub(crate) fn is_invalid(&self) -> bool {
        match self {
            Self::Kind(_)
            | Self::Propagation(_)
            | Self::RelativeTarget(_)
            | Self::RelativeCwd(_) => true,
            Self::Source { source, .. }
            | Self::Target { source, .. }
            | Self::Attach { source, .. }
            | Self::Cwd { source, .. } => {
                matches!(
                    *source,
                    Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ROFS
                )
            }
            _ => false,
        }
    }
}

fn described(kernel: &str) -> String {
    if kernel.is_empty() {
        String::new()
    } else {
        format!(" ({kernel})")
    }
}

//! Container output as the kubelet reads it: the CRI log format, one line per `writev`.
//!
//! Used by whoever supervises a container on the host side: the agent for containers on the host, the
//! VMM for those in a guest. A line is `<time> stdout|stderr P|F <text>\n`; `P` says that the text goes
//! on in the next line of the same stream, so a reader that joins them gets the output byte for byte,
//! with no newline where the container wrote none.

mod container_log;
mod file;
mod lines;
mod timestamp;

pub use container_log::{ContainerLog, Dropped};
pub use file::open;
pub use lines::MAX_LINE;

/// Which of a container's two outputs. A terminal is all stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    const fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

//! Where a container's output is kept: a file on the host, or the VMM that writes one for a guest.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use cri_log::ContainerLog;
use parking_lot::Mutex;

use crate::stdio::{Gone, Sink, Stream};

mod guest;
mod writer;

pub(crate) use guest::GuestLog;
pub(crate) use writer::LogWriter;

/// Why output can't be kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// The file.
    #[error("open log {}", .path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The VMM.
    #[error("the host's log writer is gone")]
    Gone,
    /// Somebody else writes the file.
    #[error("this agent writes no log for the container")]
    NotOurs,
}

/// A container's log.
#[derive(Debug)]
pub(crate) enum Log {
    /// Nobody keeps it.
    Nowhere,
    /// We write it.
    File(FileLog),
    /// The VMM writes it.
    Guest(GuestLog),
}

impl Log {
    /// Adds output to the log. Waits for the VMM, never for a disk that is full.
    pub(crate) async fn write(&self, stream: Stream, bytes: &[u8]) {
        match self {
            Self::Nowhere => {}
            Self::File(log) => log.log.lock().write(stream.into(), bytes),
            Self::Guest(log) => log.write(stream, bytes).await,
        }
    }

    /// There is no more output: returns once all of it is in the log, or can't be any more.
    pub(crate) async fn finish(&self, container_id: &str) {
        match self {
            Self::Nowhere => {}
            Self::File(log) => log.finish(container_id),
            Self::Guest(log) => log.finish().await,
        }
    }

    /// Goes on in a new file of the same name.
    pub(crate) fn reopen(&self) -> Result<(), LogError> {
        match self {
            Self::File(log) => log.reopen(),
            Self::Nowhere | Self::Guest(_) => Err(LogError::NotOurs),
        }
    }
}

impl From<Stream> for cri_log::Stream {
    fn from(stream: Stream) -> Self {
        match stream {
            Stream::Stdout => Self::Stdout,
            Stream::Stderr => Self::Stderr,
        }
    }
}

/// A log file that we write.
#[derive(Debug)]
pub(crate) struct FileLog {
    path: PathBuf,
    log: Mutex<ContainerLog>,
}

impl FileLog {
    /// Opens `path` for appending, after making it and its directories if they are missing.
    pub(crate) fn open(path: &Path) -> Result<Self, LogError> {
        let file = open(path)?;
        Ok(Self {
            path: path.to_owned(),
            log: Mutex::new(ContainerLog::new(file)),
        })
    }

    fn reopen(&self) -> Result<(), LogError> {
        let file = open(&self.path)?;
        self.log.lock().reopen(file);
        Ok(())
    }

    fn finish(&self, container_id: &str) {
        let mut log = self.log.lock();
        log.finish();
        let dropped = log.dropped();
        if dropped.lines > 0 {
            let (lines, bytes) = (dropped.lines, dropped.bytes);
            tracing::warn!(
                container_id,
                lines,
                bytes,
                "output was lost: the log took no more"
            );
        }
    }
}

fn open(path: &Path) -> Result<File, LogError> {
    let opened = || {
        if let Some(directory) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(directory)?;
        }
        cri_log::open(path)
    };
    opened().map_err(|source| LogError::Open {
        path: path.to_owned(),
        source,
    })
}

/// One stream of a container: first the log, then those who are attached.
pub(crate) struct ContainerOutput {
    pub(crate) container: std::sync::Arc<crate::container::Streams>,
    pub(crate) stream: Stream,
}

impl Sink for ContainerOutput {
    async fn take(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        self.container.log.write(self.stream, bytes).await;
        self.container.fan_out.publish(self.stream, bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn texts(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines()
            .map(|line| line.splitn(3, ' ').nth(2).unwrap().to_owned())
            .collect()
    }

    #[tokio::test(flavor = "current_thread")]
    async fn output_goes_on_in_the_new_file_after_a_rotation() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pod/container/0.log");
        let log = Log::File(FileLog::open(&path).unwrap());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        log.write(Stream::Stdout, b"one\ntw").await;
        let rotated = path.with_extension("log.1");
        std::fs::rename(&path, &rotated).unwrap();
        log.reopen().unwrap();
        assert!(path.exists(), "the new file is there when the call returns");
        log.write(Stream::Stdout, b"o\n").await;
        log.finish("c").await;
        assert_eq!(texts(&rotated), ["F one"]);
        assert_eq!(texts(&path), ["F two"]);
    }

    #[test]
    fn a_log_that_can_not_be_opened_is_named() {
        let error = FileLog::open(Path::new("/proc/nosuch/0.log")).unwrap_err();
        assert_eq!(error.to_string(), "open log /proc/nosuch/0.log");
    }
}

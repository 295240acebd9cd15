//! The log lines of a supervisor, in a file that does not grow for ever.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Beyond this the file is set aside, and what was set aside before is forgotten.
const LIMIT: u64 = 256 * 1024;

/// So much of its end is set aside.
const KEPT: usize = 1024 * 1024;

/// A supervisor's log file. The supervisor has it open for appending, so it may be cut at any time.
#[derive(Clone, Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
}

impl LogFile {
    /// The log file at `path`, which need not be there yet.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it for the supervisor.
    pub(crate) fn open(&self) -> io::Result<File> {
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.path)
    }

    /// Keeps it within bounds. What is written between the copy and the cut is lost; these are words
    /// for people who debug, not the output of a container.
    pub(crate) fn trim(&self) -> io::Result<()> {
        let file = match OpenOptions::new().write(true).open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        if file.metadata()?.len() > LIMIT {
            let aside = self.path.with_extension("log.1");
            fs::write(aside, last_bytes(&self.path, KEPT)?)?;
            file.set_len(0)?;
        }
        Ok(())
    }

    /// Its last lines, of at most `limit` bytes, for an error that says why a supervisor died.
    pub(crate) fn tail(&self, limit: usize) -> String {
        // One byte before tells whether the first line is whole.
        let bytes = last_bytes(&self.path, limit + 1).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let whole = match text.split_once('\n') {
            Some((_cut, rest)) if bytes.len() > limit => rest,
            _ => &text,
        };
        whole.trim_end().to_owned()
    }
}

/// At most the last `limit` bytes of a file, however long somebody has made it.
pub(crate) fn last_bytes(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    let start = file.metadata()?.len().saturating_sub(limit);
    file.seek(io::SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_log_is_set_aside_when_it_is_too_long_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let log = LogFile::at(dir.path().join("agent.log"));
        let mut file = log.open().unwrap();
        file.write_all(&vec![b'x'; 300_000]).unwrap();
        log.trim().unwrap();
        file.write_all(b"after\n").unwrap();
        assert_eq!(log.tail(100), "after");
        let aside = fs::metadata(dir.path().join("agent.log.1")).unwrap();
        assert_eq!(aside.len(), 300_000);
    }

    #[test]
    fn a_tail_begins_with_a_whole_line() {
        let dir = tempfile::tempdir().unwrap();
        let log = LogFile::at(dir.path().join("agent.log"));
        assert_eq!(log.tail(10), "");
        log.open()
            .unwrap()
            .write_all(b"first line\nsecond\nthird\n")
            .unwrap();
        assert_eq!(log.tail(100), "first line\nsecond\nthird");
        assert_eq!(log.tail(15), "second\nthird");
    }
}

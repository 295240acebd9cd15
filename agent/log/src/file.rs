//! The file that a log is written to.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Opens the log at `path`, or makes it, to write at its end.
///
/// What somebody in a pod may have put there instead, where a volume reaches that far, is an error: a
/// symbolic link to a file of the host's, or a pipe that nobody reads. It never waits for such a pipe.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::options()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is not a regular file"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    #[test]
    fn what_is_no_file_of_its_own_is_not_written_to() {
        let directory = tempfile::tempdir().unwrap();
        let [link, pipe, target] =
            ["link", "pipe", "target"].map(|name| directory.path().join(name));
        symlink(&target, &link).unwrap();
        open(&link).unwrap_err();
        assert!(!target.exists());
        mkfifoat(CWD, &pipe, Mode::RUSR).unwrap();
        open(&pipe).unwrap_err();
        // Nor where somebody reads it.
        let _reader = File::options().read(true).write(true).open(&pipe).unwrap();
        open(&pipe).unwrap_err();
    }
}

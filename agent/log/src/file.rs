//! The file that a log is written to.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

/// Opens the log at `path`, or makes it, to write at its end.
///
/// What somebody in a pod may have put there instead, where a volume reaches that far, is an error: a
/// symbolic link to a file of the host's or, anywhere on the way, to a directory of it; or a pipe that
/// nobody reads. It never waits for such a pipe. Links that are the operator's are to be resolved before.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::NONBLOCK
        | OFlags::NOCTTY
        | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
    let file = File::from(openat2(CWD, path, flags, mode, ResolveFlags::NO_SYMLINKS)?);
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
        std::fs::create_dir(&target).unwrap();
        open(&link.join("0.log")).unwrap_err();
        assert_eq!(std::fs::read_dir(&target).unwrap().count(), 0);
        open(&target.join("0.log")).unwrap();
        mkfifoat(CWD, &pipe, Mode::RUSR).unwrap();
        open(&pipe).unwrap_err();
        // Nor where somebody reads it.
        let _reader = File::options().read(true).write(true).open(&pipe).unwrap();
        open(&pipe).unwrap_err();
    }
}

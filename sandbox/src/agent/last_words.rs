//! The last words of a container in a guest: told by the agent with its end, written where the kubelet looks.
//!
//! The guest names no file; its words are bounded and go into the one that the kubelet made for them.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use agent_api::last_words;
use rustix::fs::{CWD, Mode, OFlags, openat};

/// Replaces the content of `file`, which must be a regular file and be there already.
pub(super) fn write(file: &Path, words: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = File::from(openat(CWD, file, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        let error = "it is not a regular file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
    }
    file.set_len(0)?;
    file.write_all(last_words::end(words))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_the_file_that_is_there_is_written_and_no_more_than_anybody_reads() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("words");
        write(&file, b"why").unwrap_err();
        assert!(!file.exists());
        std::fs::write(&file, "something longer than that").unwrap();
        write(&file, b"why").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"why");
        write(&file, &vec![b'x'; 1 << 20]).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 4096);
    }

    #[test]
    fn a_link_in_its_place_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        std::fs::write(&target, "precious").unwrap();
        symlink(&target, &link).unwrap();
        write(&link, b"why").unwrap_err();
        write(dir.path(), b"why").unwrap_err();
        assert_eq!(std::fs::read(&target).unwrap(), b"precious");
    }
}

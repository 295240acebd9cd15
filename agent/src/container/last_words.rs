//! What a container in a guest leaves for those who ask why it ended: the end of a file of its own, which
//! travels with its exit.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use agent_api::last_words::MOST_BYTES;

use super::Container;

impl Container {
    /// Reads what it left, once none of its processes can write any more.
    pub(super) async fn keep_last_words(&self) {
        let file = self
            .disks
            .lock()
            .as_ref()
            .and_then(|disks| disks.last_words());
        let Some(file) = file else { return };
        // Its disk is the node's.
        let read = tokio::task::spawn_blocking(move || end_of(&file)).await;
        match read.map_err(std::io::Error::other).flatten() {
            Ok(words) => drop(self.last_words.set(words)),
            Err(error) => {
                tracing::warn!(container_id = self.id, %error, "a container's last words can't be read");
            }
        }
    }

    /// What it left; nothing before it has ended.
    pub(super) fn last_words(&self) -> Vec<u8> {
        self.last_words.get().cloned().unwrap_or_default()
    }
}

fn end_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MOST_BYTES as u64)))?;
    let mut words = Vec::new();
    file.take(MOST_BYTES as u64).read_to_end(&mut words)?;
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_much_the_end_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("last-words");
        std::fs::write(&file, "why").unwrap();
        assert_eq!(end_of(&file).unwrap(), b"why");
        let long = [&vec![b'x'; 3 * MOST_BYTES][..], b"why"].concat();
        std::fs::write(&file, long).unwrap();
        let words = end_of(&file).unwrap();
        assert_eq!(words.len(), MOST_BYTES);
        assert!(words.ends_with(b"xwhy"));
    }
}

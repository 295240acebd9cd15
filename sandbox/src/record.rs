//! Small JSON files that survive a restart of ours, each whole or not there.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, Kind, Result};

/// Writes `content` to `path`. A crash leaves the old content or the new.
pub(crate) fn write(path: &Path, content: &impl Serialize) -> Result<()> {
    let writing = || format!("write {}", path.display());
    let bytes =
        serde_json::to_vec(content).map_err(|e| Error::caused(Kind::Internal, writing(), e))?;
    let new = path.with_extension("new");
    fs::write(&new, bytes)
        .and_then(|()| fs::rename(&new, path))
        .map_err(|e| Error::io(writing(), e))
}

/// Reads what was written to `path`; `None` where nothing was.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let reading = || format!("read {}", path.display());
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(reading(), error)),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|e| Error::caused(Kind::Internal, reading(), e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_a_missing_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c1.json");
        assert_eq!(read::<u32>(&path).unwrap(), None);
        write(&path, &7).unwrap();
        write(&path, &8).unwrap();
        assert_eq!(read(&path).unwrap(), Some(8));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn rubbish_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c1.json");
        fs::write(&path, "{").unwrap();
        let error = read::<u32>(&path).unwrap_err();
        assert!(error.to_string().ends_with("c1.json"), "{error}");
    }
}

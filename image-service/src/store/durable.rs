//! Writing so that a power cut leaves either all of a file or nothing of it.
//!
//! Write → fdatasync → rename → fsync of the directory, and only then the database.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use tempfile::NamedTempFile;

use super::fault;

/// A file operation failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {path}")]
pub struct FileError {
    /// What was done to it.
    pub doing: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// Why it failed.
    pub source: io::Error,
}

impl FileError {
    /// For `map_err`.
    pub(crate) fn of<'a>(
        doing: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> Self + use<'a> {
        move |source| Self {
            doing,
            path: path.to_owned(),
            source,
        }
    }

    /// Whether more space would have helped.
    pub(crate) fn is_no_space(&self) -> bool {
        is_no_space(&self.source)
    }
}

pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// A new file that vanishes unless it is [`publish`]ed.
pub(super) fn ingest_file(ingest: &Path) -> Result<NamedTempFile, FileError> {
    NamedTempFile::new_in(ingest).map_err(FileError::of("create a file in", ingest))
}

/// Gives a finished file its name, for good. What had the name before is gone.
pub(super) fn publish(file: NamedTempFile, target: &Path) -> Result<(), FileError> {
    file.as_file()
        .sync_data()
        .map_err(FileError::of("sync", file.path()))?;
    fault::point("file synced");
    let persisted = file.persist(target).map_err(|error| error.error);
    persisted.map_err(FileError::of("rename a new file to", target))?;
    fault::point("file renamed");
    sync_directory(target.parent().expect("a file has a directory"))
}

/// Writes a small file, for good.
pub(super) fn write(ingest: &Path, target: &Path, content: &[u8]) -> Result<(), FileError> {
    let mut file = ingest_file(ingest)?;
    file.write_all(content)
        .map_err(FileError::of("write", file.path()))?;
    publish(file, target)
}

/// Writes a record, for good.
pub(super) fn write_record(
    ingest: &Path,
    target: &Path,
    record: &impl Serialize,
) -> Result<(), FileError> {
    let json = serde_json::to_vec(record).expect("a record has only JSON's types");
    write(ingest, target, &json)
}

/// Makes names in a directory durable.
pub(super) fn sync_directory(path: &Path) -> Result<(), FileError> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(FileError::of("sync directory", path))
}

/// Removes a file that may be gone already.
pub(super) fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::of("remove", path)(error))
        }
        _ => Ok(()),
    }
}

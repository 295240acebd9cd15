//! A blob in the making.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;

use tempfile::NamedTempFile;

use super::durable::{self, FileError};
use super::saved::{BlobKey, SCHEMA, SavedBlob, unix_now};
use super::{Store, StoreError};

/// How much may be written between two looks at the free space.
const CHECK_EVERY_BYTES: u64 = 32 << 20;

/// A file that becomes a blob when it is committed, and vanishes otherwise. Writing to it ends
/// with "no space" while the disk still has its reserve.
pub(crate) struct Ingest {
    file: NamedTempFile,
    min_free_bytes: u64,
    unchecked_bytes: u64,
}

impl Ingest {
    /// The file, for reading back.
    pub(crate) fn file(&self) -> &File {
        self.file.as_file()
    }
}

impl Write for Ingest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.unchecked_bytes >= CHECK_EVERY_BYTES {
            check_free(self.file.as_file(), self.min_free_bytes)?;
            self.unchecked_bytes = 0;
        }
        let written = self.file.as_file_mut().write(bytes)?;
        self.unchecked_bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().flush()
    }
}

impl Seek for Ingest {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.as_file_mut().seek(to)
    }
}

/// An error unless the file's file system has more than `min_free_bytes` to give.
fn check_free(file: &File, min_free_bytes: u64) -> io::Result<()> {
    let statistics = rustix::fs::fstatvfs(file)?;
    let free = statistics.f_bavail.saturating_mul(statistics.f_frsize);
    if free > min_free_bytes {
        Ok(())
    } else {
        Err(io::ErrorKind::StorageFull.into())
    }
}

impl Store {
    /// Begins a blob. `expected_bytes` is the least that it will take.
    pub(crate) fn ingest(
        &self,
        min_free_bytes: u64,
        expected_bytes: u64,
    ) -> Result<Ingest, FileError> {
        let directory = self.paths.ingest();
        let file = durable::ingest_file(&directory)?;
        let least = min_free_bytes.saturating_add(expected_bytes);
        check_free(file.as_file(), least).map_err(FileError::of("find space in", &directory))?;
        Ok(Ingest {
            file,
            min_free_bytes,
            unchecked_bytes: 0,
        })
    }

    /// Makes a finished blob part of the store, for good. One that is there already is kept.
    pub(crate) fn commit_blob(&self, ingest: Ingest, key: BlobKey) -> Result<(), StoreError> {
        let path = self.paths.blob(&key);
        // Before the lock, because it takes long; the second time costs nothing.
        let synced = ingest
            .file()
            .sync_data()
            .and_then(|()| ingest.file().metadata());
        let metadata = synced.map_err(FileError::of("sync", &path))?;
        let blob = SavedBlob {
            schema: SCHEMA,
            key,
            len_bytes: metadata.len(),
            disk_bytes: metadata.blocks() * 512,
            saved_at: unix_now(),
        };
        let mut db = self.db.lock();
        if self.has_blob(&key) {
            return Ok(());
        }
        durable::publish(ingest.file, &path)?;
        let sidecar = self.paths.blob_sidecar(&key);
        durable::write_record(&self.paths.ingest(), &sidecar, &blob)?;
        db.change(|tx| tx.put_blob(&blob))?;
        self.state.write().blobs.insert(key, blob);
        Ok(())
    }
}

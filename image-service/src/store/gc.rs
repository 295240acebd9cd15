//! Removing images, and blobs that nothing needs any more.

use std::collections::BTreeSet;
use std::time::Duration;

use tracing::{info, warn};

use super::db::{Change, Db, DbError};
use super::saved::{BlobKey, Hold, SavedBlob, unix_now};
use super::state::{Entry, State};
use super::{Store, StoreError, durable};
use crate::image::ImageId;

/// What a change takes out of the tables: put back if the change fails, unlinked if it succeeds.
#[derive(Default)]
pub(super) struct Removed {
    entries: Vec<Entry>,
    blobs: Vec<SavedBlob>,
}

impl State {
    /// Takes images out, with the blobs that only they needed.
    pub(super) fn take_images(&mut self, ids: &[ImageId]) -> Removed {
        let entries: Vec<Entry> = ids.iter().filter_map(|id| self.images.remove(id)).collect();
        let freed: BTreeSet<BlobKey> = entries
            .iter()
            .flat_map(|entry| entry.saved.blobs())
            .collect();
        let blobs = self.take_blobs(|blob| freed.contains(&blob.key));
        Removed { entries, blobs }
    }

    /// Takes out all blobs that nobody needs and that `which` picks.
    fn take_blobs(&mut self, which: impl Fn(&SavedBlob) -> bool) -> Vec<SavedBlob> {
        let unneeded = self.unneeded();
        let picked = unneeded
            .into_iter()
            .filter(|key| self.blobs.get(key).is_some_and(&which));
        let picked: Vec<BlobKey> = picked.collect();
        picked
            .iter()
            .filter_map(|key| self.blobs.remove(key))
            .collect()
    }

    fn put_back(&mut self, removed: Removed) {
        self.images.extend(
            removed
                .entries
                .into_iter()
                .map(|entry| (entry.saved.id, entry)),
        );
        self.blobs
            .extend(removed.blobs.into_iter().map(|blob| (blob.key, blob)));
    }
}

impl Store {
    /// Removes blobs that nobody needs and that were written `age` ago or earlier: what failed
    /// pulls left. Blocking.
    pub(crate) fn sweep(&self, age: Duration) -> Result<(), StoreError> {
        let mut db = self.db.lock();
        let before = unix_now().saturating_sub(age.as_secs());
        let blobs = self
            .state
            .write()
            .take_blobs(|blob| blob.saved_at <= before);
        self.discard(
            &mut db,
            Removed {
                entries: Vec::new(),
                blobs,
            },
            &[],
        )
    }

    /// Makes a removal last, in one transaction with the end of `holds`. The database stays locked
    /// meanwhile, so nobody writes a blob anew between the loss of its row and that of its file.
    pub(super) fn discard(
        &self,
        db: &mut Db,
        removed: Removed,
        holds: &[Hold],
    ) -> Result<(), StoreError> {
        if removed.entries.is_empty() && removed.blobs.is_empty() && holds.is_empty() {
            return Ok(());
        }
        let change = |tx: &Change<'_>| {
            removed
                .entries
                .iter()
                .try_for_each(|entry| tx.delete_image(&entry.saved.id))?;
            removed
                .blobs
                .iter()
                .try_for_each(|blob| tx.delete_blob(&blob.key))?;
            holds.iter().try_for_each(|hold| tx.delete_hold(hold))
        };
        let mut result = db.change(change);
        if result.as_ref().is_err_and(DbError::is_no_space) && !removed.blobs.is_empty() {
            // A full disk must not keep anybody from freeing it. A crash from here on leaves rows
            // without files, which the next start forgets.
            self.unlink(&removed);
            result = db.change(change);
        }
        if let Err(error) = result {
            self.state.write().put_back(removed);
            return Err(error.into());
        }
        self.state
            .write()
            .holds
            .retain(|hold| !holds.contains(hold));
        self.unlink(&removed);
        Ok(())
    }

    /// Removes the files. What can't be removed now is found at the next start.
    fn unlink(&self, removed: &Removed) {
        let mut files = Vec::new();
        for blob in &removed.blobs {
            files.extend([
                self.paths.blob(&blob.key),
                self.paths.blob_sidecar(&blob.key),
            ]);
        }
        for entry in &removed.entries {
            let id = &entry.saved.id;
            files.extend([self.paths.image_sidecar(id), self.paths.image_config(id)]);
        }
        for file in files {
            if let Err(error) = durable::remove(&file) {
                warn!(file = %file.display(), error = %error.source, "file can't be removed");
            }
            super::fault::point("file removed");
        }
        let bytes: u64 = removed.blobs.iter().map(|blob| blob.disk_bytes).sum();
        info!(
            images = removed.entries.len(),
            blobs = removed.blobs.len(),
            bytes,
            "space freed"
        );
    }
}

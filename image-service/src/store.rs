//! What is on this node: blobs, images, and who uses them.
//!
//! All methods that change something block on the disk; async callers use `spawn_blocking`.
//! The database lock orders changes; the tables in memory are read by everybody at any time.

mod db;
mod durable;
mod error;
mod fault;
mod gc;
mod ingest;
mod lease;
mod names;
mod paths;
mod recover;
mod saved;
mod state;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;

use erofs_image::CONVERTER_VERSION;
use parking_lot::{Mutex, RwLock};

pub use db::DbError;
pub use durable::FileError;
pub(crate) use durable::is_no_space;
pub use error::{OpenError, StoreError};
pub(crate) use ingest::Ingest;
pub(crate) use lease::Lease;
pub(crate) use names::Prepared;
pub(crate) use paths::Paths;
pub(crate) use saved::{BlobKey, BlobKind, Hold, SavedImage};
pub(crate) use state::Pinned;

use crate::image::{FsUsage, Image, ImageId};
use db::Db;
use state::State;

/// The store of one node.
pub(crate) struct Store {
    pub(crate) paths: Paths,
    db: Mutex<Db>,
    state: RwLock<State>,
    pinned: Pinned,
    /// Held as long as we live, so that no second server touches our files.
    _lock: File,
}

impl Store {
    /// Opens or creates the store below `paths`, and repairs it.
    pub(crate) fn open(paths: Paths, pinned: Pinned) -> Result<Self, OpenError> {
        let (lock, db, state) = recover::open(&paths, &pinned)?;
        let (db, state) = (Mutex::new(db), RwLock::new(state));
        Ok(Self {
            paths,
            db,
            state,
            pinned,
            _lock: lock,
        })
    }

    pub(crate) fn list(&self) -> Vec<Arc<Image>> {
        self.state
            .read()
            .visible()
            .map(|entry| entry.image.clone())
            .collect()
    }

    pub(crate) fn find(&self, query: &str) -> Option<Arc<Image>> {
        self.state
            .read()
            .find(query)
            .map(|entry| entry.image.clone())
    }

    /// The image that this manifest or index, `repository@digest`, led to, if a pull would bring the
    /// same again: none of its blobs has been damaged since, and our own converter wrote them.
    pub(crate) fn find_repo_digest(&self, repo_digest: &str) -> Option<ImageId> {
        let saved = self
            .state
            .read()
            .find_repo_digest(repo_digest)
            .map(|entry| entry.saved.clone())?;
        let whole = saved.blobs().iter().all(|key| self.has_blob(key));
        (whole && saved.converter == CONVERTER_VERSION).then_some(saved.id)
    }

    /// Whether the blob is there in full. A stat tells, because a blob gets its name only when it
    /// is complete; what shrank since is damaged.
    pub(crate) fn has_blob(&self, key: &BlobKey) -> bool {
        let expected = self.state.read().blobs.get(key).map(|blob| blob.len_bytes);
        let found = fs::metadata(self.paths.blob(key))
            .ok()
            .map(|metadata| metadata.len());
        expected.is_some() && expected == found
    }

    /// The record of an image that can be used: a visible one, or one that is removed but held.
    pub(crate) fn saved(&self, id: &ImageId) -> Option<SavedImage> {
        self.state
            .read()
            .images
            .get(id)
            .map(|entry| entry.saved.clone())
    }

    /// Blocking. See [`Images::remove`](crate::Images::remove).
    pub(crate) fn remove(&self, query: &str) -> Result<(), StoreError> {
        let mut db = self.db.lock();
        let found = self
            .state
            .read()
            .find(query)
            .map(|entry| entry.saved.clone());
        let Some(mut saved) = found else {
            return Ok(());
        };
        if self.state.read().is_held(&saved.id) {
            saved.removed = true;
            saved.repo_tags.clear();
            saved.repo_digests.clear();
            return self.save_images(&mut db, &[saved]);
        }
        let removed = self.state.write().take_images(&[saved.id]);
        self.discard(&mut db, removed, &[])
    }

    /// Blocking. Keeps the image's blobs for a holder; it must exist, or be held already. Tells
    /// whether the hold is new.
    pub(crate) fn hold(&self, hold: Hold) -> Result<(SavedImage, bool), StoreError> {
        let mut db = self.db.lock();
        let state = self.state.read();
        let held = state.holds.contains(&hold);
        let entry = state
            .images
            .get(&hold.image)
            .filter(|entry| held || !entry.saved.removed);
        let saved = entry.map(|entry| entry.saved.clone());
        drop(state);
        let saved = saved.ok_or(StoreError::NotFound(hold.image))?;
        if !held {
            db.change(|tx| tx.put_hold(&hold))?;
            self.state.write().holds.insert(hold);
        }
        Ok((saved, !held))
    }

    /// Blocking. Ends holds; images that were removed meanwhile go with their last one.
    pub(crate) fn release(&self, which: impl Fn(&Hold) -> bool) -> Result<(), StoreError> {
        let mut db = self.db.lock();
        let mut state = self.state.write();
        let (ended, kept): (BTreeSet<Hold>, BTreeSet<Hold>) =
            state.holds.iter().cloned().partition(|hold| which(hold));
        let still_held: BTreeSet<ImageId> = kept.into_iter().map(|hold| hold.image).collect();
        let gone =
            |entry: &&state::Entry| entry.saved.removed && !still_held.contains(&entry.saved.id);
        let gone: Vec<ImageId> = state
            .images
            .values()
            .filter(gone)
            .map(|e| e.saved.id)
            .collect();
        let removed = state.take_images(&gone);
        drop(state);
        self.discard(&mut db, removed, &ended.into_iter().collect::<Vec<_>>())
    }

    /// Images that somebody holds, removed ones included.
    pub(crate) fn held_images(&self) -> Vec<SavedImage> {
        let state = self.state.read();
        let ids: BTreeSet<ImageId> = state.holds.iter().map(|hold| hold.image).collect();
        let held = ids.iter().filter_map(|id| state.images.get(id));
        held.map(|entry| entry.saved.clone()).collect()
    }

    pub(crate) fn usage(&self) -> FsUsage {
        let state = self.state.read();
        let blob_bytes: u64 = state.blobs.values().map(|blob| blob.disk_bytes).sum();
        // Files of ours beside the blobs: small, but never 0 on an empty node.
        let own = |path: PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len());
        let own_bytes: u64 = db::files(&self.paths.database()).into_iter().map(own).sum();
        let files = 2 * (state.blobs.len() + state.images.len());
        let own_files = 4 + self.paths.directories().len();
        FsUsage {
            mountpoint: self.paths.root().to_owned(),
            used_bytes: blob_bytes + own_bytes,
            inodes_used: (files + own_files) as u64,
        }
    }
}

#[cfg(test)]
mod tests;

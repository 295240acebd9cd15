//! Giving names to images.

use super::db::Db;
use super::durable;
use super::saved::{SCHEMA, SavedImage, unix_now};
use super::state::State;
use super::{Lease, Store, StoreError};
use crate::configuration::Configuration;
use crate::digest::Digest;
use crate::image::ImageId;
use crate::reference::{Reference, Target};

/// An image whose blobs are all there, but that nobody knows yet.
pub(crate) struct Prepared {
    pub(crate) id: ImageId,
    pub(crate) configuration: Configuration,
    pub(crate) chain_id: Digest,
    pub(crate) converter: u32,
    /// Keeps the blobs until the image itself does.
    pub(crate) _lease: Lease,
}

impl Store {
    /// Makes `prepared` known as what `reference` means now: the manifest or index `digest`.
    /// Blocking.
    pub(crate) fn commit_image(
        &self,
        prepared: &Prepared,
        reference: &Reference,
        digest: Digest,
    ) -> Result<(), StoreError> {
        let mut db = self.db.lock();
        let config = self.paths.image_config(&prepared.id);
        durable::write(
            &self.paths.ingest(),
            &config,
            prepared.configuration.raw.as_bytes(),
        )?;
        let known = self
            .state
            .read()
            .images
            .get(&prepared.id)
            .map(|entry| entry.saved.clone());
        let mut saved = known.unwrap_or_else(|| SavedImage {
            schema: SCHEMA,
            id: prepared.id,
            repo_tags: Default::default(),
            repo_digests: Default::default(),
            layers: prepared.configuration.diff_ids.clone(),
            chain_id: prepared.chain_id,
            converter: prepared.converter,
            pulled_at: 0,
            removed: false,
        });
        // The blobs of another converter may be gone.
        saved.converter = prepared.converter;
        let changed = name(saved, reference, digest, &self.state.read());
        self.save_new(&mut db, &changed, prepared)
    }

    /// Names an image that is here already. False if it went away meanwhile. Blocking.
    pub(crate) fn name_image(
        &self,
        id: &ImageId,
        reference: &Reference,
        digest: Digest,
    ) -> Result<bool, StoreError> {
        let mut db = self.db.lock();
        let state = self.state.read();
        let known = state
            .images
            .get(id)
            .map(|entry| &entry.saved)
            .filter(|saved| !saved.removed);
        let Some(saved) = known.cloned() else {
            return Ok(false);
        };
        let changed = name(saved, reference, digest, &state);
        drop(state);
        self.save_images(&mut db, &changed)?;
        Ok(true)
    }

    fn save_new(
        &self,
        db: &mut Db,
        changed: &[SavedImage],
        prepared: &Prepared,
    ) -> Result<(), StoreError> {
        self.save_records(db, changed)?;
        let mut state = self.state.write();
        for saved in changed {
            let config = match state.images.get(&saved.id) {
                Some(entry) => entry.image.config.clone(),
                None => prepared.configuration.config.clone(),
            };
            state.put_image(saved.clone(), config, &self.pinned);
        }
        Ok(())
    }

    /// Saves what changed about images that are known.
    pub(super) fn save_images(
        &self,
        db: &mut Db,
        changed: &[SavedImage],
    ) -> Result<(), StoreError> {
        self.save_records(db, changed)?;
        let mut state = self.state.write();
        for saved in changed {
            if let Some(entry) = state.images.get(&saved.id) {
                let config = entry.image.config.clone();
                state.put_image(saved.clone(), config, &self.pinned);
            }
        }
        Ok(())
    }

    fn save_records(&self, db: &mut Db, changed: &[SavedImage]) -> Result<(), StoreError> {
        for saved in changed {
            let path = self.paths.image_sidecar(&saved.id);
            durable::write_record(&self.paths.ingest(), &path, saved)?;
        }
        db.change(|tx| changed.iter().try_for_each(|saved| tx.put_image(saved)))?;
        Ok(())
    }
}

/// `image` with what a pull of `reference` calls it, and all others that lose that name.
fn name(
    mut image: SavedImage,
    reference: &Reference,
    digest: Digest,
    state: &State,
) -> Vec<SavedImage> {
    image.pulled_at = unix_now();
    image.removed = false;
    image.repo_digests.insert(reference.with_digest(digest));
    let mut changed = Vec::new();
    if let Target::Tag(_) = reference.target {
        let tag = reference.to_string();
        let others = state.images.values().map(|entry| &entry.saved);
        for other in others.filter(|o| o.id != image.id && o.repo_tags.contains(&tag)) {
            let mut other = other.clone();
            other.repo_tags.remove(&tag);
            changed.push(other);
        }
        image.repo_tags.insert(tag);
    }
    changed.push(image);
    changed
}

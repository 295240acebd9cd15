//! What the store has, in memory: asked by everybody, changed only together with the database.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::saved::{BlobKey, Hold, SavedBlob, SavedImage, system_time};
use crate::digest::Digest;
use crate::image::{Image, ImageConfig, ImageId};
use crate::reference::Reference;

/// Fewer digits of an id are more likely a mistake than a choice.
const MIN_PREFIX_DIGITS: usize = 4;

/// The store's tables.
#[derive(Default)]
pub(super) struct State {
    pub(super) images: BTreeMap<ImageId, Entry>,
    pub(super) blobs: BTreeMap<BlobKey, SavedBlob>,
    pub(super) holds: BTreeSet<Hold>,
    /// Blobs that a running pull needs, with how many pulls need them.
    pub(super) leases: HashMap<BlobKey, usize>,
}

/// An image as it is saved, and as callers see it.
pub(super) struct Entry {
    pub(super) saved: SavedImage,
    pub(super) image: Arc<Image>,
}

impl State {
    /// Takes an image in, or what changed about it.
    pub(super) fn put_image(&mut self, saved: SavedImage, config: ImageConfig, pinned: &Pinned) {
        let size_bytes = saved
            .blobs()
            .iter()
            .filter_map(|key| self.blobs.get(key))
            .map(|blob| blob.disk_bytes)
            .sum();
        let image = Image {
            id: saved.id,
            repo_tags: saved.repo_tags.clone(),
            repo_digests: saved.repo_digests.clone(),
            size_bytes,
            pinned: pinned.matches(&saved),
            pulled_at: system_time(saved.pulled_at),
            config,
        };
        self.images.insert(
            saved.id,
            Entry {
                saved,
                image: Arc::new(image),
            },
        );
    }

    /// Images that exist for callers.
    pub(super) fn visible(&self) -> impl Iterator<Item = &Entry> {
        self.images.values().filter(|entry| !entry.saved.removed)
    }

    /// The image that a name, a digest, an id or the beginning of one means.
    pub(super) fn find(&self, query: &str) -> Option<&Entry> {
        let by_id = query.parse().or_else(|_| Digest::from_hex(query)).ok();
        if let Some(id) = by_id {
            return self
                .images
                .get(&ImageId(id))
                .filter(|entry| !entry.saved.removed);
        }
        let by_name = Reference::parse(query).ok().and_then(|reference| {
            let name = reference.to_string();
            self.visible().find(|entry| {
                entry.saved.repo_tags.contains(&name) || entry.saved.repo_digests.contains(&name)
            })
        });
        by_name.or_else(|| self.find_prefix(query))
    }

    fn find_prefix(&self, query: &str) -> Option<&Entry> {
        let digits = query.strip_prefix("sha256:").unwrap_or(query);
        if digits.len() < MIN_PREFIX_DIGITS {
            return None;
        }
        let mut found = self
            .visible()
            .filter(|entry| entry.saved.id.0.hex().starts_with(digits));
        let first = found.next()?;
        // An ambiguous prefix must never remove or run the wrong image.
        found.next().is_none().then_some(first)
    }

    /// The image that was pulled from this repository by this digest of a manifest or index.
    pub(super) fn find_repo_digest(&self, repo_digest: &str) -> Option<&Entry> {
        self.visible()
            .find(|entry| entry.saved.repo_digests.contains(repo_digest))
    }

    pub(super) fn is_held(&self, image: &ImageId) -> bool {
        self.holds.iter().any(|hold| hold.image == *image)
    }

    /// Blobs that no image and no running pull needs.
    pub(super) fn unneeded(&self) -> Vec<BlobKey> {
        let used: BTreeSet<BlobKey> = self
            .images
            .values()
            .flat_map(|entry| entry.saved.blobs())
            .collect();
        let unneeded = |key: &&BlobKey| !used.contains(key) && !self.leases.contains_key(key);
        self.blobs.keys().filter(unneeded).copied().collect()
    }
}

/// Which images the kubelet must not remove.
pub(crate) struct Pinned(pub(crate) Vec<String>);

impl Pinned {
    fn matches(&self, image: &SavedImage) -> bool {
        let mut names = image.repo_tags.iter().chain(&image.repo_digests);
        names.any(|name| self.0.iter().any(|glob| glob_matches(glob, name)))
    }
}

/// Whether `text` is `glob` with any text for each `*`.
fn glob_matches(glob: &str, text: &str) -> bool {
    let mut parts = glob.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        let name = "registry.k8s.io/pause:3.9";
        for good in [
            "registry.k8s.io/pause:3.9",
            "registry.k8s.io/*",
            "*pause*",
            "*:3.9",
            "*",
        ] {
            assert!(glob_matches(good, name), "{good}");
        }
        for bad in [
            "registry.k8s.io/pause",
            "*:3.9.1",
            "pause*",
            "*pause",
            "r*x*9",
            "",
        ] {
            assert!(!glob_matches(bad, name), "{bad}");
        }
        assert!(!glob_matches("a*a", "a"));
    }
}

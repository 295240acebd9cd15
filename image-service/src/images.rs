//! [`Images`]: everything that can be done with images, in one place.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use tracing::warn;

use crate::auth::Auth;
use crate::blocking::blocking;
use crate::config::Config;
use crate::image::{Disk, FsUsage, Image, ImageId};
use crate::pull::{PullError, Puller};
use crate::rootfs::{self, Mounts};
use crate::store::{FileError, Hold, OpenError, Paths, Pinned, SavedImage, Store, StoreError};

/// All images of this node. Cheap to clone; safe to use from many tasks.
#[derive(Clone)]
pub struct Images {
    store: Arc<Store>,
    mounts: Arc<Mounts>,
    puller: Arc<Puller>,
}

impl Images {
    /// Opens the store and repairs what a crash left: half-written blobs go, a corrupt database is
    /// moved aside and rebuilt, images that lost a blob are forgotten so that they are pulled again.
    ///
    /// Holders of the last run keep their images and mounts until [`retain`](Self::retain).
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        let mistakes = config.validate();
        if !mistakes.is_empty() {
            return Err(OpenError::Config(mistakes));
        }
        blocking(move || {
            let paths = Paths::new(&config.root_dir);
            let store = Arc::new(Store::open(paths, Pinned(config.pinned.clone()))?);
            store
                .sweep(config.keep_unfinished())
                .map_err(OpenError::Mounts)?;
            let mounts = Mounts::open(&config.run_dir)?;
            mounts
                .unmount_unused(|| store.held_images())
                .map_err(OpenError::Mounts)?;
            let puller = Arc::new(Puller::new(&config, store.clone()));
            Ok(Self {
                store,
                mounts: Arc::new(mounts),
                puller,
            })
        })
        .await
    }

    /// Fetches what `reference` names, for this node's platform, unless it is here already. The
    /// registry is asked in any case, with these credentials, whether the caller may have it.
    ///
    /// Dropping the future means that nobody waits for it any more: when the last who waits for a
    /// download is gone, the download ends.
    pub async fn pull(&self, reference: &str, auth: Option<&Auth>) -> Result<ImageId, PullError> {
        self.puller.pull(reference, auth).await
    }

    /// All complete images.
    pub fn list(&self) -> Vec<Arc<Image>> {
        self.store.list()
    }

    /// The image with this name (normalised as in a pull), id, unambiguous prefix of an id (with or
    /// without `sha256:`), or name with digest.
    pub fn find(&self, query: &str) -> Option<Arc<Image>> {
        self.store.find(query)
    }

    /// Removes the image that `query` finds, with all its names. Unknown images are removed
    /// already. Files stay while somebody holds the image; otherwise their space is free on return.
    pub async fn remove(&self, query: &str) -> Result<(), StoreError> {
        let (store, query) = (self.store.clone(), query.to_owned());
        blocking(move || store.remove(&query)).await
    }

    /// What the store uses of its file system.
    pub fn usage(&self) -> FsUsage {
        self.store.usage()
    }

    /// Keeps the image's files for `holder` (a container's id) until [`release`](Self::release),
    /// whatever is removed meanwhile. Survives restarts. Holding twice is holding once.
    pub async fn hold(&self, image: &ImageId, holder: &str) -> Result<(), StoreError> {
        self.with_held(image, holder, |_, _| Ok(())).await
    }

    /// Like [`hold`](Self::hold), and mounts the image's files read-only at the returned directory,
    /// once for all holders. Only root can go there. If this fails, nothing is held that was not
    /// before.
    pub async fn mount(&self, image: &ImageId, holder: &str) -> Result<PathBuf, StoreError> {
        let mounts = self.mounts.clone();
        self.with_held(image, holder, move |image, paths| {
            mounts.mount(image, paths)
        })
        .await
    }

    /// Like [`hold`](Self::hold), and tells which pieces of which files make up a guest's disk.
    pub async fn disk(&self, image: &ImageId, holder: &str) -> Result<Disk, StoreError> {
        self.with_held(image, holder, rootfs::disk).await
    }

    async fn with_held<T: Send + 'static>(
        &self,
        image: &ImageId,
        holder: &str,
        work: impl FnOnce(&SavedImage, &Paths) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.store.clone();
        let hold = Hold {
            image: *image,
            holder: holder.to_owned(),
        };
        blocking(move || {
            let (saved, new) = store.hold(hold.clone())?;
            let done = work(&saved, &store.paths);
            if done.is_err() && new {
                store.release(|other| *other == hold)?;
            }
            done
        })
        .await
    }

    /// Ends what `holder` has of the image. The last holder's release unmounts it, and frees the
    /// files if the image was removed. Releasing what isn't held is fine.
    pub async fn release(&self, image: &ImageId, holder: &str) -> Result<(), StoreError> {
        let hold = Hold {
            image: *image,
            holder: holder.to_owned(),
        };
        self.release_where(move |other| *other == hold).await
    }

    /// After a restart: these are the holders now. All other holds end, and those of `holders`
    /// that were lost (with a damaged database) are taken again.
    pub async fn retain(&self, holders: &HashSet<(ImageId, String)>) -> Result<(), StoreError> {
        let holds: HashSet<Hold> = holders
            .iter()
            .map(|(image, holder)| Hold {
                image: *image,
                holder: holder.clone(),
            })
            .collect();
        let (store, wanted) = (self.store.clone(), holds.clone());
        blocking(move || {
            wanted
                .into_iter()
                .try_for_each(|hold| hold_again(&store, hold))
        })
        .await?;
        self.release_where(move |hold| !holds.contains(hold)).await
    }

    async fn release_where(
        &self,
        which: impl Fn(&Hold) -> bool + Send + 'static,
    ) -> Result<(), StoreError> {
        let (store, mounts) = (self.store.clone(), self.mounts.clone());
        blocking(move || {
            store.release(which)?;
            mounts.unmount_unused(|| store.held_images())
        })
        .await
    }

    /// The file at `path` in the image, links followed inside the image; `None` where there is
    /// none. Larger files than `max_bytes` are an error.
    pub async fn read_file(
        &self,
        image: &ImageId,
        path: &str,
        max_bytes: usize,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let (store, image, path) = (self.store.clone(), *image, path.to_owned());
        blocking(move || {
            let saved = store.saved(&image).ok_or(StoreError::NotFound(image))?;
            rootfs::read_file(&saved, &store.paths, &path, max_bytes)
        })
        .await
    }

    /// The image's configuration as its author wrote it.
    pub async fn raw_config(&self, image: &ImageId) -> Result<String, StoreError> {
        let (store, image) = (self.store.clone(), *image);
        blocking(move || {
            let saved = store.saved(&image).ok_or(StoreError::NotFound(image))?;
            let path = store.paths.image_config(&saved.id);
            Ok(fs::read_to_string(&path).map_err(FileError::of("read", &path))?)
        })
        .await
    }
}

/// Takes a hold that should be there already. An image that is gone can't be held, and no other
/// container should suffer for it.
fn hold_again(store: &Store, hold: Hold) -> Result<(), StoreError> {
    match store.hold(hold.clone()) {
        Err(StoreError::NotFound(image)) => {
            warn!(%image, holder = hold.holder, "image of a running container is lost");
            Ok(())
        }
        result => result.map(drop),
    }
}

//! Opening the store, whatever state the last run left it in.
//!
//! The database says what there is; files must agree with it, or what they belong to is forgotten
//! and pulled again. A damaged database is moved aside and rebuilt from the sidecars.

mod rebuild;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tracing::{info, warn};

use super::db::{Contents, Db};
use super::durable::{self, FileError};
use super::error::OpenError;
use super::paths::{self, Paths};
use super::saved::{BlobKey, BlobKind, SavedBlob};
use super::state::{Pinned, State};
use crate::configuration;
use crate::digest::Digest;
use crate::image::{ImageConfig, ImageId};
use rebuild::{list, open_database, read_sidecar};

/// The lock, the database and the tables of the store below `paths`.
pub(super) fn open(paths: &Paths, pinned: &Pinned) -> Result<(File, Db, State), OpenError> {
    create_directories(paths)?;
    let lock = lock(paths)?;
    for leftover in list(&paths.ingest())? {
        durable::remove(&leftover)?;
    }
    let (mut db, contents) = open_database(paths)?;
    let (state, repair) = reconcile(paths, contents, pinned)?;
    repair.apply(paths, &mut db)?;
    rewrite_sidecars(paths, &state)?;
    info!(
        images = state.images.len(),
        blobs = state.blobs.len(),
        "image store open"
    );
    Ok((lock, db, state))
}

fn create_directories(paths: &Paths) -> Result<(), FileError> {
    for directory in paths.directories() {
        // Images may hold secrets, and setuid files that only containers should see.
        let created = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory);
        created.map_err(FileError::of("create directory", &directory))?;
    }
    durable::sync_directory(paths.root())
}

/// The lock of a server that is just ending, or of a child that has not reached its `exec` yet, is
/// worth waiting for.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

fn lock(paths: &Paths) -> Result<File, OpenError> {
    let path = paths.lock();
    let opened = File::options().create(true).append(true).open(&path);
    let file = opened.map_err(FileError::of("open", &path))?;
    let began = Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) if began.elapsed() < LOCK_PATIENCE => {
                thread::sleep(Duration::from_millis(20));
            }
            Err(Errno::WOULDBLOCK) => return Err(OpenError::InUse(paths.root().to_owned())),
            Err(errno) => return Err(FileError::of("lock", &path)(errno.into()).into()),
        }
    }
}

/// Sidecars are what the next rebuild has to go by.
fn rewrite_sidecars(paths: &Paths, state: &State) -> Result<(), FileError> {
    for (id, entry) in &state.images {
        let path = paths.image_sidecar(id);
        if !path.exists() {
            durable::write_record(&paths.ingest(), &path, &entry.saved)?;
        }
    }
    for (key, blob) in &state.blobs {
        let path = paths.blob_sidecar(key);
        if !path.exists() {
            durable::write_record(&paths.ingest(), &path, blob)?;
        }
    }
    Ok(())
}

/// What must change so that files and database agree.
#[derive(Default)]
struct Repair {
    lost_blobs: Vec<BlobKey>,
    lost_images: Vec<ImageId>,
    adopted: Vec<SavedBlob>,
    strays: Vec<PathBuf>,
}

/// The tables, as far as the files bear them out.
fn reconcile(
    paths: &Paths,
    contents: Contents,
    pinned: &Pinned,
) -> Result<(State, Repair), FileError> {
    let mut repair = Repair::default();
    let mut state = State {
        holds: contents.holds.into_iter().collect(),
        ..State::default()
    };
    for blob in contents.blobs {
        if is_whole(paths, &blob) {
            state.blobs.insert(blob.key, blob);
        } else {
            warn!(blob = %paths.blob(&blob.key).display(), "blob is missing or damaged");
            repair.lost_blobs.push(blob.key);
        }
    }
    find_strays(paths, &mut state.blobs, &mut repair)?;
    for image in contents.images {
        let id = image.id;
        let unwanted = image.removed && !state.is_held(&id);
        let whole = image
            .blobs()
            .iter()
            .all(|key| state.blobs.contains_key(key));
        match read_config(paths, &id).filter(|_| whole && !unwanted) {
            Some(config) => state.put_image(image, config, pinned),
            None => {
                warn!(image = %id, tags = ?image.repo_tags, "image is damaged and must be pulled again");
                repair.lost_images.push(id);
            }
        }
    }
    find_stray_images(paths, &state, &mut repair)?;
    // What nobody has an image for can't be held.
    state
        .holds
        .retain(|hold| state.images.contains_key(&hold.image));
    Ok((state, repair))
}

fn is_whole(paths: &Paths, blob: &SavedBlob) -> bool {
    fs::metadata(paths.blob(&blob.key)).is_ok_and(|metadata| metadata.len() == blob.len_bytes)
}

/// The configuration of an image, if it is what the image's id says.
fn read_config(paths: &Paths, id: &ImageId) -> Option<ImageConfig> {
    let raw = fs::read(paths.image_config(id)).ok()?;
    (Digest::of(&raw) == id.0)
        .then(|| configuration::reread(&raw))
        .flatten()
}

/// Blobs without a row: the crash came between the file and the commit. They are good if they
/// have a sidecar, and soon collected if nobody wants them.
fn find_strays(
    paths: &Paths,
    blobs: &mut BTreeMap<BlobKey, SavedBlob>,
    repair: &mut Repair,
) -> Result<(), FileError> {
    for kind in [BlobKind::Layer, BlobKind::Merged] {
        for file in list(&paths.blobs(kind))? {
            let key = paths::blob_key(kind, &file);
            if key.is_some_and(|key| blobs.contains_key(&key)) {
                continue;
            }
            let sidecar = file.with_extension("json");
            let saved = key.and_then(|_| read_sidecar(&sidecar, |blob: &SavedBlob| blob.schema));
            match saved.filter(|blob| Some(blob.key) == key && is_whole(paths, blob)) {
                Some(blob) => {
                    blobs.insert(blob.key, blob.clone());
                    repair.adopted.push(blob);
                }
                None => repair.strays.push(file),
            }
        }
    }
    Ok(())
}

/// Files of images without a row: of a pull that never finished, or a removal that did.
fn find_stray_images(paths: &Paths, state: &State, repair: &mut Repair) -> Result<(), FileError> {
    for file in list(&paths.images())? {
        if !paths::image_id(&file).is_some_and(|id| state.images.contains_key(&id)) {
            repair.strays.push(file);
        }
    }
    Ok(())
}

impl Repair {
    fn apply(self, paths: &Paths, db: &mut Db) -> Result<(), OpenError> {
        for stray in &self.strays {
            durable::remove(stray)?;
        }
        for key in &self.lost_blobs {
            durable::remove(&paths.blob(key))?;
            durable::remove(&paths.blob_sidecar(key))?;
        }
        if self.lost_blobs.is_empty() && self.lost_images.is_empty() && self.adopted.is_empty() {
            return Ok(());
        }
        info!(
            blobs_lost = self.lost_blobs.len(),
            images_lost = self.lost_images.len(),
            blobs_adopted = self.adopted.len(),
            "image store repaired"
        );
        db.change(|tx| {
            self.lost_images
                .iter()
                .try_for_each(|id| tx.delete_image(id))?;
            self.lost_blobs
                .iter()
                .try_for_each(|key| tx.delete_blob(key))?;
            self.adopted.iter().try_for_each(|blob| tx.put_blob(blob))?;
            tx.delete_empty_holds()
        })?;
        Ok(())
    }
}

//! Opening the store, whatever state the last run left it in.
//!
//! The database says what there is; files must agree with it, or what they belong to is forgotten
//! and pulled again. A damaged database is moved aside and rebuilt from the sidecars.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::de::DeserializeOwned;
use tracing::{error, info, warn};

use super::db::{self, Contents, Db, DbError};
use super::durable::{self, FileError};
use super::error::OpenError;
use super::paths::{self, Paths};
use super::saved::{BlobKey, BlobKind, SCHEMA, SavedBlob, SavedImage};
use super::state::{Pinned, State};
use crate::configuration;
use crate::digest::Digest;
use crate::image::{ImageConfig, ImageId};

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

fn lock(paths: &Paths) -> Result<File, OpenError> {
    let path = paths.lock();
    let opened = File::options().create(true).append(true).open(&path);
    let file = opened.map_err(FileError::of("open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse(paths.root().to_owned())),
        Err(errno) => Err(FileError::of("lock", &path)(errno.into()).into()),
    }
}

fn open_database(paths: &Paths) -> Result<(Db, Contents), OpenError> {
    let path = paths.database();
    let damage = match Db::open(&path) {
        Ok(opened) => return Ok(opened),
        Err(DbError::Damaged(damage)) => damage,
        Err(error) => return Err(error.into()),
    };
    // One damaged copy is kept for whoever wants to know why.
    for file in db::files(&path) {
        let mut aside = file.clone().into_os_string();
        aside.push(".damaged");
        match fs::rename(&file, &aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(FileError::of("move aside", &file)(error).into());
            }
            _ => {}
        }
    }
    let contents = from_sidecars(paths)?;
    error!(
        database = %path.display(), %damage, images = contents.images.len(),
        "image database was damaged, moved aside and rebuilt from the files beside the blobs"
    );
    let (mut db, _) = Db::open(&path)?;
    db.change(|tx| {
        contents
            .blobs
            .iter()
            .try_for_each(|blob| tx.put_blob(blob))?;
        contents
            .images
            .iter()
            .try_for_each(|image| tx.put_image(image))
    })?;
    Ok((db, contents))
}

/// All that sidecars say. A tag that two images claim belongs to the later pull.
fn from_sidecars(paths: &Paths) -> Result<Contents, FileError> {
    let mut contents = Contents::default();
    for kind in [BlobKind::Layer, BlobKind::Merged] {
        for file in sidecars(&paths.blobs(kind))? {
            let blob: Option<SavedBlob> = read_sidecar(&file, |blob: &SavedBlob| blob.schema);
            let named = paths::blob_key(kind, &file);
            contents
                .blobs
                .extend(blob.filter(|blob| named == Some(blob.key)));
        }
    }
    for file in sidecars(&paths.images())? {
        let image: Option<SavedImage> = read_sidecar(&file, |image: &SavedImage| image.schema);
        let named = paths::image_id(&file);
        let wanted = |image: &SavedImage| named == Some(image.id) && !image.removed;
        contents.images.extend(image.filter(wanted));
    }
    let mut taken = BTreeSet::new();
    contents
        .images
        .sort_by_key(|image| std::cmp::Reverse(image.pulled_at));
    for image in &mut contents.images {
        image.repo_tags.retain(|tag| taken.insert(tag.clone()));
    }
    Ok(contents)
}

fn sidecars(directory: &Path) -> Result<Vec<PathBuf>, FileError> {
    let mut files = list(directory)?;
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "json")
    });
    Ok(files)
}

fn read_sidecar<T: DeserializeOwned>(file: &Path, schema: impl Fn(&T) -> u32) -> Option<T> {
    let record = serde_json::from_slice(&fs::read(file).ok()?).ok();
    let record = record.filter(|record| schema(record) <= SCHEMA);
    if record.is_none() {
        warn!(file = %file.display(), "sidecar can't be read, what it describes is lost");
    }
    record
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, FileError> {
    let paths = fs::read_dir(directory).and_then(|entries| {
        entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<_>>>()
    });
    paths.map_err(FileError::of("list", directory))
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

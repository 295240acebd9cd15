//! The database, rebuilt from the sidecars where it is damaged or lost.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use tracing::{error, warn};

use crate::store::db::{self, Contents, Db, DbError};
use crate::store::durable::FileError;
use crate::store::error::OpenError;
use crate::store::paths::{self, Paths};
use crate::store::saved::{BlobKind, SCHEMA, SavedBlob, SavedImage};

/// The database and what is in it.
pub(super) fn open_database(paths: &Paths) -> Result<(Db, Contents), OpenError> {
    let path = paths.database();
    let opened = match Db::open(&path) {
        Err(DbError::Damaged(damage)) => {
            error!(database = %path.display(), %damage, "image database is damaged, rebuilding it");
            move_aside(&path)?;
            Db::open(&path)?
        }
        opened => opened?,
    };
    let (mut db, contents) = match opened {
        (db, Some(contents)) => return Ok((db, contents)),
        (db, None) => (db, from_sidecars(paths)?),
    };
    // In one transaction with the tables, or a crash in between would pass for an empty store.
    db.fill(&contents)?;
    if !contents.images.is_empty() {
        warn!(
            images = contents.images.len(),
            "image database made from the files beside the blobs"
        );
    }
    Ok((db, contents))
}

/// One damaged copy is kept for whoever wants to know why.
fn move_aside(database: &Path) -> Result<(), FileError> {
    for file in db::files(database) {
        let mut aside = file.clone().into_os_string();
        aside.push(".damaged");
        match fs::rename(&file, &aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(FileError::of("move aside", &file)(error));
            }
            _ => {}
        }
    }
    Ok(())
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

/// The record in a sidecar, if it is one that we understand.
pub(super) fn read_sidecar<T: DeserializeOwned>(
    file: &Path,
    schema: impl Fn(&T) -> u32,
) -> Option<T> {
    let record = serde_json::from_slice(&fs::read(file).ok()?).ok();
    let record = record.filter(|record| schema(record) <= SCHEMA);
    if record.is_none() {
        warn!(file = %file.display(), "sidecar can't be read, what it describes is lost");
    }
    record
}

/// The files of a directory.
pub(super) fn list(directory: &Path) -> Result<Vec<PathBuf>, FileError> {
    let paths = fs::read_dir(directory).and_then(|entries| {
        entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<_>>>()
    });
    paths.map_err(FileError::of("list", directory))
}

//! Container images built in place: a tree of files becomes a layer, layers and a config an image.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Times in images are fixed, so that the same files give the same digests everywhere.
const MTIME: u64 = 1_700_000_000;

/// `sha256:…` of some bytes.
pub fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().fold("sha256:".to_owned(), |text, byte| {
        text + &format!("{byte:02x}")
    })
}

/// How a layer travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As a plain tar.
    None,
    /// gzip, what nearly every image has.
    Gzip,
    /// zstd.
    Zstd,
}

impl Compression {
    fn media_type(self) -> &'static str {
        match self {
            Self::None => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    fn apply(self, tar: &[u8]) -> Result<Vec<u8>> {
        Ok(match self {
            Self::None => tar.to_vec(),
            Self::Gzip => {
                let mut encoder =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(tar)?;
                encoder.finish()?
            }
            Self::Zstd => zstd::bulk::compress(tar, 1)?,
        })
    }
}

/// One entry of a layer.
#[derive(Clone, Debug)]
enum Entry {
    Directory { mode: u32 },
    File { mode: u32, content: Vec<u8> },
    Symlink { target: String },
    Hardlink { target: String },
}

/// Files that will be a layer, by path without a leading slash.
#[derive(Clone, Debug, Default)]
pub struct Files {
    entries: BTreeMap<String, (Entry, (u64, u64))>,
}

impl Files {
    /// No files.
    pub fn new() -> Self {
        Self::default()
    }

    fn put(mut self, path: &str, entry: Entry) -> Self {
        self.entries
            .insert(path.trim_matches('/').to_owned(), (entry, (0, 0)));
        self
    }

    /// A directory.
    pub fn directory(self, path: &str, mode: u32) -> Self {
        self.put(path, Entry::Directory { mode })
    }

    /// A regular file.
    pub fn file(self, path: &str, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        self.put(
            path,
            Entry::File {
                mode,
                content: content.into(),
            },
        )
    }

    /// A symbolic link.
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.put(
            path,
            Entry::Symlink {
                target: target.to_owned(),
            },
        )
    }

    /// A second name for `target`, a file of the same layer whose path sorts earlier or later alike.
    pub fn hardlink(self, path: &str, target: &str) -> Self {
        self.put(
            path,
            Entry::Hardlink {
                target: target.trim_matches('/').to_owned(),
            },
        )
    }

    /// Says that `path`, which must be there, belongs to others than root.
    pub fn owned_by(mut self, path: &str, uid: u64, gid: u64) -> Self {
        if let Some((_, owner)) = self.entries.get_mut(path.trim_matches('/')) {
            *owner = (uid, gid);
        }
        self
    }

    /// A copy of a file of the machine's, symbolic links followed.
    pub fn copy(self, path: &str, mode: u32, from: &Path) -> Result<Self> {
        let content = std::fs::read(from).with_context(|| format!("read {}", from.display()))?;
        Ok(self.file(path, mode, content))
    }

    /// The layer as a tar. Hard links come last, after what they link to.
    pub fn tar(&self) -> Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        let (links, others): (Vec<_>, Vec<_>) = self
            .entries
            .iter()
            .partition(|(_, (entry, _))| matches!(entry, Entry::Hardlink { .. }));
        for (path, (entry, owner)) in others.into_iter().chain(links) {
            append(&mut tar, path, entry, *owner).with_context(|| format!("add {path}"))?;
        }
        Ok(tar.into_inner()?)
    }
}

fn append(
    tar: &mut tar::Builder<Vec<u8>>,
    path: &str,
    entry: &Entry,
    (uid, gid): (u64, u64),
) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mtime(MTIME);
    header.set_uid(uid);
    header.set_gid(gid);
    header.set_size(0);
    match entry {
        Entry::Directory { mode } => {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(*mode);
            tar.append_data(&mut header, path, std::io::empty())?;
        }
        Entry::File { mode, content } => {
            header.set_mode(*mode);
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, path, content.as_slice())?;
        }
        Entry::Symlink { target } => {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            tar.append_link(&mut header, path, target)?;
        }
        Entry::Hardlink { target } => {
            header.set_entry_type(tar::EntryType::Link);
            header.set_mode(0o755);
            tar.append_link(&mut header, path, target)?;
        }
    }
    Ok(())
}

/// Bytes with what a descriptor says of them.
#[derive(Clone, Debug)]
pub struct Blob {
    /// `sha256:…`
    pub digest: String,
    /// Its media type.
    pub media_type: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Blob {
    fn new(media_type: &str, bytes: Vec<u8>) -> Self {
        Self {
            digest: digest(&bytes),
            media_type: media_type.to_owned(),
            bytes,
        }
    }

    fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len()})
    }
}

/// A layer, ready to be part of images.
#[derive(Clone, Debug)]
pub struct Layer {
    blob: Blob,
    diff_id: String,
}

impl Layer {
    /// Packs `files`.
    pub fn pack(files: &Files, compression: Compression) -> Result<Self> {
        Self::from_tar(&files.tar()?, compression)
    }

    /// Packs a tar, however odd.
    pub fn from_tar(tar: &[u8], compression: Compression) -> Result<Self> {
        let blob = Blob::new(compression.media_type(), compression.apply(tar)?);
        Ok(Self {
            blob,
            diff_id: digest(tar),
        })
    }
}

/// An image: one platform's manifest and everything it names.
#[derive(Clone, Debug)]
pub struct Image {
    /// The manifest.
    pub manifest: Blob,
    /// Its config and layers.
    pub blobs: Vec<Blob>,
}

impl Image {
    /// An image of `layers` whose config's `config` member is `settings` (`Cmd`, `User`, …).
    pub fn new(layers: &[Layer], settings: Value) -> Self {
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": settings,
            "rootfs": {
                "type": "layers",
                "diff_ids": layers.iter().map(|l| &l.diff_id).collect::<Vec<_>>(),
            },
        });
        let config = Blob::new(
            "application/vnd.oci.image.config.v1+json",
            config.to_string().into_bytes(),
        );
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config.descriptor(),
            "layers": layers.iter().map(|l| l.blob.descriptor()).collect::<Vec<_>>(),
        });
        let manifest = Blob::new(
            "application/vnd.oci.image.manifest.v1+json",
            manifest.to_string().into_bytes(),
        );
        let blobs = std::iter::once(config)
            .chain(layers.iter().map(|l| l.blob.clone()))
            .collect();
        Self { manifest, blobs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_give_the_same_digest() {
        let files = || Files::new().file("b", 0o644, "two").file("a", 0o644, "one");
        let pack = || Layer::pack(&files(), Compression::Gzip).unwrap();
        assert_eq!(pack().blob.digest, pack().blob.digest);
    }

    #[test]
    fn a_hard_link_follows_its_target() {
        let files = Files::new()
            .hardlink("bin/a", "bin/z")
            .file("bin/z", 0o755, "x");
        let tar = files.tar().unwrap();
        let mut archive = tar::Archive::new(tar.as_slice());
        let names: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|e| e.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["bin/z", "bin/a"]);
    }
}

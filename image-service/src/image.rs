//! An image of the store, as callers see it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, DigestError};

/// Identifies an image: the digest of its configuration, `sha256:…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ImageId(pub Digest);

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ImageId {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        text.parse().map(Self)
    }
}

/// An image that is complete on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its id.
    pub id: ImageId,
    /// Names with tags, `docker.io/library/busybox:latest`, as asked for, whatever mirror served them.
    pub repo_tags: BTreeSet<String>,
    /// Names with digests, `docker.io/library/busybox@sha256:…`.
    pub repo_digests: BTreeSet<String>,
    /// Bytes on disk, shared layers included. Never 0.
    pub size_bytes: u64,
    /// The kubelet must not remove it.
    pub pinned: bool,
    /// When it was last pulled.
    pub pulled_at: SystemTime,
    /// What it says about running it. Written by a stranger.
    pub config: ImageConfig,
}

/// How an image wants to be run. Data of a stranger: nothing in it may steer the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// Leading arguments.
    pub entrypoint: Vec<String>,
    /// Further arguments, or all where there is no entrypoint.
    pub cmd: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Whom to run as, as written: `user[:group]`, names or numbers; empty means root.
    pub user: String,
    /// Where to run; empty means `/`.
    pub working_dir: String,
    /// Signal that asks it to stop; empty means SIGTERM.
    pub stop_signal: String,
    /// Labels.
    pub labels: Vec<(String, String)>,
    /// Paths that want a volume. Not validated as paths.
    pub volumes: Vec<String>,
    /// When it was built, as written (RFC 3339); empty if not told.
    pub created: String,
}

/// The user part of [`ImageConfig::user`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageUser {
    /// A number.
    Uid(u32),
    /// A name, to be looked up in the image's `/etc/passwd`.
    Name(String),
}

impl ImageConfig {
    /// Whom the image wants to run as; root where it says nothing. A pull refuses images whose
    /// numeric user is no uid.
    pub fn run_as(&self) -> ImageUser {
        let user = self.user.split(':').next().unwrap_or_default();
        match user {
            "" => ImageUser::Uid(0),
            user => user
                .parse()
                .map_or_else(|_| ImageUser::Name(user.to_owned()), ImageUser::Uid),
        }
    }
}

/// Use of the file system that holds the images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsUsage {
    /// A directory on it.
    pub mountpoint: std::path::PathBuf,
    /// Bytes on disk that images use.
    pub used_bytes: u64,
    /// Inodes that images use.
    pub inodes_used: u64,
}

/// An image as a guest's read-only disk: one EROFS file system when its pieces are read in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Names the content: equal keys hold equal bytes.
    pub key: String,
    /// The pieces, in order.
    pub extents: Vec<Extent>,
}

/// A piece of a file, in multiples of 4096 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The file; it never changes while the image is held.
    pub path: std::path::PathBuf,
    /// First byte.
    pub offset: u64,
    /// How many bytes.
    pub len: u64,
}

//! Container images: pulled from registries, kept as EROFS, handed to sandboxes.
//!
//! ```text
//!  registry ──pull──▶ layer blob (EROFS, by diffID) ─┐
//!                     layer blob …                   ├─merge─▶ merged image (by chainID)
//!                                                    │            │ mount    host: a directory
//!                     images.db, sidecars ◀──────────┘            │ disk     guest: extents of files
//! ```
//!
//! [`Images`] is the whole interface; it is cheap to clone and safe to use from many tasks.
//! Dropping the future of a [`pull`](Images::pull) means nobody waits for it any more: when the
//! last who waits for a download is gone, the download ends.

mod auth;
mod blocking;
mod config;
mod configuration;
mod digest;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod image;
mod images;
mod manifest;
mod platform;
mod pull;
mod reference;
mod registry;
mod rootfs;
mod store;

pub use auth::Auth;
pub use blocking::CutShort;
pub use config::Config;
pub use digest::{Digest, DigestError};
pub use error::ErrorKind;
pub use image::{Disk, Extent, FsUsage, Image, ImageConfig, ImageId, ImageUser};
pub use images::Images;
pub use manifest::BadImage;
pub use pull::{PullCause, PullError};
pub use reference::ReferenceError;
pub use registry::{Attempts, ClientError, CredentialError, HostsError, SessionError, TlsError};
pub use rootfs::MountError;
pub use store::{DbError, FileError, OpenError, StoreError};

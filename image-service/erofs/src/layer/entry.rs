//! One entry of the tar, checked and owned.

use tar_core::parse::ParsedEntry;
use tar_core::{EntryType, SparseEntry};

use super::error::{EntryFault, LayerError};
use super::name::EntryName;
use super::pax::PaxRecords;
use crate::format::xattr::Xattrs;
use crate::limits::LimitExceeded;
use crate::tree::Attributes;
use crate::{BLOCK_SIZE, Limits};

/// An entry whose content, if any, is next in the stream.
#[derive(Debug)]
pub(super) struct Entry {
    /// As written in the tar.
    pub(super) path: Vec<u8>,
    pub(super) attributes: Attributes,
    pub(super) xattrs: Xattrs,
    pub(super) dropped_xattrs: u64,
    pub(super) kind: EntryKind,
}

/// What an entry is.
#[derive(Debug)]
pub(super) enum EntryKind {
    Regular(Runs),
    Directory,
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
}

/// Where the bytes of the stream belong in a file.
#[derive(Debug)]
pub(super) struct Runs {
    /// Sorted and apart; one run for a file that is not sparse.
    pub(super) runs: Vec<SparseEntry>,
    /// The file's length.
    pub(super) size: u64,
    /// The sum of the runs.
    pub(super) stored: u64,
}

type SparseMap = (Vec<SparseEntry>, u64);

impl Entry {
    /// Checks everything about an entry that can be checked without knowing the others.
    pub(super) fn new(
        parsed: &ParsedEntry<'_>,
        sparse: Option<SparseMap>,
        limits: &Limits,
    ) -> Result<Self, LayerError> {
        let path = path(parsed);
        Self::check(parsed, sparse, limits, path.clone()).map_err(|source| LayerError::Entry {
            name: EntryName::new(&path),
            source,
        })
    }

    fn check(
        parsed: &ParsedEntry<'_>,
        sparse: Option<SparseMap>,
        limits: &Limits,
        path: Vec<u8>,
    ) -> Result<Self, EntryFault> {
        if path.is_empty() {
            return Err(EntryFault::NoPath);
        }
        let pax = PaxRecords::parse(parsed.pax.unwrap_or_default(), limits)?;
        let kind = kind(parsed, sparse, &pax, limits)?;
        let (mtime, mtime_nsec) = pax.mtime.unwrap_or((parsed.mtime.cast_signed(), 0));
        let mode = match kind {
            EntryKind::Symlink(_) => 0o777,
            _ => parsed.mode & 0o7777,
        };
        Ok(Self {
            path,
            attributes: Attributes {
                mode: u16::try_from(mode).expect("masked to 12 bits"),
                uid: owner(parsed.uid)?,
                gid: owner(parsed.gid)?,
                mtime,
                mtime_nsec,
            },
            xattrs: pax.xattrs,
            dropped_xattrs: pax.dropped_xattrs,
            kind,
        })
    }

    /// Bytes of content in the stream. What is not a file has none, whatever its header says: that is
    /// how Go reads it, and a tar must mean one thing only.
    pub(super) fn stored_bytes(&self) -> u64 {
        match &self.kind {
            EntryKind::Regular(runs) => runs.stored,
            _ => 0,
        }
    }
}

/// The resolved path. An empty PAX record takes itself back, so the header's name stands.
fn path(parsed: &ParsedEntry<'_>) -> Vec<u8> {
    if !parsed.path.is_empty() {
        return parsed.path.to_vec();
    }
    match parsed.header.prefix().filter(|prefix| !prefix.is_empty()) {
        Some(prefix) => [prefix, parsed.header.path_bytes()].join(&b'/'),
        None => parsed.header.path_bytes().to_vec(),
    }
}

fn owner(id: u64) -> Result<u32, EntryFault> {
    u32::try_from(id).map_err(|_| EntryFault::IdOutOfRange(id))
}

fn kind(
    parsed: &ParsedEntry<'_>,
    sparse: Option<SparseMap>,
    pax: &PaxRecords,
    limits: &Limits,
) -> Result<EntryKind, EntryFault> {
    let flag = parsed.header.as_ustar().typeflag[0];
    Ok(match parsed.entry_type {
        // Before types, a directory was a file whose name ends in a slash.
        EntryType::Regular if flag == 0 && parsed.path.ends_with(b"/") => EntryKind::Directory,
        EntryType::Regular | EntryType::Continuous => {
            EntryKind::Regular(runs(parsed, sparse, pax, limits)?)
        }
        EntryType::GnuSparse if sparse.is_some() => {
            EntryKind::Regular(runs(parsed, sparse, pax, limits)?)
        }
        EntryType::Directory => EntryKind::Directory,
        EntryType::Symlink => EntryKind::Symlink(link_target(parsed, limits)?),
        EntryType::Link => EntryKind::HardLink(link_target(parsed, limits)?),
        EntryType::Char => match device_number(parsed)? {
            (0, 0) => return Err(EntryFault::WhiteoutDevice),
            (major, minor) => EntryKind::CharDevice(major, minor),
        },
        EntryType::Block => {
            let (major, minor) = device_number(parsed)?;
            EntryKind::BlockDevice(major, minor)
        }
        EntryType::Fifo => EntryKind::Fifo,
        _ => return Err(EntryFault::UnknownType(flag)),
    })
}

fn link_target(parsed: &ParsedEntry<'_>, limits: &Limits) -> Result<Vec<u8>, EntryFault> {
    // Linux' PATH_MAX counts the NUL at the end, and so do links.
    let max = limits.max_path_bytes.min(4095) as u64;
    let target = parsed
        .link_target
        .as_deref()
        .ok_or(EntryFault::BadLinkTarget)?;
    LimitExceeded::check("bytes of link target", target.len() as u64, max)?;
    if target.is_empty() || target.contains(&0) {
        return Err(EntryFault::BadLinkTarget);
    }
    Ok(target.to_vec())
}

fn device_number(parsed: &ParsedEntry<'_>) -> Result<(u32, u32), EntryFault> {
    let (major, minor) = (parsed.dev_major.unwrap_or(0), parsed.dev_minor.unwrap_or(0));
    if major > 0xfff || minor > 0xf_ffff {
        return Err(EntryFault::DeviceOutOfRange { major, minor });
    }
    Ok((major, minor))
}

fn runs(
    parsed: &ParsedEntry<'_>,
    sparse: Option<SparseMap>,
    pax: &PaxRecords,
    limits: &Limits,
) -> Result<Runs, EntryFault> {
    let stored = parsed.size;
    let max = u64::from(limits.max_blocks) * BLOCK_SIZE;
    LimitExceeded::check("bytes of content", stored, max)?;
    let Some((runs, size)) = sparse else {
        if pax.sparse {
            return Err(EntryFault::BadSparseMap);
        }
        return Ok(Runs {
            runs: vec![SparseEntry {
                offset: 0,
                length: stored,
            }],
            size: stored,
            stored,
        });
    };
    // With a map ahead of the data, the parser takes the map off the header's size only.
    if pax.sparse_major == Some(1) && pax.size.is_some() {
        return Err(EntryFault::BadSparseMap);
    }
    check_runs(&runs, size, stored)?;
    Ok(Runs { runs, size, stored })
}

fn check_runs(runs: &[SparseEntry], size: u64, stored: u64) -> Result<(), EntryFault> {
    let mut end = 0;
    let mut sum = 0;
    for run in runs {
        if run.offset < end {
            return Err(EntryFault::BadSparseMap);
        }
        end = run
            .offset
            .checked_add(run.length)
            .ok_or(EntryFault::BadSparseMap)?;
        sum += run.length;
    }
    if end > size || sum != stored {
        return Err(EntryFault::BadSparseMap);
    }
    Ok(())
}

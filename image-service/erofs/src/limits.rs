//! How much a stranger's tar may ask of us.

/// Bounds on one conversion or merge. Exceeding one is an error that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Entries of the tar, or names in the merged tree.
    pub max_entries: u64,
    /// Bytes of the in-memory tree: names, link targets, attributes and a fixed sum per entry.
    pub max_tree_bytes: u64,
    /// Bytes of a path and of a link's target.
    pub max_path_bytes: usize,
    /// Directories above an entry.
    pub max_depth: usize,
    /// Bytes of one file's extended attributes, names and values.
    pub max_xattr_bytes: usize,
    /// Bytes of one entry's tar headers: long names, PAX records, sparse maps.
    pub max_header_bytes: u32,
    /// Runs of data in one sparse file.
    pub max_sparse_runs: usize,
    /// Layers of one image.
    pub max_layers: u16,
    /// Blocks of 4 KiB in the finished blob, holes of sparse files included.
    pub max_blocks: u32,
}

impl Default for Limits {
    /// Room for any image seen in the wild. A conversion takes up to twice as much memory as `max_tree_bytes`,
    /// a merge up to three times: that is where each file has a small extended attribute, in the merge also
    /// one that a later layer replaces. Ordinary images need a thousandth.
    fn default() -> Self {
        Self {
            max_entries: 2_000_000,
            max_tree_bytes: 512 << 20,
            max_path_bytes: 4096,
            max_depth: 512,
            max_xattr_bytes: 64 << 10,
            max_header_bytes: 1 << 20,
            max_sparse_runs: 10_000,
            max_layers: 512,
            // 1 TiB.
            max_blocks: 1 << 28,
        }
    }
}

/// A bound of [`Limits`] that was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {limit} {what}")]
pub struct LimitExceeded {
    /// What there was too much of.
    pub what: &'static str,
    /// The bound.
    pub limit: u64,
}

impl LimitExceeded {
    /// An error unless `amount` is within `limit`.
    pub(crate) fn check(what: &'static str, amount: u64, limit: u64) -> Result<(), Self> {
        if amount <= limit {
            Ok(())
        } else {
            Err(Self { what, limit })
        }
    }
}

/// What a tree has cost so far.
///
/// Nothing is given back for what is replaced: the arena keeps it, and a tar that writes the same name
/// a million times is hostile.
#[derive(Debug)]
pub(crate) struct Budget {
    entries: u64,
    bytes: u64,
    max_entries: u64,
    max_bytes: u64,
}

impl Budget {
    /// An inode, its directory entry and the share of the allocator.
    const ENTRY: u64 = 192;
    /// What a directory takes more: the first node of its map of children.
    const DIRECTORY: u64 = 320;

    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            entries: 0,
            bytes: 0,
            max_entries: limits.max_entries,
            max_bytes: limits.max_tree_bytes,
        }
    }

    /// One more name, with `bytes` of strings and attributes.
    pub(crate) fn entry(&mut self, bytes: usize) -> Result<(), LimitExceeded> {
        self.entries += 1;
        LimitExceeded::check("entries", self.entries, self.max_entries)?;
        self.spend(Self::ENTRY + bytes as u64)
    }

    /// That the last entry is a directory.
    pub(crate) fn directory(&mut self) -> Result<(), LimitExceeded> {
        self.spend(Self::DIRECTORY)
    }

    /// Link targets and attributes that the last entry holds.
    pub(crate) fn strings(&mut self, bytes: usize) -> Result<(), LimitExceeded> {
        self.spend(bytes as u64)
    }

    pub(crate) fn entries(&self) -> u64 {
        self.entries
    }

    fn spend(&mut self, bytes: u64) -> Result<(), LimitExceeded> {
        self.bytes += bytes;
        LimitExceeded::check("bytes of file metadata", self.bytes, self.max_bytes)
    }
}

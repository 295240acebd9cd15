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
    /// Blocks of 4 KiB in the finished blob, holes of sparse files included.
    pub max_blocks: u32,
}

impl Default for Limits {
    /// Room for any image seen in the wild; a conversion stays below 1 GiB of memory.
    fn default() -> Self {
        Self {
            max_entries: 4_000_000,
            max_tree_bytes: 768 << 20,
            max_path_bytes: 4096,
            max_depth: 512,
            max_xattr_bytes: 64 << 10,
            max_header_bytes: 1 << 20,
            max_sparse_runs: 10_000,
            // 1 TiB.
            max_blocks: 1 << 28,
        }
    }
}

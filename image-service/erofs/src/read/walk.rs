//! Every file of an image, parents before children and siblings in bytewise order.

use std::collections::HashSet;
use std::ops::ControlFlow;

use super::{FileType, ImageReader, Metadata, ReadError};
use crate::Limits;
use crate::limits::LimitExceeded;
use crate::read_at::ReadAt;

/// A file met on a walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalkEntry {
    /// Its path below the root, without a leading slash; empty for the root itself.
    pub path: Vec<u8>,
    /// What `lstat` would say.
    pub metadata: Metadata,
    /// Where a symbolic link leads; empty for other types.
    pub link_target: Vec<u8>,
    /// Extended attributes by full name, sorted by class and name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<S: ReadAt> ImageReader<S> {
    /// Shows every file to `visit`, which stops the walk with an error.
    ///
    /// A corrupt image cannot make it endless: each directory is entered once, and `limits` hold.
    pub fn walk<E: From<ReadError>>(
        &self,
        limits: &Limits,
        mut visit: impl FnMut(&WalkEntry) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut entered = HashSet::new();
        let mut seen = 0;
        let mut path = Vec::new();
        let mut ahead = vec![Ahead {
            parent_len: 0,
            name: Vec::new(),
            nid: self.root()?.nid,
        }];
        while let Some(next) = ahead.pop() {
            seen += 1;
            path.truncate(next.parent_len);
            if next.parent_len > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(&next.name);
            let max_path = limits.max_path_bytes as u64;
            LimitExceeded::check("bytes of path", path.len() as u64, max_path)
                .map_err(ReadError::from)?;
            let entry = self.walk_entry(path.clone(), next.nid)?;
            visit(&entry)?;
            if entry.metadata.file_type == FileType::Directory {
                if !entered.insert(next.nid) {
                    return Err(ReadError::Corrupt("has a directory with two names").into());
                }
                let room = limits.max_entries.saturating_sub(seen + ahead.len() as u64);
                ahead.extend(self.children(path.len(), next.nid, room)?.into_iter().rev());
            }
        }
        Ok(())
    }

    /// The whole content of a regular file that a walk has met.
    pub fn read_inode(&self, inode: u64, max_bytes: usize) -> Result<Vec<u8>, ReadError> {
        self.content(&self.inode(inode)?, max_bytes)
    }

    fn walk_entry(&self, path: Vec<u8>, nid: u64) -> Result<WalkEntry, ReadError> {
        let inode = self.inode(nid)?;
        let metadata = Metadata::of(&inode);
        let link_target = match metadata.file_type {
            FileType::Symlink => self.link_target(&inode)?,
            _ => Vec::new(),
        };
        let xattrs = self.xattrs(&inode)?;
        let xattrs = xattrs
            .into_iter()
            .map(|(name, value)| (name.full(), value.into()))
            .collect();
        Ok(WalkEntry {
            path,
            metadata,
            link_target,
            xattrs,
        })
    }

    fn children(&self, parent_len: usize, nid: u64, room: u64) -> Result<Vec<Ahead>, ReadError> {
        let mut children = Vec::new();
        self.scan(&self.inode(nid)?, |entry| {
            children.push(Ahead {
                parent_len,
                name: entry.name.to_vec(),
                nid: entry.nid,
            });
            if children.len() as u64 > room {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        LimitExceeded::check("entries", children.len() as u64, room)?;
        Ok(children)
    }
}

/// A file still to be met. Of its path only the end is kept; the walk has the rest when it gets there.
struct Ahead {
    parent_len: usize,
    name: Vec<u8>,
    nid: u64,
}

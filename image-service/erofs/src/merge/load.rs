//! A layer blob's tree, read back into memory.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use crate::format::blocks_for;
use crate::format::inode::TypeBits;
use crate::limits::Budget;
use crate::read::{self, ImageReader, ReadError};
use crate::read_at::ReadAt;
use crate::tree::{Attributes, Content, Inode, InodeId, Node, Tree};
use crate::{Limits, marks};

/// What a merge needs of a layer.
pub(super) struct LoadedLayer {
    pub(super) tree: Tree,
    pub(super) blocks: u32,
}

/// Reads the tree of the layer with this index.
pub(super) fn load_layer<S: ReadAt>(
    source: &S,
    index: usize,
    limits: &Limits,
) -> Result<LoadedLayer, ReadError> {
    let mut reader = ImageReader::open_layer(source)?;
    reader.keep_metadata(limits.max_tree_bytes)?;
    let layer = u32::try_from(index).expect("layers are limited to fewer than 2^32");
    let mut loader = Loader {
        blocks: reader.blocks(),
        reader: &reader,
        layer,
        budget: Budget::new(limits),
        tree: Tree::new(),
        known: HashMap::new(),
        entered: HashSet::new(),
    };
    loader.load()?;
    Ok(LoadedLayer {
        blocks: loader.blocks,
        tree: loader.tree,
    })
}

struct Loader<'a, S> {
    reader: &'a ImageReader<&'a S>,
    blocks: u32,
    layer: u32,
    budget: Budget,
    tree: Tree,
    /// Inodes with several names.
    known: HashMap<u64, InodeId>,
    /// Directories, which have one name only.
    entered: HashSet<u64>,
}

/// A name and the inode it leads to.
type Name = (Box<[u8]>, u64);

impl<S: ReadAt> Loader<'_, S> {
    fn load(&mut self) -> Result<(), ReadError> {
        let root = self.reader.root()?;
        let id = self.tree.root();
        self.tree[id] = self.inode(&root)?;
        let mut ahead = vec![(root, id)];
        while let Some((inode, id)) = ahead.pop() {
            if !self.entered.insert(inode.nid) {
                return Err(ReadError::Corrupt("has a directory with two names"));
            }
            for (name, nid) in self.names(&inode)? {
                let child = self.reader.inode(nid)?;
                let child_id = self.take_in(&child)?;
                self.tree.link(id, &name, child_id);
                if child.raw.type_bits == TypeBits::Directory {
                    ahead.push((child, child_id));
                }
            }
        }
        Ok(())
    }

    fn names(&mut self, directory: &read::Inode) -> Result<Vec<Name>, ReadError> {
        let mut names = Vec::new();
        let mut spent = Ok(());
        self.reader.scan(directory, |entry| {
            spent = self.budget.entry(entry.name.len());
            names.push((Box::from(entry.name), entry.nid));
            if spent.is_ok() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        spent?;
        Ok(names)
    }

    fn take_in(&mut self, inode: &read::Inode) -> Result<InodeId, ReadError> {
        if let Some(id) = self.known.get(&inode.nid) {
            return Ok(*id);
        }
        let node = self.inode(inode)?;
        self.budget.strings(node.string_bytes())?;
        let id = self.tree.add(node);
        if inode.raw.nlink > 1 && inode.raw.type_bits != TypeBits::Directory {
            self.known.insert(inode.nid, id);
        }
        Ok(id)
    }

    fn inode(&mut self, inode: &read::Inode) -> Result<Inode, ReadError> {
        let raw = &inode.raw;
        let mut xattrs = self.reader.xattrs(inode)?;
        let node = match raw.type_bits {
            TypeBits::Directory => {
                self.budget.directory()?;
                Node::Directory(Box::new(marks::take_directory(&mut xattrs)))
            }
            TypeBits::Regular => match marks::take_link(&mut xattrs) {
                Some(target) => Node::LowerLink(target),
                None => Node::Regular(self.content(inode)?),
            },
            TypeBits::Symlink => Node::Symlink(self.reader.link_target(inode)?.into()),
            TypeBits::CharDevice => match inode.device_number() {
                (0, 0) => Node::Whiteout,
                (major, minor) => Node::CharDevice(major, minor),
            },
            TypeBits::BlockDevice => {
                let (major, minor) = inode.device_number();
                Node::BlockDevice(major, minor)
            }
            TypeBits::Fifo => Node::Fifo,
            TypeBits::Socket => Node::Socket,
        };
        marks::check_taken(&xattrs)?;
        let (mode, uid, gid) = (raw.mode, raw.uid, raw.gid);
        let attributes = Attributes {
            mode,
            uid,
            gid,
            mtime: raw.mtime,
            mtime_nsec: raw.mtime_nsec,
        };
        Ok(Inode {
            attributes,
            xattrs,
            node,
        })
    }

    /// Checked here, because the merged image will point there and the kernel will not ask again.
    fn content(&self, inode: &read::Inode) -> Result<Content, ReadError> {
        let content = Content {
            layer: self.layer,
            block: inode.raw.block_or_rdev,
            size: inode.raw.size,
        };
        let end = u64::from(content.block).saturating_add(blocks_for(content.size));
        if content.size > 0 && (content.block == 0 || end > u64::from(self.blocks)) {
            return Err(ReadError::Corrupt("has a file outside of itself"));
        }
        Ok(content)
    }
}

//! Entries gather in a tree, and their content in the blob.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Read, Seek, Write};

use super::archive::Archive;
use super::entry::{Entry, EntryKind, Runs};
use super::error::{EntryFault, LayerError};
use super::name::{EntryName, Meaning, components};
use crate::block_writer::BlockWriter;
use crate::format::xattr::Xattrs;
use crate::limits::{Budget, LimitExceeded};
use crate::tree::{Attributes, Content, Directory, Inode, InodeId, Node, Tree};
use crate::{BLOCK_SIZE, Limits};

/// The tree of one layer while its tar is read.
#[derive(Debug)]
pub(super) struct Unpacker<'a> {
    limits: &'a Limits,
    budget: Budget,
    tree: Tree,
    /// Names hidden in lower layers, by directory. Apart from the children, because a whiteout says
    /// nothing about a file of the same name in its own layer, before or after it.
    whiteouts: HashMap<InodeId, BTreeSet<Box<[u8]>>>,
    /// Hard links whose target was not there when they came, in stream order.
    open_links: Vec<InodeId>,
    entries: u64,
    dropped_xattrs: u64,
}

/// The finished tree, with whiteouts and links to lower layers as nodes.
#[derive(Debug)]
pub(super) struct Unpacked {
    pub(super) tree: Tree,
    pub(super) entries: u64,
    pub(super) whiteouts: u64,
    pub(super) lower_links: u64,
    pub(super) dropped_xattrs: u64,
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(limits: &'a Limits) -> Self {
        Self {
            limits,
            budget: Budget::new(limits),
            tree: Tree::new(),
            whiteouts: HashMap::new(),
            open_links: Vec::new(),
            entries: 0,
            dropped_xattrs: 0,
        }
    }

    /// Takes in an entry, and its content from `archive`.
    pub(super) fn add<R: Read, W: Write + Seek>(
        &mut self,
        entry: Entry,
        archive: &mut Archive<R>,
        blob: &mut BlockWriter<W>,
    ) -> Result<(), LayerError> {
        self.entries += 1;
        self.dropped_xattrs += entry.dropped_xattrs;
        let path = entry.path.clone();
        let fault = |source| LayerError::Entry {
            name: EntryName::new(&path),
            source,
        };
        let components = components(&path, self.limits).map_err(fault)?;
        let Some((&last, parents)) = components.split_last() else {
            return self.describe_root(entry).map_err(fault);
        };
        let parent = self.parent(parents).map_err(fault)?;
        self.budget
            .entry(last.len())
            .map_err(|limit| fault(limit.into()))?;
        match Meaning::of(last).map_err(fault)? {
            Meaning::Opaque => self.directory_mut(parent).opaque = true,
            Meaning::Whiteout(hidden) => {
                self.whiteouts
                    .entry(parent)
                    .or_default()
                    .insert(hidden.into());
            }
            Meaning::File(name) => {
                let content = match &entry.kind {
                    EntryKind::Regular(runs) => {
                        self.check_room(runs, blob.position())
                            .map_err(|limit| fault(limit.into()))?;
                        Some(write_content(runs, archive, blob)?)
                    }
                    _ => None,
                };
                self.add_file(parent, name, entry, content).map_err(fault)?;
            }
        }
        Ok(())
    }

    /// Settles what could not be settled entry by entry.
    pub(super) fn finish(mut self) -> Result<Unpacked, LimitExceeded> {
        let resolved = self.resolve_open_links();
        let (mut whiteouts, mut lower_links) = (0, 0);
        let mut directories = vec![self.tree.root()];
        while let Some(id) = directories.pop() {
            whiteouts += self.settle_whiteouts(id)?;
            for child in self.directory_mut(id).children.values_mut() {
                *child = *resolved.get(child).unwrap_or(child);
            }
            let children = self
                .directory_mut(id)
                .children
                .values()
                .copied()
                .collect::<Vec<_>>();
            for child in children {
                match self.tree[child].node {
                    Node::Directory(_) => directories.push(child),
                    Node::LowerLink(_) => lower_links += 1,
                    _ => {}
                }
            }
        }
        let Self {
            tree,
            entries,
            dropped_xattrs,
            ..
        } = self;
        Ok(Unpacked {
            tree,
            entries,
            whiteouts,
            lower_links,
            dropped_xattrs,
        })
    }

    /// The directory with this path. What is missing becomes an implicit directory, and so does what is
    /// no directory: a symbolic link is replaced, not followed.
    fn parent(&mut self, components: &[&[u8]]) -> Result<InodeId, EntryFault> {
        let mut directory = self.tree.root();
        for name in components {
            Meaning::check_parent(name)?;
            directory = match self.tree.child(directory, name) {
                Some(child) if self.tree[child].is_directory() => child,
                _ => {
                    self.budget.entry(name.len())?;
                    self.budget.directory()?;
                    let child = self.tree.add(Inode::implicit_directory());
                    self.tree.link(directory, name, child);
                    child
                }
            };
        }
        Ok(directory)
    }

    fn describe_root(&mut self, entry: Entry) -> Result<(), EntryFault> {
        match entry.kind {
            EntryKind::Directory => {
                self.describe_directory(self.tree.root(), entry);
                Ok(())
            }
            _ => Err(EntryFault::RootNotDirectory),
        }
    }

    fn describe_directory(&mut self, id: InodeId, entry: Entry) {
        let inode = &mut self.tree[id];
        inode.attributes = entry.attributes;
        inode.xattrs = entry.xattrs;
        self.directory_mut(id).implicit = false;
    }

    /// Gives the entry its name. The last of several entries with one name wins; a directory that is
    /// described again keeps its children.
    fn add_file(
        &mut self,
        parent: InodeId,
        name: &[u8],
        entry: Entry,
        content: Option<Content>,
    ) -> Result<(), EntryFault> {
        let node = match entry.kind {
            EntryKind::Directory => match self.tree.child(parent, name) {
                Some(known) if self.tree[known].is_directory() => {
                    self.describe_directory(known, entry);
                    return Ok(());
                }
                _ => {
                    self.budget.directory()?;
                    Node::Directory(Box::default())
                }
            },
            EntryKind::HardLink(target) => {
                let id = self.link_target(&target)?;
                self.tree.link(parent, name, id);
                return Ok(());
            }
            EntryKind::Regular(_) => Node::Regular(content.expect("written for every file")),
            EntryKind::Symlink(target) => Node::Symlink(target.into()),
            EntryKind::CharDevice(major, minor) => Node::CharDevice(major, minor),
            EntryKind::BlockDevice(major, minor) => Node::BlockDevice(major, minor),
            EntryKind::Fifo => Node::Fifo,
        };
        let id = self.add_inode(Inode {
            attributes: entry.attributes,
            xattrs: entry.xattrs,
            node,
        })?;
        self.tree.link(parent, name, id);
        Ok(())
    }

    /// The inode a hard link names. One that is not there (yet) stands for the file of lower layers.
    fn link_target(&mut self, target: &[u8]) -> Result<InodeId, EntryFault> {
        let path = components(target, self.limits)?.join(&b'/');
        match self.tree.lookup(&path) {
            Some(id) if self.tree[id].is_directory() => Err(EntryFault::LinkToDirectory),
            Some(id) => Ok(id),
            None => {
                let id = self.add_inode(Inode {
                    attributes: Attributes {
                        mode: 0,
                        ..Attributes::DEFAULT_DIRECTORY
                    },
                    xattrs: Xattrs::new(),
                    node: Node::LowerLink(path.into()),
                })?;
                self.open_links.push(id);
                Ok(id)
            }
        }
    }

    fn add_inode(&mut self, inode: Inode) -> Result<InodeId, EntryFault> {
        self.budget.strings(inode.string_bytes())?;
        Ok(self.tree.add(inode))
    }

    /// Links whose target came after them. The last first, so that a chain of them is followed.
    fn resolve_open_links(&self) -> BTreeMap<InodeId, InodeId> {
        let mut resolved = BTreeMap::new();
        for &link in self.open_links.iter().rev() {
            let Node::LowerLink(target) = &self.tree[link].node else {
                continue;
            };
            let Some(found) = self.tree.lookup(target) else {
                continue;
            };
            let found = *resolved.get(&found).unwrap_or(&found);
            if !matches!(
                self.tree[found].node,
                Node::Directory(_) | Node::LowerLink(_)
            ) {
                resolved.insert(link, found);
            }
        }
        resolved
    }

    /// A whiteout of a name the layer itself gives: what is below is hidden all the same, so a directory
    /// of that name starts from nothing.
    fn settle_whiteouts(&mut self, id: InodeId) -> Result<u64, LimitExceeded> {
        let hidden = self.whiteouts.remove(&id).unwrap_or_default();
        let count = hidden.len() as u64;
        for name in hidden {
            match self.tree.child(id, &name) {
                Some(child) => {
                    if let Some(directory) = self.tree.directory_mut(child) {
                        directory.opaque = true;
                        directory.implicit = false;
                    }
                }
                None => {
                    let whiteout = Inode {
                        attributes: Attributes {
                            mode: 0,
                            ..Attributes::DEFAULT_DIRECTORY
                        },
                        xattrs: Xattrs::new(),
                        node: Node::Whiteout,
                    };
                    let whiteout = self.tree.add(whiteout);
                    self.tree.link(id, &name, whiteout);
                }
            }
        }
        Ok(count)
    }

    fn directory_mut(&mut self, id: InodeId) -> &mut Directory {
        self.tree
            .directory_mut(id)
            .expect("only directories' ids are kept as such")
    }

    fn check_room(&self, runs: &Runs, position: u64) -> Result<(), LimitExceeded> {
        let max = u64::from(self.limits.max_blocks);
        let end = position
            .saturating_add(BLOCK_SIZE)
            .saturating_add(runs.size);
        LimitExceeded::check("blocks", end.div_ceil(BLOCK_SIZE), max)
    }
}

/// Copies a file's runs to where they belong, and leaves holes between them.
fn write_content<R: Read, W: Write + Seek>(
    runs: &Runs,
    archive: &mut Archive<R>,
    blob: &mut BlockWriter<W>,
) -> Result<Content, LayerError> {
    if runs.size == 0 {
        return Ok(Content {
            layer: 0,
            block: 0,
            size: 0,
        });
    }
    let block = blob.align().map_err(LayerError::Write)?;
    let start = blob.position();
    for run in &runs.runs {
        blob.skip(start + run.offset - blob.position())
            .map_err(LayerError::Write)?;
        let mut left = run.length;
        while left > 0 {
            let piece = archive.content()?;
            let piece = &piece[..usize::try_from(left).map_or(piece.len(), |l| l.min(piece.len()))];
            blob.write(piece).map_err(LayerError::Write)?;
            let count = piece.len();
            archive.consume(count);
            left -= count as u64;
        }
    }
    blob.skip(start + runs.size - blob.position())
        .map_err(LayerError::Write)?;
    let block = u32::try_from(block).expect("check_room keeps within max_blocks, a u32");
    Ok(Content {
        layer: 0,
        block,
        size: runs.size,
    })
}

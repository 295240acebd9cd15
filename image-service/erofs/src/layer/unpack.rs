//! Entries gather in a tree, and their content in the blob.

use std::collections::{BTreeSet, HashMap};
use std::io::{Read, Seek, Write};

use super::archive::Archive;
use super::content::{check_room, write_content};
use super::entry::{Entry, EntryKind};
use super::error::{EntryFault, LayerError};
use super::name::{EntryName, Meaning, components};
use crate::Limits;
use crate::block_writer::BlockWriter;
use crate::format::xattr::Xattrs;
use crate::limits::Budget;
use crate::tree::{Attributes, Content, Directory, Inode, InodeId, Node, Tree};

/// The tree of one layer while its tar is read.
#[derive(Debug)]
pub(super) struct Unpacker<'a> {
    pub(super) limits: &'a Limits,
    budget: Budget,
    pub(super) tree: Tree,
    /// Names hidden in lower layers, by directory. Apart from the children, because a whiteout says
    /// nothing about a file of the same name in its own layer, before or after it.
    pub(super) whiteouts: HashMap<InodeId, BTreeSet<Box<[u8]>>>,
    /// Hard links whose target was not there when they came, in stream order.
    pub(super) open_links: Vec<InodeId>,
    pub(super) entries: u64,
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
        let place = self.resolve(&path).map_err(fault)?;
        let components = components(&place, self.limits).map_err(fault)?;
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
                        check_room(runs, blob.position(), self.limits)
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

    /// The directory with this resolved path. What is missing becomes an implicit directory, and so does
    /// what is no directory.
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
            EntryKind::Directory => self.describe_directory(self.tree.root(), entry),
            _ => Err(EntryFault::RootNotDirectory),
        }
    }

    fn describe_directory(&mut self, id: InodeId, entry: Entry) -> Result<(), EntryFault> {
        let inode = &mut self.tree[id];
        inode.attributes = entry.attributes;
        inode.xattrs = entry.xattrs;
        self.budget.strings(inode.string_bytes())?;
        self.directory_mut(id).implicit = false;
        Ok(())
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
                    return self.describe_directory(known, entry);
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
        let path = self.resolve(target)?;
        let path = components(&path, self.limits)?.join(&b'/');
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

    pub(super) fn directory_mut(&mut self, id: InodeId) -> &mut Directory {
        self.tree
            .directory_mut(id)
            .expect("only directories' ids are kept as such")
    }
}

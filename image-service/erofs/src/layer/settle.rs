//! What can only be said of a layer once all of its tar is read.

use std::collections::HashMap;

use super::unpack::Unpacker;
use crate::format::xattr::Xattrs;
use crate::tree::{Attributes, Inode, InodeId, Node, Tree};

/// The finished tree, with whiteouts and links to lower layers as nodes.
#[derive(Debug)]
pub(super) struct Unpacked {
    pub(super) tree: Tree,
    pub(super) entries: u64,
    pub(super) whiteouts: u64,
    pub(super) lower_links: u64,
    pub(super) dropped_xattrs: u64,
}

impl Unpacker<'_> {
    /// Settles what could not be settled entry by entry.
    pub(super) fn finish(mut self) -> Unpacked {
        let resolved = self.resolve_open_links();
        let (mut whiteouts, mut lower_links) = (0, 0);
        let mut directories = vec![self.tree.root()];
        while let Some(id) = directories.pop() {
            whiteouts += self.settle_whiteouts(id);
            for child in self.redirect(id, &resolved) {
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
        Unpacked {
            tree,
            entries,
            whiteouts,
            lower_links,
            dropped_xattrs,
        }
    }

    /// Links whose target came after them. The last first, so that a chain of them is followed.
    fn resolve_open_links(&self) -> HashMap<InodeId, InodeId> {
        let mut resolved = HashMap::new();
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

    /// Applies `resolved` to a directory, and tells its children.
    fn redirect(&mut self, id: InodeId, resolved: &HashMap<InodeId, InodeId>) -> Vec<InodeId> {
        let children = self.directory_mut(id).children.values_mut();
        let redirect = |child: &mut InodeId| {
            *child = *resolved.get(child).unwrap_or(child);
            *child
        };
        children.map(redirect).collect()
    }

    /// A whiteout of a name the layer itself gives: what is below is hidden all the same, so a directory
    /// of that name starts from nothing.
    fn settle_whiteouts(&mut self, id: InodeId) -> u64 {
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
        count
    }
}

//! One layer laid over the sum of the layers below it.

use std::collections::HashMap;

use super::MergeError;
use crate::layer::EntryName;
use crate::tree::{Directory, Inode, InodeId, Node, Tree};

/// The sum of no layers: a root that nobody described.
pub(super) fn empty() -> Tree {
    let mut tree = Tree::new();
    let root = tree.root();
    tree[root].node = Node::Directory(Box::default());
    tree
}

/// Applies what layer number `layer` says to `sum`, which has neither whiteouts nor marks, and gets none.
pub(super) fn lay_over(sum: &mut Tree, upper: Tree, layer: usize) -> Result<(), MergeError> {
    // Before anything changes: a layer may link to a file that it hides.
    let moved = resolve_links(sum, &upper, layer)?;
    let pairs = vec![(sum.root(), upper.root())];
    Overlay {
        sum,
        upper,
        moved,
        pairs,
    }
    .run();
    Ok(())
}

/// The inodes in `sum` that the links of `upper` mean.
fn resolve_links(
    sum: &Tree,
    upper: &Tree,
    layer: usize,
) -> Result<HashMap<InodeId, InodeId>, MergeError> {
    let mut moved = HashMap::new();
    for (id, inode) in upper.iter() {
        let Node::LowerLink(target) = &inode.node else {
            continue;
        };
        let found = sum
            .lookup(target)
            .filter(|found| !sum[*found].is_directory());
        let missing = || MergeError::LinkTarget {
            layer,
            target: EntryName::new(target),
        };
        moved.insert(id, found.ok_or_else(missing)?);
    }
    Ok(moved)
}

struct Overlay<'a> {
    sum: &'a mut Tree,
    upper: Tree,
    /// Inodes of `upper` that `sum` already has, and as which.
    moved: HashMap<InodeId, InodeId>,
    /// Directories still to be laid over each other.
    pairs: Vec<(InodeId, InodeId)>,
}

impl Overlay<'_> {
    fn run(mut self) {
        while let Some((below, above)) = self.pairs.pop() {
            let inode = self.upper.take(above);
            let Node::Directory(directory) = inode.node else {
                continue;
            };
            if !directory.implicit {
                self.sum[below].attributes = inode.attributes;
                self.sum[below].xattrs = inode.xattrs;
            }
            if directory.opaque {
                self.directory_mut(below).children.clear();
            }
            for (name, child) in directory.children {
                self.apply(below, name, child);
            }
        }
    }

    fn apply(&mut self, parent: InodeId, name: Box<[u8]>, child: InodeId) {
        let below = self
            .sum
            .child(parent, &name)
            .filter(|id| self.sum[*id].is_directory());
        let id = match &self.upper[child].node {
            Node::Whiteout => {
                self.directory_mut(parent).children.remove(&name);
                return;
            }
            Node::Directory(_) => {
                let below = below.unwrap_or_else(|| self.add_directory(child));
                self.pairs.push((below, child));
                below
            }
            _ => self.bring(child),
        };
        self.directory_mut(parent).children.insert(name, id);
    }

    /// A directory that is new, still empty. Undescribed, it keeps the attributes the layer's writer
    /// made up, for nobody below has better ones.
    fn add_directory(&mut self, above: InodeId) -> InodeId {
        let Inode {
            attributes, xattrs, ..
        } = &self.upper[above];
        let node = Node::Directory(Box::default());
        self.sum.add(Inode {
            attributes: *attributes,
            xattrs: xattrs.clone(),
            node,
        })
    }

    /// The inode in `sum` that is the layer's inode `id`, which is no directory.
    fn bring(&mut self, id: InodeId) -> InodeId {
        if let Some(known) = self.moved.get(&id) {
            return *known;
        }
        let brought = self.sum.add(self.upper.take(id));
        self.moved.insert(id, brought);
        brought
    }

    fn directory_mut(&mut self, id: InodeId) -> &mut Directory {
        self.sum
            .directory_mut(id)
            .expect("only directories are laid over each other")
    }
}

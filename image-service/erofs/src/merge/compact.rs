//! A merged tree without the inodes that later layers took the names of.

use std::collections::HashMap;

use crate::Limits;
use crate::limits::{Budget, LimitExceeded};
use crate::tree::{InodeId, Node, Tree};

/// Compacts now and then, so that many layers that rewrite the same files cost the memory of one.
#[derive(Debug, Default)]
pub(super) struct Compactor {
    /// Inodes after the last time.
    kept: usize,
}

impl Compactor {
    const SLACK: usize = 1 << 16;

    pub(super) fn after_layer(
        &mut self,
        tree: Tree,
        limits: &Limits,
    ) -> Result<Tree, LimitExceeded> {
        if tree.len() <= 2 * self.kept + Self::SLACK {
            return Ok(tree);
        }
        let (tree, _) = compact(tree, limits)?;
        self.kept = tree.len();
        Ok(tree)
    }
}

/// The tree with nothing but what has a name, and how many names there are below the root.
pub(super) fn compact(mut tree: Tree, limits: &Limits) -> Result<(Tree, u64), LimitExceeded> {
    let mut budget = Budget::new(limits);
    let mut compacted = Tree::new();
    let root = compacted.root();
    compacted[root] = tree.take(tree.root());
    let mut moved: HashMap<InodeId, InodeId> = HashMap::new();
    let mut directories = vec![root];
    while let Some(directory) = directories.pop() {
        let Some(found) = compacted.directory_mut(directory) else {
            continue;
        };
        let mut children = std::mem::take(&mut found.children);
        budget.directory()?;
        for (name, child) in &mut children {
            budget.entry(name.len())?;
            if let Some(known) = moved.get(child) {
                *child = *known;
                continue;
            }
            let inode = tree.take(*child);
            budget.strings(inode.string_bytes())?;
            let is_directory = matches!(inode.node, Node::Directory(_));
            let id = compacted.add(inode);
            moved.insert(*child, id);
            *child = id;
            if is_directory {
                directories.push(id);
            }
        }
        compacted
            .directory_mut(directory)
            .expect("it was one above")
            .children = children;
    }
    Ok((compacted, budget.entries()))
}

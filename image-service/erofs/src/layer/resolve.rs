//! Where an entry goes: its path, through symbolic links of its own layer.

use std::borrow::Cow;

use super::error::EntryFault;
use super::name::components;
use super::unpack::Unpacker;
use crate::limits::LimitExceeded;
use crate::tree::Node;

/// As many as Linux follows (path_resolution(7)).
const MAX_LINKS: u64 = 40;

impl Unpacker<'_> {
    /// `path` without symbolic links above its last component. They are followed inside the root, as
    /// far as they came earlier in this tar: layers that are made of several tars write through the
    /// links of one into the directories of another. Links of lower layers are not known here, and
    /// a directory replaces them. Both is what containerd does.
    pub(super) fn resolve<'p>(&self, path: &'p [u8]) -> Result<Cow<'p, [u8]>, EntryFault> {
        let mut path = Cow::Borrowed(path);
        for _ in 0..=MAX_LINKS {
            match self.past_link(&components(&path, self.limits)?) {
                Some(further) => path = Cow::Owned(further),
                None => return Ok(path),
            }
        }
        let what = "symbolic links in a path";
        let limit = MAX_LINKS;
        Err(LimitExceeded { what, limit }.into())
    }

    /// The path with its first symbolic link replaced by what that says; `None` if it has none.
    fn past_link(&self, names: &[&[u8]]) -> Option<Vec<u8>> {
        let (_, parents) = names.split_last()?;
        let mut directory = self.tree.root();
        for (depth, name) in parents.iter().enumerate() {
            let child = self.tree.child(directory, name)?;
            match &self.tree[child].node {
                Node::Directory(_) => directory = child,
                Node::Symlink(target) => {
                    let above = match target.first() {
                        Some(b'/') => &[],
                        _ => &names[..depth],
                    };
                    let (above, below) = (above.join(&b'/'), names[depth + 1..].join(&b'/'));
                    return Some([&above, &**target, &below].join(&b'/'));
                }
                _ => return None,
            }
        }
        None
    }
}

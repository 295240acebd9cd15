//! From a path to an inode, through symbolic links that cannot leave the image.

use super::{ImageReader, Inode, ReadError};
use crate::format::inode::TypeBits;
use crate::read_at::ReadAt;

/// As many as Linux follows.
const MAX_LINKS: u32 = 40;

impl<S: ReadAt> ImageReader<S> {
    /// The inode at `path`, every link followed; `None` where a component is missing or no directory.
    pub(super) fn resolve(&self, path: &[u8]) -> Result<Option<Inode>, ReadError> {
        let mut links = 0;
        // From the root to where we are, and what is left to walk, the next component last.
        let mut trail = vec![self.root()?];
        let mut ahead = reversed(path);
        while let Some(name) = ahead.pop() {
            let here = trail.last().expect("the root is never popped");
            if here.raw.type_bits != TypeBits::Directory {
                return Ok(None);
            }
            if name == b".." {
                trail.truncate((trail.len() - 1).max(1));
                continue;
            }
            let Some(next) = self.child(here, &name)? else {
                return Ok(None);
            };
            if next.raw.type_bits != TypeBits::Symlink {
                trail.push(next);
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(ReadError::TooManyLinks);
            }
            let target = self.link_target(&next)?;
            if target.starts_with(b"/") {
                trail.truncate(1);
            }
            ahead.extend(reversed(&target));
        }
        Ok(trail.pop())
    }
}

fn reversed(path: &[u8]) -> Vec<Vec<u8>> {
    let components = path.split(|byte| *byte == b'/');
    let named = components.filter(|name| !name.is_empty() && *name != b".");
    let mut names: Vec<_> = named.map(<[u8]>::to_vec).collect();
    names.reverse();
    names
}

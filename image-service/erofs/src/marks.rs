//! What a layer blob says about lower layers, kept in extended attributes.
//!
//! A tar may not bring any of them: it would speak with the converter's voice.

use std::borrow::Cow;

use crate::format::Malformed;
use crate::format::xattr::{XattrName, Xattrs};
use crate::tree::{Directory, Inode, Node};

/// overlayfs' own, so that blobs can be stacked without us.
const OPAQUE: &[u8] = b"trusted.overlay.opaque";
/// On a directory that the tar never described.
const IMPLICIT: &[u8] = b"trusted.bulkhead.implicit";
/// On an empty file that stands for a hard link; the value is the target's path.
const LINK: &[u8] = b"trusted.bulkhead.link";
const YES: &[u8] = b"y";

const RESERVED: [&[u8]; 3] = [b"trusted.overlay.", b"user.overlay.", b"trusted.bulkhead."];

/// Whether a name is overlayfs' or ours, and may not come out of a tar.
pub(crate) fn is_reserved(name: &[u8]) -> bool {
    RESERVED.iter().any(|prefix| name.starts_with(prefix))
}

/// The attributes of `inode` on disk: its own, and the marks its node implies.
pub(crate) fn stored(inode: &Inode) -> Cow<'_, Xattrs> {
    let mut xattrs = Cow::Borrowed(&inode.xattrs);
    let mut mark = |name: &[u8], value: &[u8]| {
        xattrs.to_mut().insert(known(name), value.into());
    };
    match &inode.node {
        Node::Directory(directory) => {
            if directory.opaque {
                mark(OPAQUE, YES);
            }
            if directory.implicit {
                mark(IMPLICIT, YES);
            }
        }
        Node::LowerLink(target) => mark(LINK, target),
        _ => {}
    }
    xattrs
}

/// Takes a directory's marks off its attributes.
pub(crate) fn take_directory(xattrs: &mut Xattrs) -> Directory {
    Directory {
        opaque: xattrs.remove(&known(OPAQUE)).is_some(),
        implicit: xattrs.remove(&known(IMPLICIT)).is_some(),
        ..Directory::default()
    }
}

/// Takes the target off a link to a lower layer; `None` for an ordinary file.
pub(crate) fn take_link(xattrs: &mut Xattrs) -> Option<Box<[u8]>> {
    xattrs.remove(&known(LINK))
}

/// That nothing reserved is left once the marks are taken.
pub(crate) fn check_taken(xattrs: &Xattrs) -> Result<(), Malformed> {
    if xattrs.keys().any(|name| is_reserved(&name.full())) {
        return Err(Malformed("has a mark on a file that cannot carry it"));
    }
    Ok(())
}

fn known(name: &[u8]) -> XattrName {
    XattrName::parse(name).expect("the marks' names are valid")
}

//! A tree becomes the metadata area of a blob: inodes first, then what does not fit behind them.

mod plan;

use std::io::{self, Seek, Write};

use crate::BLOCK_SIZE;
use crate::block_writer::BlockWriter;
use crate::format::inode::{DataLayout, RawInode, encode_rdev};
use crate::format::{dirent, xattr};
use crate::marks;
use crate::tree::{Content, InodeId, Node};

pub(crate) use plan::MetadataPlan;
use plan::Place;

/// The root's node id. The slots before it stay empty, because user space takes inode number 0 for a
/// deleted entry.
pub(crate) const ROOT_NID: u16 = 2;

/// Writes the area of `plan`, for which `out` must stand at its first block.
///
/// `address` tells where a file's content begins in the address space of the blob.
pub(crate) fn write_metadata<W: Write + Seek>(
    plan: &MetadataPlan<'_>,
    out: &mut BlockWriter<W>,
    address: impl Fn(Content) -> u32,
) -> io::Result<()> {
    let start = out.position();
    debug_assert_eq!(start, plan.first_block() * BLOCK_SIZE);
    let mut bytes = Vec::new();
    for (ino, (id, place)) in (1..).zip(plan.inodes()) {
        bytes.clear();
        encode_inode(plan, id, place, ino, &address, &mut bytes);
        out.pad_to(start + place.offset)?;
        out.write(&bytes)?;
    }
    for (id, place) in plan.inodes().filter(|(_, place)| place.shape.blocks() > 0) {
        out.align()?;
        let data = data(plan, id, place);
        out.write(&data[..data.len() - place.shape.inline_bytes])?;
    }
    out.align()?;
    Ok(())
}

/// The inode, its attributes and the data that stands behind them.
fn encode_inode(
    plan: &MetadataPlan<'_>,
    id: InodeId,
    place: &Place,
    ino: u32,
    address: &impl Fn(Content) -> u32,
    bytes: &mut Vec<u8>,
) {
    let inode = &plan.tree()[id];
    let (size, block_or_rdev) = match inode.node {
        Node::Regular(content) if content.size > 0 => (content.size, address(content)),
        Node::CharDevice(major, minor) | Node::BlockDevice(major, minor) => {
            (0, encode_rdev(major, minor))
        }
        _ => (place.shape.data_bytes, place.block),
    };
    let inline = place.shape.inline_bytes;
    let raw = RawInode {
        layout: if inline > 0 {
            DataLayout::Inline
        } else {
            DataLayout::Plain
        },
        type_bits: inode.type_bits(),
        mode: inode.attributes.mode,
        xattr_bytes: place.shape.xattr_bytes,
        size,
        block_or_rdev,
        ino,
        uid: inode.attributes.uid,
        gid: inode.attributes.gid,
        mtime: inode.attributes.mtime,
        mtime_nsec: inode.attributes.mtime_nsec,
        nlink: place.nlink,
    };
    bytes.extend(raw.encode());
    xattr::encode(&marks::stored(inode), bytes);
    if inline > 0 {
        let data = data(plan, id, place);
        bytes.extend(&data[data.len() - inline..]);
    }
}

/// What a directory or a link contains.
fn data(plan: &MetadataPlan<'_>, id: InodeId, place: &Place) -> Vec<u8> {
    match &plan.tree()[id].node {
        Node::Symlink(target) => target.to_vec(),
        Node::Directory(directory) => dirent::encode(&plan.listing(id, place.parent, directory)),
        _ => Vec::new(),
    }
}

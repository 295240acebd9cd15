//! Where every inode of a tree will stand.

use crate::BLOCK_SIZE;
use crate::format::dirent::{DirectorySize, Dirent};
use crate::format::inode::{INODE_SIZE, SLOT_SIZE, TypeBits};
use crate::format::{BLOCK, blocks_for, xattr};
use crate::limits::LimitExceeded;
use crate::marks;
use crate::tree::{Directory, Inode, InodeId, Node, Tree};

use super::ROOT_NID;

/// The metadata area of a tree, laid out but not written.
#[derive(Debug)]
pub(crate) struct MetadataPlan<'a> {
    tree: &'a Tree,
    first_block: u64,
    end_block: u64,
    /// Named inodes in the order they are written: the children of a directory side by side.
    order: Vec<InodeId>,
    /// Parallel to the tree's arena.
    places: Vec<Option<Place>>,
}

/// One inode's place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// Byte offset within the area.
    pub(crate) offset: u64,
    /// First block of the data that is not behind the inode; 0 without any.
    pub(crate) block: u32,
    pub(crate) shape: Shape,
    /// The directory it was found in, which is `..` of a directory.
    pub(crate) parent: InodeId,
    pub(crate) nlink: u32,
}

/// The sizes of an inode's parts.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shape {
    pub(crate) xattr_bytes: usize,
    /// Of a directory's or a link's data; 0 for other types.
    pub(crate) data_bytes: u64,
    /// The end of that data, where it stands right behind the attributes.
    pub(crate) inline_bytes: usize,
}

impl<'a> MetadataPlan<'a> {
    /// Lays out all that is reachable from the root, from `first_block` on and within `max_blocks`.
    pub(crate) fn new(
        tree: &'a Tree,
        first_block: u64,
        max_blocks: u32,
    ) -> Result<Self, LimitExceeded> {
        let mut plan = Self {
            tree,
            first_block,
            end_block: first_block,
            order: Vec::new(),
            places: vec![None; tree.len()],
        };
        plan.number_inodes();
        let inode_bytes = plan.place_inodes();
        plan.place_blocks(inode_bytes, max_blocks)?;
        Ok(plan)
    }

    pub(crate) fn tree(&self) -> &'a Tree {
        self.tree
    }

    pub(crate) fn first_block(&self) -> u64 {
        self.first_block
    }

    /// The block after the area's last.
    pub(crate) fn end_block(&self) -> u64 {
        self.end_block
    }

    pub(crate) fn inode_count(&self) -> u64 {
        self.order.len() as u64
    }

    /// Inodes in the order they are written.
    pub(crate) fn inodes(&self) -> impl Iterator<Item = (InodeId, &Place)> {
        self.order.iter().map(|id| (*id, self.place(*id)))
    }

    /// A directory's entries as they will stand on disk.
    pub(crate) fn listing(
        &self,
        id: InodeId,
        parent: InodeId,
        directory: &'a Directory,
    ) -> Vec<Dirent<'a>> {
        let entry = |name: &'a [u8], id: InodeId| Dirent {
            name,
            nid: self.place(id).offset / SLOT_SIZE,
            file_type: self.tree[id].type_bits().dirent_type(),
        };
        let children = directory
            .children
            .iter()
            .map(|(name, child)| entry(name, *child));
        with_dots(children.collect(), entry(b".", id), entry(b"..", parent))
    }

    fn place(&self, id: InodeId) -> &Place {
        self.places[id.index()]
            .as_ref()
            .expect("everything reachable was numbered")
    }

    /// Breadth first; counts names, and a directory's subdirectories, as `nlink`.
    fn number_inodes(&mut self) {
        let root = self.tree.root();
        self.meet(root, root);
        // A directory has no name in itself: "." and its own entry in the parent.
        self.count_link(root);
        let mut next = 0;
        while let Some(&id) = self.order.get(next) {
            next += 1;
            let Some(directory) = self.tree.directory(id) else {
                continue;
            };
            for &child in directory.children.values() {
                self.meet(child, id);
                if self.tree[child].is_directory() {
                    self.count_link(child);
                    self.count_link(id);
                }
            }
        }
    }

    fn meet(&mut self, id: InodeId, parent: InodeId) {
        if self.places[id.index()].is_none() {
            let shape = Shape::of(&self.tree[id]);
            self.places[id.index()] = Some(Place {
                offset: 0,
                block: 0,
                shape,
                parent,
                nlink: 0,
            });
            self.order.push(id);
        }
        self.count_link(id);
    }

    fn count_link(&mut self, id: InodeId) {
        if let Some(place) = &mut self.places[id.index()] {
            place.nlink += 1;
        }
    }

    /// Gives every inode its offset and tells where the last one ends.
    fn place_inodes(&mut self) -> u64 {
        let mut end = u64::from(ROOT_NID) * SLOT_SIZE;
        for id in &self.order {
            let place = self.places[id.index()].as_mut().expect("numbered before");
            place.offset = fit(end, place.shape.unbroken());
            end = place.offset + place.shape.bytes();
        }
        end
    }

    fn place_blocks(&mut self, inode_bytes: u64, max_blocks: u32) -> Result<(), LimitExceeded> {
        let mut block = self.first_block + blocks_for(inode_bytes);
        for id in &self.order {
            let place = self.places[id.index()].as_mut().expect("numbered before");
            let blocks = place.shape.blocks();
            if blocks > 0 {
                LimitExceeded::check("blocks", block + blocks, u64::from(max_blocks))?;
                place.block = u32::try_from(block).expect("max_blocks is a u32");
                block += blocks;
            }
        }
        self.end_block = block;
        LimitExceeded::check("blocks", block, u64::from(max_blocks))
    }
}

impl Shape {
    fn of(inode: &Inode) -> Self {
        let xattr_bytes = xattr::area_len(&marks::stored(inode));
        let (data_bytes, tail) = match &inode.node {
            Node::Directory(directory) => directory_size(directory),
            Node::Symlink(target) => (target.len() as u64, target.len()),
            _ => (0, 0),
        };
        // Kernels up to 6.1 want all of a link in the block that its inode begins in.
        let fits = INODE_SIZE + xattr_bytes + tail <= BLOCK;
        Self {
            xattr_bytes,
            data_bytes,
            inline_bytes: if fits { tail } else { 0 },
        }
    }

    /// Blocks of data outside the inode.
    pub(crate) fn blocks(self) -> u64 {
        blocks_for(self.data_bytes - self.inline_bytes as u64)
    }

    fn bytes(self) -> u64 {
        (INODE_SIZE + self.xattr_bytes + self.inline_bytes) as u64
    }

    /// The bytes that must not straddle a block boundary: inline data never may, and then neither does
    /// what is before it; alone, the inode does not either.
    fn unbroken(self) -> u64 {
        if self.inline_bytes > 0 {
            self.bytes()
        } else {
            INODE_SIZE as u64
        }
    }
}

fn directory_size(directory: &Directory) -> (u64, usize) {
    let entry = |name| Dirent {
        name,
        nid: 0,
        file_type: TypeBits::Directory.dirent_type(),
    };
    let children = directory
        .children
        .keys()
        .map(|name| entry(&**name))
        .collect();
    let listing = with_dots(children, entry(b"."), entry(b".."));
    let size = DirectorySize::measure(listing.iter().map(|entry| entry.name));
    (size.bytes(), size.tail)
}

/// Puts `.` and `..` where they belong: some names sort before them.
fn with_dots<'a>(
    mut entries: Vec<Dirent<'a>>,
    dot: Dirent<'a>,
    dot_dot: Dirent<'a>,
) -> Vec<Dirent<'a>> {
    for entry in [dot, dot_dot] {
        let at = entries.partition_point(|other| other.name < entry.name);
        entries.insert(at, entry);
    }
    entries
}

/// The first slot from `end` on where `unbroken` bytes stay within one block.
fn fit(end: u64, unbroken: u64) -> u64 {
    let slot = end.next_multiple_of(SLOT_SIZE);
    let left = BLOCK_SIZE - slot % BLOCK_SIZE;
    if unbroken <= left {
        slot
    } else {
        slot.next_multiple_of(BLOCK_SIZE)
    }
}

//! A file system's names and inodes in memory: what a layer says, or what layers add up to.

use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};

use crate::format::inode::TypeBits;
use crate::format::xattr::Xattrs;

/// An inode's place in its [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct InodeId(u32);

/// Inodes in an arena, named from the root directory.
///
/// Hard links are several names with one id. An inode without a name stays in the arena and is
/// written nowhere.
#[derive(Debug)]
pub(crate) struct Tree {
    inodes: Vec<Inode>,
}

/// A file with everything but its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inode {
    pub(crate) attributes: Attributes,
    pub(crate) xattrs: Xattrs,
    pub(crate) node: Node,
}

/// Mode, owner and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// Permissions, setuid, setgid, sticky.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: i64,
    pub(crate) mtime_nsec: u32,
}

/// What kind of file it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    Directory(Box<Directory>),
    Regular(Content),
    Symlink(Box<[u8]>),
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
    Socket,
    /// Hides this name in lower layers.
    Whiteout,
    /// A hard link to a path of lower layers.
    LowerLink(Box<[u8]>),
}

/// A directory's names and how it treats the same directory in lower layers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Directory {
    pub(crate) children: BTreeMap<Box<[u8]>, InodeId>,
    /// The layer never described it: its attributes are those of the lower layer.
    pub(crate) implicit: bool,
    /// Hides the names that lower layers put into it.
    pub(crate) opaque: bool,
}

/// Where a regular file's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    /// Index of the layer that holds them.
    pub(crate) layer: u32,
    /// First block within that layer.
    pub(crate) block: u32,
    pub(crate) size: u64,
}

impl Attributes {
    /// Of a directory that nobody described.
    pub(crate) const DEFAULT_DIRECTORY: Self = Self {
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: 0,
        mtime_nsec: 0,
    };
}

impl Inode {
    /// A directory that is only known because something is in it.
    pub(crate) fn implicit_directory() -> Self {
        Self {
            attributes: Attributes::DEFAULT_DIRECTORY,
            xattrs: Xattrs::new(),
            node: Node::Directory(Box::new(Directory {
                implicit: true,
                ..Directory::default()
            })),
        }
    }

    pub(crate) fn is_directory(&self) -> bool {
        matches!(self.node, Node::Directory(_))
    }

    /// The type on disk; a link to a lower layer is kept as an empty file.
    pub(crate) fn type_bits(&self) -> TypeBits {
        match self.node {
            Node::Directory(_) => TypeBits::Directory,
            Node::Regular(_) | Node::LowerLink(_) => TypeBits::Regular,
            Node::Symlink(_) => TypeBits::Symlink,
            Node::CharDevice(..) | Node::Whiteout => TypeBits::CharDevice,
            Node::BlockDevice(..) => TypeBits::BlockDevice,
            Node::Fifo => TypeBits::Fifo,
            Node::Socket => TypeBits::Socket,
        }
    }

    /// Bytes of strings it holds, for the [`Budget`](crate::limits::Budget).
    pub(crate) fn string_bytes(&self) -> usize {
        let xattrs: usize = self
            .xattrs
            .iter()
            .map(|(name, v)| 96 + name.suffix_len() + v.len())
            .sum();
        match &self.node {
            Node::Symlink(target) | Node::LowerLink(target) => xattrs + target.len(),
            _ => xattrs,
        }
    }
}

impl Tree {
    /// Only an implicit root.
    pub(crate) fn new() -> Self {
        Self {
            inodes: vec![Inode::implicit_directory()],
        }
    }

    pub(crate) fn root(&self) -> InodeId {
        InodeId(0)
    }

    /// Inodes in the arena, nameless ones included.
    pub(crate) fn len(&self) -> usize {
        self.inodes.len()
    }

    /// Takes in an inode that has no name yet.
    pub(crate) fn add(&mut self, inode: Inode) -> InodeId {
        let id = u32::try_from(self.inodes.len()).expect("entries are limited to fewer than 2^32");
        self.inodes.push(inode);
        InodeId(id)
    }

    /// Every inode of the arena.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (InodeId, &Inode)> {
        (0..).map(InodeId).zip(&self.inodes)
    }

    /// Moves an inode out; what is left in its place has no meaning.
    pub(crate) fn take(&mut self, id: InodeId) -> Inode {
        let taken = Inode {
            attributes: Attributes::DEFAULT_DIRECTORY,
            xattrs: Xattrs::new(),
            node: Node::Fifo,
        };
        std::mem::replace(&mut self[id], taken)
    }

    pub(crate) fn directory(&self, id: InodeId) -> Option<&Directory> {
        match &self[id].node {
            Node::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    pub(crate) fn directory_mut(&mut self, id: InodeId) -> Option<&mut Directory> {
        match &mut self[id].node {
            Node::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    pub(crate) fn child(&self, directory: InodeId, name: &[u8]) -> Option<InodeId> {
        self.directory(directory)?.children.get(name).copied()
    }

    /// What has this name, following no symbolic link.
    pub(crate) fn lookup(&self, path: &[u8]) -> Option<InodeId> {
        path.split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
            .try_fold(self.root(), |directory, name| self.child(directory, name))
    }

    /// Gives `id` the name `name` in `directory`, taking it from whatever had it.
    pub(crate) fn link(&mut self, directory: InodeId, name: &[u8], id: InodeId) {
        let directory = self
            .directory_mut(directory)
            .expect("callers link into directories");
        directory.children.insert(name.into(), id);
    }
}

impl InodeId {
    /// For tables that run parallel to the arena.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

impl Index<InodeId> for Tree {
    type Output = Inode;

    fn index(&self, id: InodeId) -> &Inode {
        &self.inodes[id.index()]
    }
}

impl IndexMut<InodeId> for Tree {
    fn index_mut(&mut self, id: InodeId) -> &mut Inode {
        &mut self.inodes[id.index()]
    }
}

//! Layers by the book: paths in maps, nothing clever. What the crate makes must be the same.

use std::collections::{BTreeMap, BTreeSet};

use crate::image::{File, Files, Kind};
use crate::tar::Entry;

type Path = Vec<Vec<u8>>;

/// A model of one layer, or of the sum of layers.
#[derive(Debug, Clone, Default)]
struct Names {
    /// Inode by path; the root's path is empty.
    paths: BTreeMap<Path, usize>,
    inodes: Vec<Inode>,
    whiteouts: BTreeSet<Path>,
    opaque: BTreeSet<Path>,
}

#[derive(Debug, Clone)]
struct Inode {
    kind: Option<Kind>,
    /// What a link that found nothing was looking for.
    wanted: Path,
    mode: u16,
    owner: (u32, u32),
    mtime: (i64, u32),
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Nobody described this directory.
    implicit: bool,
}

/// What layers of these entries add up to; `None` where some tool must refuse.
pub(crate) fn files(layers: &[Vec<Entry>]) -> Option<Files> {
    let mut sum = Names::default();
    sum.directory(&Vec::new());
    for entries in layers {
        let layer = layer(entries)?;
        sum = lay_over(sum, &layer)?;
    }
    Some(seen(&sum))
}

fn layer(entries: &[Entry]) -> Option<Names> {
    let mut names = Names::default();
    names.directory(&Vec::new());
    let mut open = Vec::new();
    for entry in entries {
        let path = names.place(split(&entry.path))?;
        let Some((last, parent)) = path.split_last() else {
            names.describe(&Vec::new(), entry);
            continue;
        };
        names.directory(parent);
        match last.strip_prefix(b".wh.") {
            Some(b".wh..opq") => {
                names.opaque.insert(parent.to_vec());
            }
            Some(hidden) => {
                names
                    .whiteouts
                    .insert([parent, &[hidden.to_vec()]].concat());
            }
            None if entry.flag == b'1' => {
                let target = names.place(split(&entry.link))?;
                let inode = match names.paths.get(&target) {
                    Some(inode) if names.inodes[*inode].is_directory() => return None,
                    Some(inode) => *inode,
                    None => {
                        open.push(names.inodes.len());
                        names.inodes.push(Inode {
                            wanted: target,
                            ..Inode::nobodys(None)
                        });
                        names.inodes.len() - 1
                    }
                };
                names.remove(&path);
                names.paths.insert(path, inode);
            }
            None => names.describe(&path, entry),
        }
    }
    names.close(open);
    Some(names)
}

fn lay_over(lower: Names, layer: &Names) -> Option<Names> {
    let mut sum = lower.clone();
    for path in &layer.opaque {
        sum.paths
            .retain(|other, _| !(other.starts_with(path) && other != path));
    }
    for path in &layer.whiteouts {
        sum.remove(path);
    }
    let mut brought = BTreeMap::new();
    for (path, &id) in &layer.paths {
        let inode = &layer.inodes[id];
        let below = sum.paths.get(path).copied();
        match below.filter(|below| sum.inodes[*below].is_directory() && inode.is_directory()) {
            Some(_) if inode.implicit => {}
            Some(below) => sum.inodes[below] = inode.clone(),
            None => {
                sum.remove(path);
                let id = match inode.kind {
                    Some(_) => *brought.entry(id).or_insert_with(|| {
                        sum.inodes.push(inode.clone());
                        sum.inodes.len() - 1
                    }),
                    None => *lower.paths.get(&inode.wanted)?,
                };
                if inode.kind.is_none() && sum.inodes[id].is_directory() {
                    return None;
                }
                sum.paths.insert(path.clone(), id);
            }
        }
    }
    Some(sum)
}

fn seen(names: &Names) -> Files {
    let mut files = Files::new();
    let mut first = BTreeMap::new();
    for (path, id) in names.by_joined_path() {
        let inode = &names.inodes[id];
        let children = |path: &[u8]| {
            let is_child = |(other, id): &(&Path, &usize)| {
                other.len() == split(path).len() + 1
                    && other.starts_with(&split(path))
                    && names.inodes[**id].is_directory()
            };
            names.paths.iter().filter(is_child).count()
        };
        let nlink = match inode.is_directory() {
            true => 2 + children(&path),
            false => names.paths.values().filter(|other| **other == id).count(),
        };
        let file = File {
            kind: inode.kind.clone().unwrap(),
            mode: inode.mode,
            uid: inode.owner.0,
            gid: inode.owner.1,
            mtime: inode.mtime,
            nlink: u32::try_from(nlink).unwrap(),
            xattrs: inode.xattrs.clone(),
            first: first.entry(id).or_insert(path.clone()).clone(),
        };
        files.insert(path, file);
    }
    files
}

impl Names {
    /// Where this path leads, links above its last name followed.
    fn place(&self, mut path: Path) -> Option<Path> {
        for _ in 0..=40 {
            let link = |len: usize| match &self.inodes[*self.paths.get(&path[..len])?].kind {
                Some(Kind::Symlink(target)) => Some((len, target)),
                _ => None,
            };
            let Some((len, target)) = (1..path.len()).find_map(link) else {
                return Some(path);
            };
            let above = path[..len - 1].join(&b'/');
            let above = if target.starts_with(b"/") {
                Vec::new()
            } else {
                above
            };
            path = split(&[&above, &target[..], &path[len..].join(&b'/')].join(&b'/'));
        }
        None
    }

    /// Makes `path` a directory, and what is above it.
    fn directory(&mut self, path: &[Vec<u8>]) {
        for len in 0..=path.len() {
            let path = &path[..len];
            let known = self
                .paths
                .get(path)
                .is_some_and(|id| self.inodes[*id].is_directory());
            if !known {
                self.remove(path);
                self.inodes.push(Inode::nobodys(Some(Kind::Directory)));
                self.paths.insert(path.to_vec(), self.inodes.len() - 1);
            }
        }
    }

    /// Puts a file or a directory at `path`.
    fn describe(&mut self, path: &Path, entry: &Entry) {
        let inode = Inode::of(entry);
        match self.paths.get(path) {
            Some(id) if self.inodes[*id].is_directory() && inode.is_directory() => {
                self.inodes[*id] = inode;
            }
            _ => {
                self.remove(path);
                self.inodes.push(inode);
                self.paths.insert(path.clone(), self.inodes.len() - 1);
            }
        }
    }

    /// Takes away `path`, and all that is below it or said about it.
    fn remove(&mut self, path: &[Vec<u8>]) {
        self.paths.retain(|other, _| !other.starts_with(path));
        self.whiteouts
            .retain(|other| !(other.starts_with(path) && other != path));
        self.opaque.retain(|other| !other.starts_with(path));
    }

    /// Links whose target came later, and whiteouts of names the layer has itself.
    fn close(&mut self, open: Vec<usize>) {
        for link in open.into_iter().rev() {
            let found = self.paths.get(&self.inodes[link].wanted).copied();
            let Some(found) = found.filter(|found| {
                let inode = &self.inodes[*found];
                inode.kind.is_some() && !inode.is_directory()
            }) else {
                continue;
            };
            self.paths
                .values_mut()
                .filter(|id| **id == link)
                .for_each(|id| *id = found);
        }
        for path in self.whiteouts.clone() {
            if let Some(id) = self.paths.get(&path) {
                self.inodes[*id].implicit = false;
            }
        }
    }

    fn by_joined_path(&self) -> BTreeMap<Vec<u8>, usize> {
        self.paths
            .iter()
            .map(|(path, id)| (path.join(&b'/'), *id))
            .collect()
    }
}

impl Inode {
    fn nobodys(kind: Option<Kind>) -> Self {
        Self {
            kind,
            wanted: Path::new(),
            mode: 0o755,
            owner: (0, 0),
            mtime: (0, 0),
            xattrs: BTreeMap::new(),
            implicit: true,
        }
    }

    fn of(entry: &Entry) -> Self {
        let kind = match entry.flag {
            b'0' => Kind::Regular(entry.content.clone()),
            b'2' => Kind::Symlink(entry.link.clone()),
            b'3' => Kind::Char(entry.device.0, entry.device.1),
            b'4' => Kind::Block(entry.device.0, entry.device.1),
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => panic!("the model has no type {other}"),
        };
        let mode = if entry.flag == b'2' {
            0o777
        } else {
            entry.mode
        };
        let xattr = |(key, value): &(String, Vec<u8>)| {
            let name = key.strip_prefix("SCHILY.xattr.")?;
            Some((name.as_bytes().to_vec(), value.clone()))
        };
        Self {
            kind: Some(kind),
            mode: u16::try_from(mode).unwrap(),
            owner: (
                u32::try_from(entry.uid).unwrap(),
                u32::try_from(entry.gid).unwrap(),
            ),
            mtime: (entry.mtime, 0),
            xattrs: entry.pax.iter().filter_map(xattr).collect(),
            implicit: false,
            ..Self::nobodys(None)
        }
    }

    fn is_directory(&self) -> bool {
        self.kind == Some(Kind::Directory)
    }
}

fn split(path: &[u8]) -> Path {
    let mut names = Path::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()),
            name => names.push(name.to_vec()),
        }
    }
    names
}

//! What readers see of an image, in a form that compares.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use erofs_image::{
    DiskSource, FileType, ImageLayout, ImageReader, ImageUuid, LayerError, LayerOptions,
    LayerSummary, Limits, MergeError, MergeOptions, MergedSummary, ReadError, convert_layer, merge,
};
use erofs_rs::EroFS;
use erofs_rs::backend::SliceImage;

use crate::tar::Tar;

/// Every file by path; the root's is empty.
pub(crate) type Files = BTreeMap<Vec<u8>, File>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) kind: Kind,
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: (i64, u32),
    pub(crate) nlink: u32,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first path of the inode: its own, unless it is a hard link.
    pub(crate) first: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    Regular(Vec<u8>),
    Symlink(Vec<u8>),
    Char(u32, u32),
    Block(u32, u32),
    Fifo,
}

/// Layer blobs and the image merged from them.
pub(crate) struct Image {
    pub(crate) layers: Vec<Vec<u8>>,
    pub(crate) merged: Vec<u8>,
    pub(crate) summary: MergedSummary,
}

pub(crate) fn options() -> LayerOptions {
    LayerOptions {
        uuid: ImageUuid::from_sha256(&[1; 32]),
        limits: Limits::default(),
    }
}

pub(crate) fn convert(tar: &[u8]) -> Result<(Vec<u8>, LayerSummary), LayerError> {
    let mut blob = Cursor::new(Vec::new());
    let summary = convert_layer(tar, &mut blob, &options())?;
    assert_eq!(
        blob.get_ref().len() as u64,
        u64::from(summary.blocks) * 4096
    );
    Ok((blob.into_inner(), summary))
}

pub(crate) fn merge_blobs(layers: Vec<Vec<u8>>) -> Result<Image, MergeError> {
    let mut merged = Cursor::new(Vec::new());
    let uuid = ImageUuid::from_sha256(&[2; 32]);
    let summary = merge(
        &layers,
        &mut merged,
        &MergeOptions {
            uuid,
            limits: Limits::default(),
        },
    )?;
    let merged = merged.into_inner();
    assert_eq!(
        merged.len() as u64,
        u64::from(summary.layout.merged_blocks) * 4096
    );
    assert_eq!(ImageLayout::read(&merged).unwrap(), summary.layout);
    Ok(Image {
        layers,
        merged,
        summary,
    })
}

/// Converts and merges, where both must work.
#[track_caller]
pub(crate) fn image(tars: impl IntoIterator<Item = Tar>) -> Image {
    let layers = tars
        .into_iter()
        .map(|tar| convert(&tar.finish()).unwrap().0)
        .collect();
    merge_blobs(layers).unwrap()
}

impl Image {
    /// What all readers see, which must be the same.
    #[track_caller]
    pub(crate) fn files(&self) -> Files {
        let files = read(&self.open());
        let disk = self.guest_disk();
        assert_eq!(read(&ImageReader::open_guest_disk(&disk).unwrap()), files);
        let layers = self
            .layers
            .iter()
            .map(|layer| SliceImage::new(layer))
            .collect();
        let host = EroFS::new_with_devices(SliceImage::new(&self.merged), layers).unwrap();
        assert_eq!(read_otherwise(&host), files);
        assert_eq!(
            read_otherwise(&EroFS::new(SliceImage::new(&disk)).unwrap()),
            files
        );
        files
    }

    pub(crate) fn open(&self) -> ImageReader<&Vec<u8>> {
        ImageReader::open(&self.merged, self.layers.iter().collect()).unwrap()
    }

    pub(crate) fn guest_disk(&self) -> Vec<u8> {
        let layout = &self.summary.layout;
        let mut disk = Vec::new();
        for extent in layout.guest_disk() {
            let source = match extent.source {
                DiskSource::Merged => &self.merged,
                DiskSource::Layer(index) => &self.layers[index],
            };
            let start = usize::try_from(extent.offset).unwrap();
            disk.extend(&source[start..start + usize::try_from(extent.len).unwrap()]);
        }
        assert_eq!(disk.len() as u64, u64::from(layout.total_blocks()) * 4096);
        disk
    }
}

/// What our reader sees.
pub(crate) fn read<S: erofs_image::ReadAt>(reader: &ImageReader<S>) -> Files {
    let mut files = Files::new();
    let mut first = BTreeMap::new();
    reader
        .walk(&Limits::default(), |entry| {
            let metadata = entry.metadata;
            let kind = match metadata.file_type {
                FileType::Directory => Kind::Directory,
                FileType::Regular => Kind::Regular(reader.read_inode(metadata.inode, usize::MAX)?),
                FileType::Symlink => Kind::Symlink(entry.link_target.clone()),
                FileType::CharDevice(major, minor) => Kind::Char(major, minor),
                FileType::BlockDevice(major, minor) => Kind::Block(major, minor),
                FileType::Fifo => Kind::Fifo,
                FileType::Socket => panic!("a socket"),
            };
            let file = File {
                kind,
                mode: metadata.mode,
                uid: metadata.uid,
                gid: metadata.gid,
                mtime: (metadata.mtime, metadata.mtime_nsec),
                nlink: metadata.nlink,
                xattrs: entry.xattrs.iter().cloned().collect(),
                first: first
                    .entry(metadata.inode)
                    .or_insert(entry.path.clone())
                    .clone(),
            };
            assert_eq!(files.insert(entry.path.clone(), file), None);
            Ok::<_, ReadError>(())
        })
        .unwrap();
    with_sorted_first(files)
}

/// What a reader of another make sees.
fn read_otherwise(image: &EroFS<SliceImage<'_>>) -> Files {
    let mut files = Files::new();
    let mut first = BTreeMap::new();
    let root = image
        .get_inode(image.super_block().root_inode_id())
        .unwrap();
    let mut met = vec![(Vec::new(), root)];
    for entry in image.walk_dir("/").unwrap() {
        let entry = entry.unwrap();
        let path = entry
            .dir_entry
            .path()
            .as_bytes()
            .strip_prefix(b"/")
            .unwrap()
            .to_vec();
        met.push((path, entry.inode));
    }
    for (path, inode) in met {
        let kind = match inode.file_type().as_raw_mode() {
            0o040_000 => Kind::Directory,
            0o100_000 => {
                let mut content = Vec::new();
                image
                    .open_inode_file(inode)
                    .unwrap()
                    .read_to_end(&mut content)
                    .unwrap();
                Kind::Regular(content)
            }
            0o120_000 => Kind::Symlink(image.read_link_inode(inode).unwrap().as_bytes().to_vec()),
            0o020_000 => {
                let (major, minor) = inode.device().unwrap();
                Kind::Char(major, minor)
            }
            0o060_000 => {
                let (major, minor) = inode.device().unwrap();
                Kind::Block(major, minor)
            }
            0o010_000 => Kind::Fifo,
            other => panic!("{other:o}"),
        };
        let mode = std::os::unix::fs::PermissionsExt::mode(&inode.permissions());
        let file = File {
            kind,
            mode: u16::try_from(mode & 0o7777).unwrap(),
            uid: inode.uid(),
            gid: inode.gid(),
            mtime: inode.modified_unix(),
            nlink: inode.nlink(),
            xattrs: image.xattrs_inode(inode).unwrap(),
            first: first.entry(inode.id()).or_insert(path.clone()).clone(),
        };
        assert_eq!(files.insert(path, file), None);
    }
    with_sorted_first(files)
}

/// Readers walk in different orders; the first path is to be the smallest.
fn with_sorted_first(mut files: Files) -> Files {
    let mut smallest = BTreeMap::new();
    for (path, file) in &files {
        smallest
            .entry(file.first.clone())
            .or_insert_with(|| path.clone());
    }
    for file in files.values_mut() {
        file.first = smallest[&file.first].clone();
    }
    files
}

//! A stranger's tar: it becomes a blob that our reader and our merge understand, or is refused.
#![no_main]

use erofs_image::{
    FileType, ImageReader, ImageUuid, LayerOptions, Limits, MergeError, MergeOptions, ReadError,
    convert_layer, merge,
};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use std::io::Cursor;

const BLOCK: usize = 512;

/// A tar, well formed but for what the entries say.
#[derive(Arbitrary, Debug)]
enum Tar<'a> {
    Raw(&'a [u8]),
    Entries(Vec<Entry<'a>>),
}

#[derive(Arbitrary, Debug)]
struct Entry<'a> {
    kind: u8,
    name: Name<'a>,
    link: Name<'a>,
    mode: u16,
    owner: u32,
    body: Body<'a>,
    /// Bytes of the header that are something else.
    slips: Vec<(u16, u8)>,
}

#[derive(Arbitrary, Debug)]
enum Name<'a> {
    Known(u8),
    Any(&'a [u8]),
}

#[derive(Arbitrary, Debug)]
enum Body<'a> {
    None,
    Bytes(&'a [u8]),
    /// PAX records that are well formed.
    Records(Vec<(u8, &'a [u8])>),
}

const KINDS: &[u8; 16] = b"0125346gxLKS7\0Vx";
const NAMES: [&[u8]; 16] = [
    b"a",
    b"a/",
    b"a/b",
    b"./a/../b",
    b"/",
    b"",
    b".wh.a",
    b"a/.wh.b",
    b".wh..wh..opq",
    b"a/.wh..wh..opq",
    b".wh..wh.plnk/1",
    b"b",
    b"a/b/c/d/e/f",
    b"../../x",
    b"d",
    b"etc/passwd",
];
const KEYS: [&str; 16] = [
    "path",
    "linkpath",
    "size",
    "uid",
    "gid",
    "mtime",
    "SCHILY.xattr.user.a",
    "SCHILY.xattr.trusted.overlay.opaque",
    "SCHILY.xattr.security.capability",
    "GNU.sparse.major",
    "GNU.sparse.minor",
    "GNU.sparse.name",
    "GNU.sparse.realsize",
    "GNU.sparse.map",
    "LIBARCHIVE.xattr.user.b",
    "SCHILY.xattr.system.posix_acl_access",
];

impl Name<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Name::Known(index) => NAMES[usize::from(*index) % NAMES.len()],
            Name::Any(bytes) => bytes,
        }
    }
}

impl Body<'_> {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Body::None => Vec::new(),
            Body::Bytes(bytes) => bytes.to_vec(),
            Body::Records(records) => records.iter().flat_map(|r| record(r.0, r.1)).collect(),
        }
    }
}

fn record(key: u8, value: &[u8]) -> Vec<u8> {
    let key = KEYS[usize::from(key) % KEYS.len()];
    let body = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
    // The length counts its own digits.
    let digits = (1..).find(|n| (body.len() + n).to_string().len() == *n);
    let length = body.len() + digits.expect("some number of digits fits");
    [length.to_string().as_bytes(), &body].concat()
}

impl Entry<'_> {
    fn append_to(&self, tar: &mut Vec<u8>) {
        let body = self.body.bytes();
        let mut header = [0; BLOCK];
        put(&mut header, 0, 100, self.name.bytes());
        put(
            &mut header,
            100,
            8,
            format!("{:07o}", self.mode & 0o7777).as_bytes(),
        );
        put(
            &mut header,
            108,
            8,
            format!("{:07o}", self.owner & 0o7777777).as_bytes(),
        );
        put(&mut header, 116, 8, b"0000000");
        put(
            &mut header,
            124,
            12,
            format!("{:011o}", body.len()).as_bytes(),
        );
        put(&mut header, 136, 12, b"00000000000");
        header[156] = KINDS[usize::from(self.kind) % KINDS.len()];
        put(&mut header, 157, 100, self.link.bytes());
        put(&mut header, 257, 8, b"ustar\x0000");
        for (at, byte) in self.slips.iter().take(8) {
            header[usize::from(*at) % BLOCK] = *byte;
        }
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        put(&mut header, 148, 8, format!("{sum:06o}\0 ").as_bytes());
        tar.extend(header);
        tar.extend(body);
        tar.resize(tar.len().next_multiple_of(BLOCK), 0);
    }
}

fn put(header: &mut [u8; BLOCK], at: usize, room: usize, bytes: &[u8]) {
    let len = bytes.len().min(room);
    header[at..at + len].copy_from_slice(&bytes[..len]);
}

fuzz_target!(|tar: Tar<'_>| {
    let mut bytes = Vec::new();
    match tar {
        Tar::Raw(raw) => bytes.extend(raw),
        Tar::Entries(entries) => {
            entries
                .iter()
                .take(64)
                .for_each(|entry| entry.append_to(&mut bytes));
            bytes.extend([0; 2 * BLOCK]);
        }
    }
    let limits = limits();
    let uuid = ImageUuid::from_sha256(&[7; 32]);
    let options = LayerOptions {
        uuid,
        limits: limits.clone(),
    };
    let mut blob = Cursor::new(Vec::new());
    let Ok(summary) = convert_layer(&bytes[..], &mut blob, &options) else {
        return;
    };
    let blob = blob.into_inner();
    assert_eq!(summary.tar_bytes, bytes.len() as u64);
    assert_eq!(
        u64::from(summary.blocks) * erofs_image::BLOCK_SIZE,
        blob.len() as u64
    );
    let layer = ImageReader::open_layer(&blob).expect("our blob opens");
    read_all(&layer, &limits);
    check_merge(&[&blob], &limits);
    check_merge(&[&blob, &blob], &limits);
});

fn limits() -> Limits {
    Limits {
        max_entries: 1000,
        max_tree_bytes: 1 << 20,
        max_blocks: 256,
        ..Limits::default()
    }
}

fn check_merge(layers: &[&Vec<u8>], limits: &Limits) {
    let uuid = ImageUuid::from_sha256(&[9; 32]);
    let options = MergeOptions {
        uuid,
        limits: limits.clone(),
    };
    let mut merged = Cursor::new(Vec::new());
    match merge(layers, &mut merged, &options) {
        Ok(_) => {}
        Err(MergeError::LinkTarget { .. } | MergeError::TooLarge(_)) => return,
        Err(MergeError::Layer {
            source: ReadError::Limit(_),
            ..
        }) => return,
        Err(error) => panic!("our blobs merge, but: {error:?}"),
    }
    let merged = merged.into_inner();
    let image = ImageReader::open(&merged, layers.to_vec()).expect("our image opens");
    read_all(&image, limits);
}

/// Everything in what we wrote can be read.
fn read_all<S: erofs_image::ReadAt>(image: &ImageReader<S>, limits: &Limits) {
    // A merge has the names of both layers, and the root.
    let limits = Limits {
        max_entries: limits.max_entries * 2 + 1,
        ..limits.clone()
    };
    let walked = image.walk(&limits, |entry| {
        if entry.metadata.file_type == FileType::Regular {
            image.read_inode(entry.metadata.inode, 1 << 20)?;
        }
        Ok::<(), ReadError>(())
    });
    walked.expect("our own blob can be walked");
}

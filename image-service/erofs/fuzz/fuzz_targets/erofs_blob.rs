//! A blob that rotted: reading and merging it is an error or gives some answer, in bounded time.
#![no_main]

use std::io::Cursor;
use std::sync::OnceLock;

use erofs_image::{
    FileType, ImageReader, ImageUuid, LayerOptions, Limits, MergeOptions, ReadAt, ReadError,
    convert_layer, merge,
};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

const BLOCK: usize = 4096;
const SUPERBLOCK: usize = 1024;

/// What became different.
#[derive(Arbitrary, Debug)]
struct Rot {
    merged: bool,
    patches: Vec<(u16, u32)>,
    /// The superblock's checksum no longer fits.
    unsummed: bool,
}

fuzz_target!(|rot: Rot| {
    let (layer, image) = healthy();
    let mut blob = if rot.merged {
        image.clone()
    } else {
        layer.clone()
    };
    for (at, value) in rot.patches.iter().take(32) {
        // Most of what matters is where numbers are aligned.
        let at = usize::from(*at) * 4 % (blob.len() - 4);
        blob[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    if !rot.unsummed {
        blob[SUPERBLOCK + 4..SUPERBLOCK + 8].fill(0);
        let sum = !crc32c::crc32c(&blob[SUPERBLOCK..BLOCK]);
        blob[SUPERBLOCK + 4..SUPERBLOCK + 8].copy_from_slice(&sum.to_le_bytes());
    }
    if rot.merged {
        ImageReader::open(&blob, vec![layer])
            .iter()
            .for_each(read_all);
        ImageReader::open_guest_disk(&blob)
            .iter()
            .for_each(read_all);
    } else {
        ImageReader::open_layer(&blob).iter().for_each(read_all);
        let options = MergeOptions {
            uuid: ImageUuid::from_sha256(&[1; 32]),
            limits: limits(),
        };
        let _ = merge(&[&blob, layer], Cursor::new(Vec::new()), &options);
    }
});

fn limits() -> Limits {
    Limits {
        max_entries: 1000,
        max_tree_bytes: 1 << 20,
        max_blocks: 1024,
        ..Limits::default()
    }
}

fn read_all<S: ReadAt>(image: &ImageReader<S>) {
    let _ = image.walk(&limits(), |entry| {
        if entry.metadata.file_type == FileType::Regular {
            let _ = image.read_inode(entry.metadata.inode, 16 << 10);
        }
        Ok::<(), ReadError>(())
    });
    let _ = image.read_file(b"etc/passwd", 1 << 20);
    let _ = image.read_file(b"link/../loop", 1 << 20);
}

/// A layer's blob and the image of it, as we write them.
fn healthy() -> &'static (Vec<u8>, Vec<u8>) {
    static HEALTHY: OnceLock<(Vec<u8>, Vec<u8>)> = OnceLock::new();
    HEALTHY.get_or_init(|| {
        let options = LayerOptions {
            uuid: ImageUuid::from_sha256(&[2; 32]),
            limits: limits(),
        };
        let mut layer = Cursor::new(Vec::new());
        convert_layer(&tar()[..], &mut layer, &options).expect("the tar is well formed");
        let layer = layer.into_inner();
        let options = MergeOptions {
            uuid: ImageUuid::from_sha256(&[3; 32]),
            limits: limits(),
        };
        let mut image = Cursor::new(Vec::new());
        merge(&[&layer], &mut image, &options).expect("the layer is ours");
        (layer, image.into_inner())
    })
}

/// Some of each kind of file.
fn tar() -> Vec<u8> {
    let mut tar = Vec::new();
    let long = vec![b'x'; 9000];
    let many: Vec<String> = (0..110)
        .map(|n| format!("many/a-rather-long-name-{n:04}"))
        .collect();
    entry(&mut tar, b'5', "etc/", "", b"");
    entry(&mut tar, b'0', "etc/passwd", "", b"root:x:0:0::/:/bin/sh\n");
    entry(&mut tar, b'0', "long", "", &long);
    entry(&mut tar, b'1', "hard", "long", b"");
    entry(&mut tar, b'2', "link", "etc/passwd", b"");
    entry(&mut tar, b'2', "loop", "loop", b"");
    entry(&mut tar, b'3', "null", "", b"");
    entry(&mut tar, b'0', ".wh.gone", "", b"");
    entry(
        &mut tar,
        b'x',
        "pax",
        "",
        b"31 SCHILY.xattr.user.key=value\n",
    );
    entry(&mut tar, b'0', "attributed", "", b"");
    for name in &many {
        entry(&mut tar, b'0', name, "", b"1");
    }
    tar.extend([0; 1024]);
    tar
}

fn entry(tar: &mut Vec<u8>, kind: u8, name: &str, link: &str, body: &[u8]) {
    let mut header = [0; 512];
    let mut put = |at: usize, text: &str| {
        header[at..at + text.len()].copy_from_slice(text.as_bytes());
    };
    put(0, name);
    put(100, "0000755");
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{:011o}", body.len()));
    put(136, "00000000000");
    put(157, link);
    // A device 0:0 would be a whiteout.
    put(329, "0000001");
    put(337, "0000003");
    put(257, "ustar\x0000");
    put(148, "        ");
    header[156] = kind;
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar.extend(header);
    tar.extend(body);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

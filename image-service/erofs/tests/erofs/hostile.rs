//! Bytes that nobody meant well: no panic, no endless loop, no memory beyond the limits.

use std::io::{self, Cursor, Read};

use erofs_image::{
    ImageReader, LayerOptions, Limits, MergeOptions, ReadError, convert_layer, merge,
};
use proptest::prelude::*;

use crate::image::{convert, image, options};
use crate::tar::{Entry, Tar, seal};

fn small() -> Limits {
    Limits {
        max_blocks: 4096,
        max_tree_bytes: 1 << 20,
        ..Limits::default()
    }
}

fn good_tar() -> Vec<u8> {
    Tar::default()
        .add(
            Entry::directory("d")
                .pax("SCHILY.xattr.user.a", "b")
                .pax("mtime", "1.5"),
        )
        .add(
            Entry::file("d/f", [5; 700])
                .pax("GNU.sparse.size", "9000")
                .pax("GNU.sparse.map", "8300,700"),
        )
        .add(Entry::symlink("n".repeat(150), "t".repeat(150)))
        .add(Entry::hard_link("h", "d/f"))
        .add(Entry::file("d/.wh.x", ""))
        .add(Entry::char_device("c", 1, 3))
        .finish()
}

/// Converts, and if that worked merges and reads all of it.
fn swallow(tar: &[u8]) {
    let mut blob = Cursor::new(Vec::new());
    let layer = LayerOptions {
        limits: small(),
        ..options()
    };
    if convert_layer(tar, &mut blob, &layer).is_ok() {
        swallow_blob(blob.get_ref());
    }
}

fn swallow_blob(blob: &Vec<u8>) {
    let uuid = options().uuid;
    let mut merged = Cursor::new(Vec::new());
    if merge(
        &[blob],
        &mut merged,
        &MergeOptions {
            uuid,
            limits: small(),
        },
    )
    .is_ok()
    {
        walk(&ImageReader::open(merged.get_ref(), vec![blob]).unwrap()).unwrap();
    }
    if let Ok(reader) = ImageReader::open_layer(blob) {
        let _ = walk(&reader);
        let _ = reader.read_file(b"d/f", 1 << 20);
    }
}

fn walk(reader: &ImageReader<&Vec<u8>>) -> Result<(), ReadError> {
    reader.walk(&small(), |entry| {
        let _ = reader.read_inode(entry.metadata.inode, 1 << 20);
        Ok(())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        swallow(&bytes);
        swallow_blob(&bytes);
    }

    #[test]
    fn damaged_tars_are_survived(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut tar = good_tar();
        for (at, byte) in damage {
            let at = at.index(tar.len());
            tar[at] = byte;
        }
        // What looks like a header gets its checksum back, or nothing behind it would be reached.
        for block in tar.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
            seal(block);
        }
        swallow(&tar);
        swallow(&tar[..cut.index(tar.len())]);
    }

    #[test]
    fn damaged_blobs_are_survived(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let (mut blob, _) = convert(&good_tar()).unwrap();
        for (at, byte) in damage {
            // Block 0, with its checksum, and the metadata at the end.
            let metadata = blob.len() - 4096;
            let at = at.index(4096 + 128);
            let at = if at < 128 { 1024 + at } else { metadata + at - 128 };
            blob[at] = byte;
        }
        blob[1028..1032].fill(0);
        let checksum = !crc32c::crc32c(&blob[1024..4096]);
        blob[1028..1032].copy_from_slice(&checksum.to_le_bytes());
        swallow_blob(&blob);
    }

    #[test]
    fn damaged_images_are_survived(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut image = image([good_tar()].map(|tar| Tar::default().raw(&tar)));
        let at = at.index(image.merged.len());
        image.merged[at] = byte;
        if let Ok(reader) = ImageReader::open(&image.merged, image.layers.iter().collect()) {
            let _ = walk(&reader);
        }
    }
}

/// Repeats a piece forever, and counts what is taken.
struct Endless<'a> {
    piece: &'a [u8],
    at: usize,
    taken: u64,
}

impl Read for Endless<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(self.piece.len() - self.at);
        buffer[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at = (self.at + count) % self.piece.len();
        self.taken += count as u64;
        Ok(count)
    }
}

#[test]
fn endless_headers_end_at_a_limit() {
    let pieces = [
        Tar::default().add(Entry::file("a", "")).unfinished(),
        Tar::default().add(Entry::file("d/.wh.a", "")).unfinished(),
        Tar::default()
            .add(Entry::hard_link("a", "missing"))
            .unfinished(),
        Tar::default().add(Entry::new(b'x', "pax")).unfinished(),
        Tar::default().add(Entry::new(b'L', "long")).unfinished(),
    ];
    for piece in pieces {
        let mut tar = Endless {
            piece: &piece,
            at: 0,
            taken: 0,
        };
        let layer = LayerOptions {
            limits: small(),
            ..options()
        };
        assert!(convert_layer(&mut tar, Cursor::new(Vec::new()), &layer).is_err());
        assert!(tar.taken < 64 << 20, "{}", tar.taken);
    }
}

#[test]
fn an_endless_sparse_map_ends_at_a_limit() {
    let head = Entry::new(b'0', "f")
        .pax("GNU.sparse.major", "1")
        .pax("GNU.sparse.minor", "0")
        .pax("GNU.sparse.realsize", "9");
    let head = Tar::default()
        .add(Entry {
            size: Some(1 << 40),
            ..head
        })
        .unfinished();
    for piece in [&b"0"[..], b"1\n"] {
        let mut tar = Endless {
            piece,
            at: 0,
            taken: 0,
        };
        let layer = LayerOptions {
            limits: small(),
            ..options()
        };
        let tar = (&*head).chain(&mut tar);
        assert!(convert_layer(tar, Cursor::new(Vec::new()), &layer).is_err());
    }
}

#[test]
fn sizes_that_overflow_are_refused() {
    let size = u64::MAX - 511;
    let twice = Tar::default()
        .add(Entry {
            size: Some(512),
            content: vec![b'n'; 512],
            ..Entry::new(b'L', "long")
        })
        .add(Entry {
            size: Some(size),
            ..Entry::new(b'x', "pax")
        });
    assert!(convert(&twice.finish()).is_err());
    let entries = [
        Entry {
            size: Some(size),
            ..Entry::new(b'g', "g")
        },
        Entry {
            size: Some(u64::MAX),
            ..Entry::file("a", "")
        },
        Entry::file("a", "").pax("size", u64::MAX.to_string()),
        Entry::file("a", "")
            .pax("GNU.sparse.size", u64::MAX.to_string())
            .pax("GNU.sparse.map", ""),
    ];
    for entry in entries {
        assert!(convert(&Tar::default().add(entry).finish()).is_err());
    }
}

/// Bytes of the first two inodes in a small layer blob: of the root, which has inline entries, and of
/// its first child.
const ROOT: usize = 64;
const CHILD: usize = 192;

/// What a merge says about the blob of these entries once its metadata is changed.
#[track_caller]
fn rotten(entries: &[Entry], change: impl Fn(&mut [u8])) -> String {
    // An undescribed root would carry a mark between its inode and its entries.
    let tar = entries
        .iter()
        .cloned()
        .fold(Tar::default().add(Entry::directory("./")), Tar::add);
    let (mut blob, _) = convert(&tar.finish()).unwrap();
    let metadata = blob.len() - 4096;
    change(&mut blob[metadata..]);
    let uuid = options().uuid;
    let merged = MergeOptions {
        uuid,
        limits: small(),
    };
    let error = merge(&[blob], Cursor::new(Vec::new()), &merged).unwrap_err();
    format!("{error}: {}", std::error::Error::source(&error).unwrap())
}

#[test]
fn what_is_rotten_is_named() {
    let file = [Entry::file("a", "x"), Entry::file("b", "x")];
    let outside = rotten(&file, |blob| blob[CHILD + 16..CHILD + 20].fill(0xff));
    assert_eq!(
        outside,
        "read layer 0: image blob has a file outside of itself"
    );
    let header = rotten(&file, |blob| blob[CHILD + 16..CHILD + 20].fill(0));
    assert_eq!(header, outside);

    let entries = ROOT + 64;
    let names = entries + 4 * 12;
    let order = rotten(&file, |blob| blob[names + 3] = b'c');
    assert_eq!(
        order,
        "read layer 0: image blob has a directory out of order"
    );

    let cycle = rotten(&[Entry::directory("d")], |blob| blob[entries + 2 * 12] = 2);
    assert_eq!(
        cycle,
        "read layer 0: image blob has a directory with two names"
    );

    let marked = Entry::symlink("l", "x").pax("SCHILY.xattr.trusted.bulkhead_link", "etc/shadow");
    let marked = rotten(&[marked], |blob| {
        let at = blob
            .windows(9)
            .position(|bytes| bytes == b"bulkhead_")
            .unwrap();
        blob[at + 8] = b'.';
    });
    assert_eq!(
        marked,
        "read layer 0: image blob has a mark on a file that cannot carry it"
    );

    let across = rotten(&[Entry::symlink("l", "t".repeat(3000))], |blob| {
        blob[CHILD + 8..CHILD + 10].copy_from_slice(&4000_u16.to_le_bytes());
    });
    assert_eq!(
        across,
        "read layer 0: image blob has inline data across a block boundary"
    );
}

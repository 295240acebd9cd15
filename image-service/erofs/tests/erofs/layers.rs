//! What a tar says, entry by entry, and what is refused.

use std::collections::BTreeMap;
use std::io::{Cursor, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;

use erofs_image::{
    CONVERTER_VERSION, EntryFault, ImageReader, LayerError, LayerErrorKind, Limits, convert_layer,
};

use crate::image::{Files, Kind, convert, image, options, read};
use crate::tar::{Entry, Tar, seal};

/// The files of a layer of these entries, merged on its own.
#[track_caller]
fn files(entries: impl IntoIterator<Item = Entry>) -> Files {
    image([entries.into_iter().collect()]).files()
}

/// The fault that the only bad entry is refused for.
#[track_caller]
fn fault(entry: Entry) -> EntryFault {
    match convert(&Tar::default().add(entry).finish()).unwrap_err() {
        LayerError::Entry { source, .. } => source,
        other => panic!("{other:?}"),
    }
}

fn content(files: &Files, path: &str) -> Vec<u8> {
    match &files[path.as_bytes()].kind {
        Kind::Regular(content) => content.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn attributes_survive() {
    let files = files([
        Entry {
            mode: 0o104_755,
            ..Entry::file("su", "x")
        },
        Entry {
            uid: 3_000_000,
            gid: u32::MAX.into(),
            ..Entry::file("big", "")
        },
        Entry::file("pax", "")
            .pax("uid", "4000000000")
            .pax("gid", "7"),
        Entry {
            mode: 0o7777,
            ..Entry::directory("sticky/")
        },
        Entry {
            mode: 0o600,
            ..Entry::symlink("link", "no/where")
        },
        Entry::file("fraction", "").pax("mtime", "12.000000345678"),
        Entry {
            mtime: -86_400,
            ..Entry::file("old", "")
        },
        Entry::file("older", "").pax("mtime", "-1.5"),
    ]);
    let get = |path: &str| files[path.as_bytes()].clone();
    assert_eq!(get("su").mode, 0o4755);
    assert_eq!((get("big").uid, get("big").gid), (3_000_000, u32::MAX));
    assert_eq!((get("pax").uid, get("pax").gid), (4_000_000_000, 7));
    assert_eq!(get("sticky").mode, 0o7777);
    assert_eq!(get("link").mode, 0o777);
    assert_eq!(get("link").kind, Kind::Symlink(b"no/where".to_vec()));
    assert_eq!(get("fraction").mtime, (12, 345));
    assert_eq!(get("old").mtime, (-86_400, 0));
    assert_eq!(get("older").mtime, (-2, 500_000_000));
}

#[test]
fn special_files_survive() {
    let files = files([
        Entry::char_device("null", 1, 3),
        Entry {
            device: (259, 1_048_575),
            ..Entry::new(b'4', "disk")
        },
        Entry::new(b'6', "pipe"),
        Entry::file("old\u{1f600}", "as is"),
        Entry::new(b'7', "continuous"),
    ]);
    assert_eq!(files[&b"null"[..]].kind, Kind::Char(1, 3));
    assert_eq!(files[&b"disk"[..]].kind, Kind::Block(259, 1_048_575));
    assert_eq!(files[&b"pipe"[..]].kind, Kind::Fifo);
    assert_eq!(content(&files, "old\u{1f600}"), b"as is");
    assert_eq!(content(&files, "continuous"), b"");
}

#[test]
fn long_names_come_in_three_ways() {
    let long = vec![b'n'; 255];
    let deep = [&b"d/".repeat(60)[..], &long].concat();
    let files = files([
        Entry::file(&deep, "gnu"),
        Entry::file("short", "pax").pax("path", [&b"pax/"[..], &long].concat()),
        Entry::symlink("gnu-link", "t".repeat(4095)),
        Entry::symlink("pax-link", "x").pax("linkpath", "u".repeat(300)),
    ]);
    assert_eq!(files[&deep].kind, Kind::Regular(b"gnu".to_vec()));
    assert_eq!(
        files[&[&b"pax/"[..], &long].concat()].kind,
        Kind::Regular(b"pax".to_vec())
    );
    assert_eq!(
        files[&b"gnu-link"[..]].kind,
        Kind::Symlink(vec![b't'; 4095])
    );
    assert_eq!(files[&b"pax-link"[..]].kind, Kind::Symlink(vec![b'u'; 300]));
}

#[test]
fn an_empty_pax_path_leaves_the_headers_name() {
    assert!(files([Entry::file("name", "").pax("path", "")]).contains_key(&b"name"[..]));
}

#[test]
fn attributes_with_names_survive_and_overlays_do_not() {
    let files = files([
        Entry::file("a", "x")
            .pax("SCHILY.xattr.security.capability", [1, 0, 0, 2, 0, 255])
            .pax("SCHILY.xattr.system.posix_acl_access", [2, 0, 0, 0])
            .pax("LIBARCHIVE.xattr.user.mime%20type", "dGV4dA")
            .pax("SCHILY.xattr.trusted.overlay.redirect", "/etc/shadow"),
        Entry::directory("d").pax("SCHILY.xattr.trusted.overlay.opaque", "y"),
        Entry::symlink("l", "a").pax("SCHILY.xattr.trusted.x", vec![b'v'; 4000]),
    ]);
    let expected = BTreeMap::from([
        (b"security.capability".to_vec(), vec![1, 0, 0, 2, 0, 255]),
        (b"system.posix_acl_access".to_vec(), vec![2, 0, 0, 0]),
        (b"user.mime type".to_vec(), b"text".to_vec()),
    ]);
    assert_eq!(files[&b"a"[..]].xattrs, expected);
    assert!(files[&b"d"[..]].xattrs.is_empty());
    assert_eq!(files[&b"l"[..]].xattrs[&b"trusted.x"[..]].len(), 4000);
}

#[test]
fn hard_links_share_an_inode() {
    let files = files([
        Entry::file("a", "content"),
        Entry::hard_link("d/b", "./a"),
        Entry::symlink("s", "nowhere"),
        Entry::hard_link("t", "/s"),
        Entry::hard_link("earliest", "early"),
        Entry::hard_link("early", "late"),
        Entry::file("late", "came after"),
    ]);
    assert_eq!(files[&b"d/b"[..]].first, b"a");
    assert_eq!(files[&b"a"[..]].nlink, 2);
    assert_eq!(files[&b"t"[..]].kind, Kind::Symlink(b"nowhere".to_vec()));
    assert_eq!(files[&b"t"[..]].first, b"s");
    assert_eq!(content(&files, "early"), b"came after");
    assert_eq!(files[&b"late"[..]].first, b"earliest");
}

#[test]
fn the_last_of_equal_names_wins() {
    let files = files([
        Entry::file("f", "first"),
        Entry::hard_link("kept", "f"),
        Entry::file("f", "second"),
        Entry::directory("d"),
        Entry::file("d/child", ""),
        Entry {
            mode: 0o700,
            ..Entry::directory("d")
        },
        Entry::directory("gone"),
        Entry::file("gone/child", ""),
        Entry::symlink("gone", "d"),
    ]);
    assert_eq!(content(&files, "f"), b"second");
    assert_eq!(content(&files, "kept"), b"first");
    assert_eq!(files[&b"d"[..]].mode, 0o700);
    assert!(files.contains_key(&b"d/child"[..]));
    assert!(!files.contains_key(&b"gone/child"[..]));
}

#[test]
fn a_link_of_the_same_layer_is_followed_inside_the_root() {
    let files = files([
        Entry::directory("usr/lib"),
        Entry::symlink("lib", "usr/lib"),
        Entry::file("lib/foo", "x"),
        Entry::hard_link("linked", "lib/foo"),
        Entry::symlink("usr/lib64", "../../../lib"),
        Entry::file("usr/lib64/sub/deep", ""),
        Entry::symlink("etc", "/"),
        Entry::file("etc/passwd", "root"),
        Entry::symlink("usr/absent", "/not/here"),
        Entry::file("usr/absent/file", ""),
        Entry::hard_link("early", "lib/late"),
        Entry::file("usr/lib/late", "late"),
    ]);
    for link in ["lib", "usr/lib64", "etc", "usr/absent"] {
        let kind = &files[link.as_bytes()].kind;
        assert!(matches!(kind, Kind::Symlink(_)), "{link}: {kind:?}");
    }
    assert_eq!(content(&files, "usr/lib/foo"), b"x");
    assert_eq!(files[&b"usr/lib/foo"[..]].nlink, 2);
    assert_eq!(content(&files, "early"), b"late");
    for path in ["usr/lib/sub/deep", "passwd", "not/here/file"] {
        assert!(files.contains_key(path.as_bytes()), "{path}");
    }
}

#[test]
fn a_link_that_is_described_again_is_replaced() {
    let files = files([
        Entry::directory("usr/lib"),
        Entry::symlink("lib", "usr/lib"),
        Entry::directory("lib/"),
        Entry::file("lib/foo", ""),
    ]);
    assert_eq!(files[&b"lib"[..]].kind, Kind::Directory);
    assert!(!files.contains_key(&b"usr/lib/foo"[..]));
}

#[test]
fn whiteouts_go_where_links_lead() {
    let below = [
        Entry::file("usr/lib/gone", ""),
        Entry::file("usr/lib/kept", ""),
        Entry::file("opt/gone", ""),
    ];
    let layer = [
        Entry::symlink("lib", "usr/lib"),
        Entry::file("lib/.wh.gone", ""),
        Entry::symlink("o", "opt"),
        Entry::file("o/.wh..wh..opq", ""),
    ];
    let files = image([below.into_iter().collect(), layer.into_iter().collect()]).files();
    let names: Vec<_> = files
        .keys()
        .map(|path| path.escape_ascii().to_string())
        .collect();
    assert_eq!(
        names,
        ["", "lib", "o", "opt", "usr", "usr/lib", "usr/lib/kept"]
    );
}

#[test]
fn links_that_lead_nowhere_are_refused() {
    let through = |links: Vec<Entry>, entry: Entry| {
        let tar = links.into_iter().fold(Tar::default(), Tar::add);
        convert(&tar.add(entry).finish())
    };
    let chain = |length: u32| {
        let link = |n| Entry::symlink(format!("l{n}"), format!("l{}", n + 1));
        (1..=length).map(link).collect::<Vec<_>>()
    };
    assert!(through(chain(40), Entry::file("l1/file", "")).is_ok());
    let bad = [
        (chain(41), Entry::file("l1/file", "")),
        (vec![Entry::symlink("a", "a")], Entry::file("a/file", "")),
        (vec![Entry::symlink("a", "a/b")], Entry::file("a/.wh.b", "")),
        (
            vec![Entry::symlink("a", "b"), Entry::symlink("b", "/a")],
            Entry::hard_link("c", "a/file"),
        ),
        (
            vec![Entry::symlink("a", "d/".repeat(500))],
            Entry::file(format!("a/{}", "e/".repeat(20)), ""),
        ),
    ];
    for (links, entry) in bad {
        let error = through(links, entry).unwrap_err();
        assert_eq!(error.kind(), LayerErrorKind::Limit, "{error:?}");
    }
    let hidden = vec![Entry::symlink("a", ".wh.b")];
    let error = through(hidden, Entry::file("a/file", "")).unwrap_err();
    assert_eq!(error.kind(), LayerErrorKind::Invalid);
}

#[test]
fn blobs_stack_as_overlay_layers() {
    let tar = Tar::default()
        .add(Entry::file("d/.wh..wh..opq", ""))
        .add(Entry::file("d/.wh.gone", ""))
        .add(Entry::directory("back"))
        .add(Entry::file(".wh.back", ""))
        .add(Entry::hard_link("linked", "below"));
    let (blob, summary) = convert(&tar.finish()).unwrap();
    let files = read(&ImageReader::open_layer(&blob).unwrap());
    let mark = |path: &[u8], name: &str| files[path].xattrs.get(name.as_bytes()).cloned();
    assert_eq!(files[&b"d/gone"[..]].kind, Kind::Char(0, 0));
    assert_eq!(mark(b"d", "trusted.overlay.opaque").unwrap(), b"y");
    assert_eq!(mark(b"back", "trusted.overlay.opaque").unwrap(), b"y");
    assert_eq!(mark(b"d", "trusted.bulkhead.implicit").unwrap(), b"y");
    assert_eq!(mark(b"back", "trusted.bulkhead.implicit"), None);
    assert_eq!(mark(b"linked", "trusted.bulkhead.link").unwrap(), b"below");
    assert_eq!(
        (summary.whiteouts, summary.lower_links, summary.entries),
        (2, 1, 5)
    );
}

#[test]
fn only_files_have_content() {
    // A directory that claims 512 bytes: the next block is a header, as for every Go program.
    let files = files([
        Entry {
            size: Some(512),
            ..Entry::directory("d")
        },
        Entry {
            size: Some(512),
            ..Entry::symlink("s", "d")
        },
        Entry::file("f", "x"),
    ]);
    assert_eq!(content(&files, "f"), b"x");
}

#[test]
fn global_records_change_nothing() {
    let mut global = Entry::new(b'g', "pax_global_header");
    global.content = b"19 path=elsewhere\n".to_vec();
    let files = files([global, Entry::file("here", "x")]);
    assert_eq!(content(&files, "here"), b"x");
}

#[test]
fn a_version_7_name_with_a_slash_is_a_directory() {
    let mut tar = Tar::default().add(Entry::new(0, "dir/")).finish();
    tar[257..265].fill(0);
    seal(&mut tar[..512]);
    let (blob, _) = convert(&tar).unwrap();
    let files = read(&ImageReader::open_layer(&blob).unwrap());
    assert_eq!(files[&b"dir"[..]].kind, Kind::Directory);
}

#[test]
fn sparse_files_are_filled_in_all_formats() {
    let expected = [&[0; 5000][..], b"data", &[0; 996], b"more", &[0; 100]].concat();
    let stored = || Entry::file("sparse", "datamore");
    let size = expected.len().to_string();

    let mut gnu = Tar::default()
        .add(Entry {
            flag: b'S',
            ..stored()
        })
        .finish();
    let map = [(5000, 4), (6000, 4)];
    for (slot, (offset, length)) in gnu[386..482].chunks_mut(24).zip(map) {
        slot[..11].copy_from_slice(format!("{offset:011o}").as_bytes());
        slot[12..23].copy_from_slice(format!("{length:011o}").as_bytes());
    }
    gnu[483..494].copy_from_slice(format!("{:011o}", expected.len()).as_bytes());
    seal(&mut gnu[..512]);

    let v0 = stored()
        .pax("GNU.sparse.size", &size)
        .pax("GNU.sparse.numblocks", "2")
        .pax("GNU.sparse.offset", "5000")
        .pax("GNU.sparse.numbytes", "4")
        .pax("GNU.sparse.offset", "6000")
        .pax("GNU.sparse.numbytes", "4");
    let v01 = stored()
        .pax("GNU.sparse.size", &size)
        .pax("GNU.sparse.map", "5000,4,6000,4");
    let map = b"2\n5000\n4\n6000\n4\n";
    let v1 = Entry::file(
        "placeholder",
        [&map[..], &vec![0; 512 - map.len()], b"datamore"].concat(),
    )
    .pax("GNU.sparse.major", "1")
    .pax("GNU.sparse.minor", "0")
    .pax("GNU.sparse.name", "sparse")
    .pax("GNU.sparse.realsize", &size);

    for tar in [
        gnu,
        [v0].into_iter().collect::<Tar>().finish(),
        tar(v01),
        tar(v1),
    ] {
        let (blob, _) = convert(&tar).unwrap();
        let files = read(&ImageReader::open_layer(&blob).unwrap());
        assert_eq!(content(&files, "sparse"), expected);
    }
}

fn tar(entry: Entry) -> Vec<u8> {
    Tar::default().add(entry).finish()
}

#[test]
fn a_huge_hole_takes_no_room() {
    let size = (4_u64 << 30) + 1;
    let entry = Entry::file("huge", "x")
        .pax("GNU.sparse.size", size.to_string())
        .pax("GNU.sparse.map", format!("{},1", size - 1));
    let mut blob = tempfile::tempfile().unwrap();
    let tar = Tar::default()
        .add(entry)
        .add(Entry::file("after", "y"))
        .finish();
    let summary = convert_layer(&*tar, &mut blob, &options()).unwrap();
    let metadata = blob.metadata().unwrap();
    assert_eq!(metadata.len(), u64::from(summary.blocks) * 4096);
    assert!(
        metadata.blocks() * 512 < 1 << 20,
        "{} blocks",
        metadata.blocks()
    );
    let reader = ImageReader::open_layer(&blob).unwrap();
    assert_eq!(reader.metadata(b"huge").unwrap().unwrap().size, size);
    assert_eq!(reader.read_file(b"after", 10).unwrap().unwrap(), b"y");
}

#[test]
fn broken_sparse_maps_are_refused() {
    for map in [
        "5,1,4,1",
        "0,3",
        "0,1,1",
        "18446744073709551615,2",
        "99,2",
        "a,2",
    ] {
        let entry = Entry::file("f", "xx")
            .pax("GNU.sparse.size", "100")
            .pax("GNU.sparse.map", map);
        assert!(convert(&tar(entry)).is_err(), "{map}");
    }
    let without_map = Entry::file("f", "xx").pax("GNU.sparse.size", "100");
    assert_eq!(fault(without_map), EntryFault::BadSparseMap);
}

#[test]
fn what_no_runtime_may_unpack_is_refused() {
    assert_eq!(
        fault(Entry::char_device("a", 0, 0)),
        EntryFault::WhiteoutDevice
    );
    assert!(matches!(
        fault(Entry::char_device("a", 4096, 0)),
        EntryFault::DeviceOutOfRange { .. }
    ));
    assert_eq!(
        fault(Entry::symlink("./", "/")),
        EntryFault::RootNotDirectory
    );
    assert_eq!(fault(Entry::file("..", "")), EntryFault::RootNotDirectory);
    assert_eq!(fault(Entry::symlink("a", "")), EntryFault::BadLinkTarget);
    assert_eq!(
        fault(Entry::symlink("a", "x").pax("linkpath", "a\0b")),
        EntryFault::NulInPath
    );
    assert_eq!(
        fault(Entry::file("a", "").pax("path", "a\0b")),
        EntryFault::NulInPath
    );
    assert_eq!(
        fault(Entry::file("n".repeat(256), "")),
        EntryFault::NameTooLong
    );
    assert_eq!(fault(Entry::new(b'M', "a")), EntryFault::UnknownType(b'M'));
    assert_eq!(
        fault(Entry {
            uid: 1 << 32,
            ..Entry::file("a", "")
        }),
        EntryFault::IdOutOfRange(1 << 32)
    );
    for path in [
        ".wh.",
        "d/.wh..",
        ".wh...",
        ".wh..wh.plnk/x",
        ".wh..wh.aufs",
        ".wh.d/x",
    ] {
        assert_eq!(
            fault(Entry::file(path, "")),
            EntryFault::BadWhiteout,
            "{path}"
        );
    }
    let to_directory = Tar::default()
        .add(Entry::directory("d"))
        .add(Entry::hard_link("l", "d"));
    let error = convert(&to_directory.finish()).unwrap_err();
    assert_eq!(error.kind(), LayerErrorKind::Invalid);
    assert_eq!(error.to_string(), "unpack tar entry \"l\"");
}

#[test]
fn limits_hold() {
    let check = |limits: Limits, entry: Entry| {
        let options = erofs_image::LayerOptions {
            limits,
            ..options()
        };
        let tar = Tar::default()
            .add(Entry::file("first", ""))
            .add(entry)
            .finish();
        let error = convert_layer(&*tar, Cursor::new(Vec::new()), &options).unwrap_err();
        assert_eq!(error.kind(), LayerErrorKind::Limit, "{error:?}");
    };
    let limits = Limits::default;
    check(
        Limits {
            max_entries: 1,
            ..limits()
        },
        Entry::file("a", ""),
    );
    check(
        Limits {
            max_tree_bytes: 500,
            ..limits()
        },
        Entry::directory("a"),
    );
    check(
        Limits {
            max_tree_bytes: 900,
            ..limits()
        },
        Entry::symlink("a", "t".repeat(1000)),
    );
    let described = Entry::directory("/").pax("SCHILY.xattr.user.a", vec![0; 2000]);
    check(
        Limits {
            max_tree_bytes: 2000,
            ..limits()
        },
        described,
    );
    check(
        Limits {
            max_depth: 2,
            ..limits()
        },
        Entry::file("a/b/c", ""),
    );
    check(
        Limits {
            max_path_bytes: 20,
            ..limits()
        },
        Entry::file("a/".repeat(11), ""),
    );
    check(
        Limits {
            max_blocks: 2,
            ..limits()
        },
        Entry::file("a", "x"),
    );
    check(
        Limits {
            max_blocks: 3,
            ..limits()
        },
        Entry {
            size: Some(1 << 60),
            ..Entry::file("a", "")
        },
    );
    let xattr = Entry::file("a", "").pax("SCHILY.xattr.user.a", vec![0; 2000]);
    check(
        Limits {
            max_xattr_bytes: 1000,
            ..limits()
        },
        xattr,
    );
}

#[test]
fn a_tar_cut_anywhere_is_an_error_or_ends_between_entries() {
    let tar = Tar::default()
        .add(Entry::file("a", [1; 600]))
        .add(Entry::file("b", "").pax("mtime", "1"))
        .unfinished();
    let ends: Vec<_> = (0..=tar.len())
        .filter(|cut| convert(&tar[..*cut]).is_ok())
        .collect();
    // Content may lack its padding at the very end, as for Go.
    let unpadded = 512 + 600;
    assert!(
        ends.iter()
            .all(|end| *end == 0 || *end == unpadded + 424 || *end == tar.len()),
        "{ends:?}"
    );
    let error = convert(&tar[..700]).unwrap_err();
    assert!(
        matches!(error, LayerError::Truncated { bytes: 700 }),
        "{error:?}"
    );
}

#[test]
fn the_reader_is_drained() {
    let tar = Tar::default().add(Entry::file("a", "x")).finish();
    let padded = [tar, vec![0; 20_000]].concat();
    let mut reader = Cursor::new(&padded);
    let summary = convert_layer(&mut reader, Cursor::new(Vec::new()), &options()).unwrap();
    assert_eq!(summary.tar_bytes, padded.len() as u64);
    assert_eq!(reader.position(), padded.len() as u64);
}

#[test]
fn an_empty_layer_is_an_empty_root() {
    for tar in [Vec::new(), vec![0; 512], vec![0; 1024], vec![0; 10_240]] {
        let (blob, summary) = convert(&tar).unwrap();
        assert_eq!((summary.entries, summary.blocks), (0, 2));
        assert_eq!(read(&ImageReader::open_layer(&blob).unwrap()).len(), 1);
    }
}

#[test]
fn large_directories_keep_all_their_names() {
    let count = 20_000;
    let entries = (0..count).map(|n| Entry::file(format!("d/{n:x}-{}", "n".repeat(n % 200)), ""));
    assert_eq!(files(entries).len(), count + 2);
}

#[test]
fn inline_data_stays_within_a_block_however_inodes_fall() {
    let link = |n: usize| Entry::symlink(format!("{n:03}"), "t".repeat(n * 7 + 1));
    let files = files((0..500).map(link));
    for n in 0..500 {
        let file = &files[format!("{n:03}").as_bytes()];
        assert_eq!(file.kind, Kind::Symlink(vec![b't'; n * 7 + 1]));
    }
}

/// Fails when the same tar becomes other bytes: then blobs of two versions differ on a cluster's nodes,
/// so `CONVERTER_VERSION` must grow together with this number.
#[test]
fn the_format_changes_only_with_its_version() {
    let tar = Tar::default()
        .add(Entry::directory("d"))
        .add(Entry::file("d/f", vec![7; 5000]).pax("SCHILY.xattr.user.a", "b"))
        .add(Entry::symlink("l", "d/f"))
        .add(Entry::hard_link("h", "d/f"))
        .add(Entry::file("i/.wh.x", ""))
        .add(Entry::hard_link("j", "below"))
        .add(Entry::symlink("k", "d"))
        .add(Entry::file("k/g", ""));
    let (blob, _) = convert(&tar.finish()).unwrap();
    assert_eq!(
        (CONVERTER_VERSION, crc32c::crc32c(&blob)),
        (2, 1_804_016_156)
    );
}

#[test]
fn a_blob_that_cannot_be_written_is_our_fault() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    impl Seek for Full {
        fn seek(&mut self, _: SeekFrom) -> std::io::Result<u64> {
            Ok(0)
        }
    }
    let tar = Tar::default().add(Entry::file("a", "x")).finish();
    let error = convert_layer(&*tar, Full, &options()).unwrap_err();
    assert_eq!(error.kind(), LayerErrorKind::Write);
}

//! Layers on layers.

use std::io::Cursor;

use erofs_image::{ImageLayout, Limits, MergeError, MergeOptions, PlacedLayer, merge};

use crate::image::{Files, Kind, convert, image, merge_blobs, options};
use crate::tar::{Entry, Tar};

#[track_caller]
fn files<const N: usize>(layers: [&[Entry]; N]) -> Files {
    image(layers.map(|entries| entries.iter().cloned().collect())).files()
}

#[test]
fn whiteouts_hide_only_what_is_below() {
    let files = files([
        &[
            Entry::file("d/old", "1"),
            Entry::file("d/kept", "1"),
            Entry::file("f", "1"),
        ],
        &[
            Entry::file("d/.wh.old", ""),
            Entry::file("f", "2"),
            Entry::file(".wh.f", ""),
        ],
    ]);
    assert!(!files.contains_key(&b"d/old"[..]));
    assert!(files.contains_key(&b"d/kept"[..]));
    assert_eq!(files[&b"f"[..]].kind, Kind::Regular(b"2".to_vec()));
}

#[test]
fn an_opaque_mark_after_its_siblings_hides_only_what_is_below() {
    let files = files([
        &[Entry::file("d/old", ""), Entry::file("d/sub/old", "")],
        &[
            Entry::file("d/new", ""),
            Entry::file("d/sub/new", ""),
            Entry::file("d/.wh..wh..opq", ""),
        ],
    ]);
    let names: Vec<_> = files
        .keys()
        .map(|path| path.escape_ascii().to_string())
        .collect();
    assert_eq!(names, ["", "d", "d/new", "d/sub", "d/sub/new"]);
}

#[test]
fn undescribed_parents_are_as_below() {
    let tmp = Entry {
        mode: 0o1777,
        uid: 5,
        ..Entry::directory("tmp")
    };
    let files = files([
        &[tmp.pax("SCHILY.xattr.user.a", "b")],
        &[Entry::file("other", "")],
        &[Entry::file("tmp/x", ""), Entry::file("new/y", "")],
    ]);
    assert_eq!(
        (files[&b"tmp"[..]].mode, files[&b"tmp"[..]].uid),
        (0o1777, 5)
    );
    assert_eq!(files[&b"tmp"[..]].xattrs.len(), 1);
    assert_eq!(
        (files[&b"new"[..]].mode, files[&b"new"[..]].mtime),
        (0o755, (0, 0))
    );
}

#[test]
fn a_directory_behind_a_whiteout_starts_from_nothing() {
    let files = files([
        &[
            Entry {
                mode: 0o1777,
                ..Entry::directory("d")
            },
            Entry::file("d/old", ""),
        ],
        &[Entry::file("d/new", ""), Entry::file(".wh.d", "")],
    ]);
    assert_eq!(files[&b"d"[..]].mode, 0o755);
    assert!(!files.contains_key(&b"d/old"[..]));
}

#[test]
fn a_file_below_a_link_of_a_lower_layer_replaces_the_link() {
    let files = files([
        &[
            Entry::file("usr/lib/a", ""),
            Entry::symlink("lib", "usr/lib"),
        ],
        &[Entry::file("lib/b", "")],
    ]);
    assert_eq!(files[&b"lib"[..]].kind, Kind::Directory);
    assert!(files.contains_key(&b"usr/lib/a"[..]) && !files.contains_key(&b"usr/lib/b"[..]));
}

#[test]
fn hard_links_reach_into_lower_layers() {
    let files = files([
        &[Entry::file("a", "content")],
        &[Entry::hard_link("b", "a"), Entry::hard_link("c", "b")],
        &[Entry::hard_link("d", "a"), Entry::file(".wh.a", "")],
    ]);
    for path in [b"b", b"c", b"d"] {
        assert_eq!(files[&path[..]].kind, Kind::Regular(b"content".to_vec()));
        assert_eq!(
            (files[&path[..]].nlink, &*files[&path[..]].first),
            (3, &b"b"[..])
        );
    }
    assert!(!files.contains_key(&b"a"[..]));
}

#[test]
fn a_link_to_nothing_is_an_error_that_names_it() {
    let lower = convert(&Tar::default().add(Entry::directory("d")).finish())
        .unwrap()
        .0;
    for target in ["missing", "d", "missing/too", ""] {
        let tar = Tar::default().add(Entry::hard_link("l", "x").pax("linkpath", target));
        let Ok((upper, _)) = convert(&tar.finish()) else {
            continue;
        };
        let merged = merge_blobs(vec![lower.clone(), upper]);
        assert!(
            matches!(merged, Err(MergeError::LinkTarget { layer: 1, .. })),
            "{target}"
        );
    }
}

#[test]
fn no_layers_make_an_empty_root_and_many_a_long_table() {
    assert_eq!(files([]).len(), 1);
    let many = image((0..200).map(|n| Tar::default().add(Entry::file(n.to_string(), [n; 10]))));
    assert_eq!(many.files().len(), 201);
    assert_eq!(many.summary.entries, 200);
}

#[test]
fn files_are_found_at_the_end_of_the_address_space() {
    let image = image([
        Tar::default().add(Entry::file("first", vec![1; 10_000])),
        Tar::default(),
        Tar::default().add(Entry::file("last", vec![3; 10_000])),
    ]);
    let layout = &image.summary.layout;
    assert_eq!(layout.layers.len(), 3);
    assert_eq!(
        layout.layers[0],
        PlacedLayer {
            base: layout.merged_blocks,
            blocks: 5
        }
    );
    assert_eq!(layout.layers[2].base, layout.merged_blocks + 5 + 2);
    assert_eq!(
        image.files()[&b"last"[..]].kind,
        Kind::Regular(vec![3; 10_000])
    );
    assert_eq!(ImageLayout::read(&image.merged).unwrap(), *layout);
}

#[test]
fn the_layers_are_checked_against_the_image() {
    let image = image([Tar::default().add(Entry::file("a", "x")), Tar::default()]);
    let [first, second] = &image.layers[..] else {
        panic!()
    };
    let open = |layers| erofs_image::ImageReader::open(&image.merged, layers);
    assert!(open(vec![first, second]).is_ok());
    assert!(open(vec![first]).is_err());
    assert!(open(vec![second, first]).is_err());
    assert!(merge_blobs(vec![image.merged.clone()]).is_err());
    assert!(merge_blobs(vec![first[..first.len() - 1].to_vec()]).is_err());
}

#[test]
fn a_layer_that_is_there_many_times_ends_at_a_limit() {
    let tar = (0..9).fold(Tar::default(), |tar, n| {
        tar.add(Entry::file(format!("{n}"), ""))
    });
    let (blob, _) = convert(&tar.finish()).unwrap();
    let merge = |times| {
        let options = MergeOptions {
            uuid: options().uuid,
            limits: Limits {
                max_entries: 10,
                ..Limits::default()
            },
        };
        merge(&vec![&blob; times], Cursor::new(Vec::new()), &options)
    };
    assert_eq!(merge(4).unwrap().entries, 9);
    let error = merge(5).unwrap_err();
    assert!(matches!(error, MergeError::TooLarge(_)), "{error:?}");
}

//! Random layers against the model and a reader of another make.

use proptest::prelude::*;
use proptest::sample::select;

use crate::image::{Files, convert, merge_blobs};
use crate::model;
use crate::tar::{Entry, Tar};

/// Few names, so that entries meet; some that sort before `.`.
fn path() -> impl Strategy<Value = Vec<u8>> {
    let name = select(vec![&b"a"[..], b"b", b"c", b"!", b"\xff", b".x"]);
    prop::collection::vec(name, 1..4).prop_map(|names| names.join(&b'/'))
}

fn target() -> impl Strategy<Value = Vec<u8>> {
    let from = select(vec![&b""[..], b"/", b"../", b"./b/../"]);
    (from, path()).prop_map(|(from, path)| [from, &path].concat())
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    (select(vec![0, 1, 4095, 4096, 4097, 9000]), any::<u8>())
        .prop_map(|(length, byte)| vec![byte; length])
}

fn whiteout() -> impl Strategy<Value = Entry> {
    path().prop_map(|path| {
        let at = path
            .iter()
            .rposition(|byte| *byte == b'/')
            .map_or(0, |slash| slash + 1);
        Entry::file([&path[..at], b".wh.", &path[at..]].concat(), "")
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    let plain = prop_oneof![
        4 => path().prop_map(Entry::directory),
        3 => (path(), content()).prop_map(|(path, content)| Entry::file(path, content)),
        1 => (path(), target()).prop_map(|(path, target)| Entry::symlink(path, target)),
        1 => path().prop_map(|path| Entry::new(b'6', path)),
        1 => (path(), 1..5000u32).prop_map(|(path, minor)| Entry::char_device(path, 5, minor)),
        1 => Just(Entry::directory("./")),
    ];
    let attributes = (
        0..0o10_000u32,
        any::<u32>(),
        any::<u32>(),
        any::<i32>(),
        any::<bool>(),
    );
    let described = (plain, attributes).prop_map(|(entry, (mode, uid, gid, mtime, xattr))| {
        let entry = Entry {
            mode,
            uid: uid.into(),
            gid: gid.into(),
            mtime: mtime.into(),
            ..entry
        };
        if xattr {
            entry.pax("SCHILY.xattr.user.a", mode.to_le_bytes())
        } else {
            entry
        }
    });
    prop_oneof![
        8 => described,
        2 => (path(), path()).prop_map(|(path, target)| Entry::hard_link(path, target)),
        2 => whiteout(),
        1 => path().prop_map(|path| Entry::file([&path, &b"/.wh..wh..opq"[..]].concat(), "")),
    ]
}

fn layers() -> impl Strategy<Value = Vec<Vec<Entry>>> {
    prop::collection::vec(prop::collection::vec(entry(), 0..12), 1..5)
}

/// Leaves out the entries that would make the whole image impossible: hard links to nothing, and what
/// is below links that go round in circles.
fn without_dangling_links(layers: &[Vec<Entry>]) -> Vec<Vec<Entry>> {
    let mut kept: Vec<Vec<Entry>> = Vec::new();
    for layer in layers {
        kept.push(Vec::new());
        for entry in layer {
            let mut with = kept.clone();
            with.last_mut().unwrap().push(entry.clone());
            if model::files(&with).is_some() {
                kept = with;
            }
        }
    }
    kept
}

fn check(layers: &[Vec<Entry>], expected: Option<Files>) -> Result<(), TestCaseError> {
    let blobs: Result<Vec<_>, _> = layers
        .iter()
        .map(|entries| convert(&entries.iter().cloned().collect::<Tar>().finish()))
        .collect();
    let image = blobs
        .ok()
        .and_then(|blobs| merge_blobs(blobs.into_iter().map(|(blob, _)| blob).collect()).ok());
    prop_assert_eq!(image.map(|image| image.files()), expected);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn layers_add_up_as_in_the_model(layers in layers()) {
        check(&layers, model::files(&layers))?;
    }

    #[test]
    fn layers_without_dangling_links_add_up_too(layers in layers()) {
        let layers = without_dangling_links(&layers);
        let expected = model::files(&layers);
        prop_assert!(expected.is_some());
        check(&layers, expected)?;
    }

    #[test]
    fn the_same_tar_becomes_the_same_bytes(entries in prop::collection::vec(entry(), 0..12)) {
        let tar = entries.into_iter().collect::<Tar>().finish();
        prop_assert_eq!(convert(&tar).ok(), convert(&tar).ok());
    }
}

//! The store against cuts, damage and rivals.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::configuration::parse_config;
use crate::digest::Digest;
use crate::platform::Runnable;
use crate::reference::Reference;

const DIRECTORY: &str = "BULKHEAD_TEST_STORE";

fn open(root: &Path) -> Arc<Store> {
    Arc::new(Store::open(Paths::new(root), Pinned(Vec::new())).unwrap())
}

fn key(kind: BlobKind, content: &str) -> BlobKey {
    BlobKey {
        kind,
        digest: Digest::of(content.as_bytes()),
        converter: CONVERTER_VERSION,
    }
}

fn put_blob(store: &Store, kind: BlobKind, content: &str) -> BlobKey {
    let key = key(kind, content);
    let mut ingest = store.ingest(0, 0).unwrap();
    ingest.write_all(content.as_bytes()).unwrap();
    store.commit_blob(ingest, key).unwrap();
    key
}

/// An image of these layers, by name.
fn put_image(store: &Arc<Store>, layers: &[&str], name: &str) -> ImageId {
    let lease = Lease::take(store, Vec::new());
    for layer in layers {
        put_blob(store, BlobKind::Layer, layer);
    }
    let chain_id = put_blob(store, BlobKind::Merged, &layers.join("+")).digest;
    let diff_ids: Vec<_> = layers
        .iter()
        .map(|layer| Digest::of(layer.as_bytes()))
        .collect();
    let raw = serde_json::json!({ "rootfs": { "diff_ids": diff_ids } }).to_string();
    let id = ImageId(Digest::of(raw.as_bytes()));
    let configuration = parse_config(raw.as_bytes(), layers.len(), &Runnable::here()).unwrap();
    let prepared = Prepared {
        id,
        configuration,
        chain_id,
        converter: CONVERTER_VERSION,
        _lease: lease,
    };
    let reference = Reference::parse(name).unwrap();
    store
        .commit_image(&prepared, &reference, Digest::of(name.as_bytes()))
        .unwrap();
    id
}

fn hold(image: ImageId) -> Hold {
    Hold {
        image,
        holder: "container".to_owned(),
    }
}

/// Files of the store that are neither database nor lock.
fn files(store: &Store) -> BTreeSet<PathBuf> {
    let directories = &store.paths.directories()[1..];
    let entries = directories
        .iter()
        .flat_map(|directory| fs::read_dir(directory).unwrap());
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// All that is there is whole, and nothing is there that nobody knows.
fn check_consistent(store: &Store) {
    store.sweep(Duration::ZERO).unwrap();
    let mut expected = BTreeSet::new();
    for entry in store.state.read().images.values() {
        for key in entry.saved.blobs() {
            assert!(store.has_blob(&key), "{key:?}");
            expected.extend([store.paths.blob(&key), store.paths.blob_sidecar(&key)]);
        }
        let id = entry.saved.id;
        expected.extend([
            store.paths.image_config(&id),
            store.paths.image_sidecar(&id),
        ]);
    }
    assert_eq!(files(store), expected);
}

/// What [`live`] has done for good when it says so.
const STEPS: [&str; 5] = ["pulled", "moved", "removed", "released", "done"];

/// Everything that can happen to a store.
fn live(root: &Path, mut did: impl FnMut(&str)) {
    let store = open(root);
    let old = put_image(&store, &["base", "old"], "r.example/app:1");
    did(STEPS[0]);
    store.hold(hold(old)).unwrap();
    put_image(&store, &["base", "new"], "r.example/app:1");
    did(STEPS[1]);
    store.remove(&old.to_string()).unwrap();
    did(STEPS[2]);
    store.release(|_| true).unwrap();
    did(STEPS[3]);
    store.remove("r.example/app:1").unwrap();
    did(STEPS[4]);
}

/// Lives in the directory of the environment, where a cut is fatal, and otherwise in one of its own.
#[test]
fn a_store_lives_and_ends_empty() {
    let own = TempDir::new().unwrap();
    let root = std::env::var_os(DIRECTORY).map_or(own.path().join("store"), PathBuf::from);
    let log = root.with_extension("log");
    live(&root, |step| {
        let mut log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        writeln!(log, "{step}").unwrap();
    });
    check_consistent(&open(&root));
}

/// Lives until the `cut`-th point; true if there is none so far.
fn live_until(cut: usize, root: &Path) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([
        "--exact",
        "store::tests::a_store_lives_and_ends_empty",
        "--nocapture",
    ]);
    child
        .env(fault::VARIABLE, cut.to_string())
        .env(DIRECTORY, root);
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || text.contains("cut at"), "{text}");
    output.status.success()
}

#[test]
fn a_cut_at_any_point_leaves_what_was_done_and_nothing_else() {
    let mut cuts = 0;
    for cut in 1.. {
        let directory = TempDir::new().unwrap();
        let root = directory.path().join("store");
        if live_until(cut, &root) {
            break;
        }
        cuts += 1;
        let log = fs::read_to_string(root.with_extension("log")).unwrap_or_default();
        let done = |step: usize| log.lines().any(|line| line == STEPS[step]);
        let store = open(&root);
        check_consistent(&store);
        let image = store.find("r.example/app:1");
        assert!(
            image.is_some() || !done(0) || done(3),
            "cut {cut}: lost after {log:?}"
        );
        assert!(
            image.is_none() || !done(4),
            "cut {cut}: came back after {log:?}"
        );
        assert!(
            store.list().len() < 2 || !done(2),
            "cut {cut}: two images after {log:?}"
        );
        drop(store);
        // And life goes on from there.
        live(&root, |_| {});
        check_consistent(&open(&root));
    }
    assert!(cuts > 50, "only {cuts} points were passed");
}

#[test]
fn a_damaged_database_is_rebuilt_from_the_sidecars() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    let first = put_image(&store, &["base", "one"], "r.example/app:1");
    put_image(&store, &["base", "two"], "r.example/app:2");
    let before = store.list();
    let database = store.paths.database();
    drop(store);
    let half = fs::read(&database).unwrap();
    for damage in [
        b"not a database at all".to_vec(),
        half[..half.len() / 2].to_vec(),
        vec![0xff; 8192],
    ] {
        fs::write(&database, damage).unwrap();
        let store = open(directory.path());
        assert_eq!(store.list(), before);
        check_consistent(&store);
        assert!(database.with_extension("db.damaged").exists());
    }
    // One that is gone is no empty one.
    fs::remove_file(&database).unwrap();
    let store = open(directory.path());
    assert_eq!(store.list(), before);
    // Nothing of the old database is needed any more.
    store.remove(&first.to_string()).unwrap();
    drop(store);
    assert_eq!(open(directory.path()).list().len(), 1);
}

#[test]
fn a_cut_while_rebuilding_loses_nothing() {
    for cut in 1.. {
        let directory = TempDir::new().unwrap();
        let root = directory.path().join("store");
        let store = open(&root);
        put_image(&store, &["base", "kept"], "r.example/kept:1");
        let database = store.paths.database();
        drop(store);
        fs::write(&database, b"damage").unwrap();
        let done = live_until(cut, &root);
        assert!(open(&root).find("r.example/kept:1").is_some(), "cut {cut}");
        // The first few points are those of the rebuilding.
        if done || cut == 6 {
            break;
        }
    }
}

#[test]
fn lost_sidecars_are_written_again() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    put_image(&store, &["base", "one"], "r.example/app:1");
    let all = files(&store);
    let sidecars = all
        .iter()
        .filter(|file| file.extension().unwrap() == "json");
    sidecars.for_each(|file| fs::remove_file(file).unwrap());
    drop(store);
    assert_eq!(files(&open(directory.path())), all);
}

#[test]
fn an_image_of_an_older_converter_is_kept_until_it_is_pulled_again() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    let id = put_image(&store, &["base", "one"], "r.example/app:1");
    let current = files(&store);
    let repo_digest = store.list()[0].repo_digests.first().unwrap().clone();
    assert_eq!(store.find_repo_digest(&repo_digest), Some(id));
    drop(store);
    age(directory.path());
    let store = open(directory.path());
    assert_ne!(files(&store), current);
    assert!(store.find("r.example/app:1").is_some());
    assert_eq!(store.find_repo_digest(&repo_digest), None);
    put_image(&store, &["base", "one"], "r.example/app:1");
    assert_eq!(store.find_repo_digest(&repo_digest), Some(id));
    check_consistent(&store);
    assert_eq!(files(&store), current);
}

/// Makes everything the work of the converter before ours; the database follows from the sidecars.
fn age(root: &Path) {
    let paths = Paths::new(root);
    fs::remove_file(paths.database()).unwrap();
    let ours = format!("-{CONVERTER_VERSION}.");
    let theirs = format!("-{}.", CONVERTER_VERSION - 1);
    for directory in &paths.directories()[1..] {
        for entry in fs::read_dir(directory).unwrap() {
            let file = entry.unwrap().path();
            let aged = file.to_str().unwrap().replace(&ours, &theirs);
            fs::rename(&file, &aged).unwrap();
            if aged.ends_with("json") {
                let mut record: serde_json::Value =
                    serde_json::from_slice(&fs::read(&aged).unwrap()).unwrap();
                if let Some(converter) = record.get_mut("converter") {
                    *converter = (CONVERTER_VERSION - 1).into();
                }
                fs::write(&aged, record.to_string()).unwrap();
            }
        }
    }
}

#[test]
fn an_image_that_lost_a_blob_is_forgotten_so_that_it_is_pulled_again() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    put_image(&store, &["base", "one"], "r.example/app:1");
    put_image(&store, &["base", "two"], "r.example/app:2");
    let lost = store.paths.blob(&key(BlobKind::Layer, "one"));
    // As after a power cut on a file system that reorders: the name is there, the bytes are not.
    fs::write(&lost, b"").unwrap();
    let find = |name: &str| {
        let digest = Digest::of(name.as_bytes());
        store.find_repo_digest(&format!("r.example/app@{digest}"))
    };
    assert!(find("r.example/app:1").is_none());
    assert!(find("r.example/app:2").is_some());
    drop(store);
    let store = open(directory.path());
    assert!(store.find("r.example/app:1").is_none());
    assert!(store.find("r.example/app:2").is_some());
    check_consistent(&store);
    put_image(&store, &["base", "one"], "r.example/app:1");
    assert!(store.find("r.example/app:1").is_some());
}

#[test]
fn a_later_database_is_left_alone() {
    let directory = TempDir::new().unwrap();
    let database = open(directory.path()).paths.database();
    let later = rusqlite::Connection::open(&database).unwrap();
    later.execute_batch("PRAGMA user_version = 99").unwrap();
    drop(later);
    let error = Store::open(Paths::new(directory.path()), Pinned(Vec::new()))
        .err()
        .unwrap();
    assert!(
        matches!(error, OpenError::Db(DbError::Newer { found: 99 })),
        "{error:?}"
    );
}

#[test]
fn blobs_that_a_pull_needs_are_not_collected() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    let blob = put_blob(&store, BlobKind::Layer, "layer");
    let lease = Lease::take(&store, vec![blob]);
    let second = Lease::take(&store, vec![blob]);
    drop(lease);
    store.sweep(Duration::ZERO).unwrap();
    assert!(store.has_blob(&blob));
    drop(second);
    store.sweep(Duration::from_secs(60)).unwrap();
    assert!(store.has_blob(&blob), "it is kept for the next try");
    store.sweep(Duration::ZERO).unwrap();
    assert!(!store.has_blob(&blob));
}

#[test]
fn blobs_that_another_image_needs_are_not_removed() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    let one = put_image(&store, &["base", "one"], "r.example/app:1");
    put_image(&store, &["base", "two"], "r.example/app:2");
    store.remove(&one.to_string()).unwrap();
    check_consistent(&store);
    assert!(store.has_blob(&key(BlobKind::Layer, "base")));
    assert!(!store.has_blob(&key(BlobKind::Layer, "one")));
}

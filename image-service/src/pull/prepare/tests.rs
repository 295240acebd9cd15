//! The end of a pull: the merge and its name.

use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use erofs_image::{LayerOptions, convert_layer};
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::config::tests::GOOD;
use crate::registry::BlobSpec;
use crate::store::{Paths, Pinned, Store};

fn puller(root: &Path) -> Arc<Puller> {
    let store = Store::open(Paths::new(root), Pinned(Vec::new())).unwrap();
    let config = toml::from_str(GOOD).unwrap();
    Arc::new(Puller::new(&config, Arc::new(store)))
}

/// A layer without entries, in the store.
fn put_layer(store: &Store) -> LayerSpec {
    let diff_id = Digest::of(b"");
    let layer = LayerSpec {
        blob: BlobSpec {
            digest: diff_id,
            size: 0,
        },
        diff_id,
    };
    let options = LayerOptions {
        uuid: ImageUuid::from_sha256(diff_id.as_bytes()),
        limits: Limits::default(),
    };
    let mut ingest = store.ingest(0, 0).unwrap();
    convert_layer(&b""[..], &mut ingest, &options).unwrap();
    store.commit_blob(ingest, layer.key()).unwrap();
    layer
}

#[tokio::test]
async fn a_merge_waits_for_another_and_what_is_merged_does_not() {
    let directory = TempDir::new().unwrap();
    let puller = puller(directory.path());
    let layer = put_layer(&puller.store);
    let key = BlobKey {
        kind: BlobKind::Merged,
        ..layer.key()
    };
    let slot = puller.slots.merge().await.unwrap();
    let mut merged = pin!(puller.merged(vec![layer], key));
    let early = timeout(Duration::from_millis(200), &mut merged).await;
    assert!(early.is_err() && !puller.store.has_blob(&key));
    drop(slot);
    merged.await.unwrap();
    assert!(puller.store.has_blob(&key));
    let _slot = puller.slots.merge().await.unwrap();
    puller.merged(vec![layer], key).await.unwrap();
}

#[test]
fn a_chain_id_names_the_layers_and_their_order() {
    let [a, b] = [Digest::of(b"a"), Digest::of(b"b")];
    assert_eq!(chain_id(&[a]), a);
    assert_eq!(chain_id(&[a, b]), Digest::of(format!("{a} {b}").as_bytes()));
    assert_ne!(chain_id(&[a, b]), chain_id(&[b, a]));
}

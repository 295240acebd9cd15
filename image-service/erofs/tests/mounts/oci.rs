//! An OCI layout of one image, for tools that unpack those.

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

/// Writes `tars`, bottom first, as image `test` into the empty directory `at`.
pub(crate) fn write_layout(at: &Path, tars: &[Vec<u8>]) {
    fs::create_dir_all(at.join("blobs/sha256")).unwrap();
    let layers: Vec<_> = tars
        .iter()
        .map(|tar| descriptor(at, "application/vnd.oci.image.layer.v1.tar", tar, ""))
        .collect();
    let diff_ids: Vec<_> = tars
        .iter()
        .map(|tar| format!(r#""sha256:{}""#, digest(tar)))
        .collect();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        diff_ids.join(",")
    );
    let config = descriptor(
        at,
        "application/vnd.oci.image.config.v1+json",
        config.as_bytes(),
        "",
    );
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#,
        layers.join(",")
    );
    let manifest = descriptor(
        at,
        "application/vnd.oci.image.manifest.v1+json",
        manifest.as_bytes(),
        r#","annotations":{"org.opencontainers.image.ref.name":"test"}"#,
    );
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{manifest}]}}"#);
    fs::write(at.join("index.json"), index).unwrap();
    fs::write(at.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

/// Stores a blob and tells of it.
fn descriptor(at: &Path, media_type: &str, blob: &[u8], more: &str) -> String {
    let (digest, size) = (digest(blob), blob.len());
    fs::write(at.join("blobs/sha256").join(&digest), blob).unwrap();
    format!(r#"{{"mediaType":"{media_type}","digest":"sha256:{digest}","size":{size}{more}}}"#)
}

fn digest(blob: &[u8]) -> String {
    Sha256::digest(blob)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

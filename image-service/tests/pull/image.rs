//! Images made by tests.

use std::io::Write;

use image_service::Digest;
use serde_json::{Value, json};

use crate::registry::MiniRegistry;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// How a layer is compressed.
#[derive(Clone, Copy)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

/// A layer as it is served.
#[derive(Clone)]
pub(crate) struct Layer {
    pub(crate) blob: Vec<u8>,
    pub(crate) diff_id: Digest,
    pub(crate) media_type: String,
}

impl Layer {
    /// A layer with these files.
    pub(crate) fn new(files: &[(&str, &[u8])], compression: Compression) -> Self {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, *content).unwrap();
        }
        Self::of_tar(&tar.into_inner().unwrap(), compression)
    }

    pub(crate) fn of_tar(tar: &[u8], compression: Compression) -> Self {
        let (blob, suffix) = match compression {
            Compression::None => (tar.to_vec(), ""),
            Compression::Gzip => {
                let level = flate2::Compression::fast();
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(tar).unwrap();
                (encoder.finish().unwrap(), "+gzip")
            }
            Compression::Zstd => (zstd::encode_all(tar, 1).unwrap(), "+zstd"),
        };
        let media_type = format!("application/vnd.oci.image.layer.v1.tar{suffix}");
        Self {
            blob,
            diff_id: Digest::of(tar),
            media_type,
        }
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&self.blob)
    }
}

/// An image with all its documents.
#[derive(Clone)]
pub(crate) struct TestImage {
    pub(crate) layers: Vec<Layer>,
    pub(crate) config: Vec<u8>,
    pub(crate) manifest: Vec<u8>,
}

impl TestImage {
    /// An image of these layers, for this machine.
    pub(crate) fn new(layers: Vec<Layer>) -> Self {
        let diff_ids: Vec<_> = layers.iter().map(|layer| layer.diff_id).collect();
        let config = json!({
            "os": "linux",
            "architecture": architecture(),
            "config": { "Cmd": ["sh"], "User": "1002" },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        Self::with_config(layers, &config)
    }

    pub(crate) fn with_config(layers: Vec<Layer>, config: &Value) -> Self {
        let config = config.to_string().into_bytes();
        let descriptors: Vec<_> = layers
            .iter()
            .map(|layer| descriptor(&layer.media_type, &layer.blob))
            .collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": descriptors,
        });
        Self {
            layers,
            config,
            manifest: manifest.to_string().into_bytes(),
        }
    }

    /// A small image that differs from others by `content`.
    pub(crate) fn small(content: &str) -> Self {
        Self::new(vec![Layer::new(
            &[("etc/name", content.as_bytes())],
            Compression::Gzip,
        )])
    }

    /// An image with one layer of about `bytes` bytes that don't compress.
    pub(crate) fn large(bytes: usize) -> Self {
        Self::new(vec![Layer::new(
            &[("big", &noise(bytes))],
            Compression::Gzip,
        )])
    }

    pub(crate) fn id(&self) -> String {
        Digest::of(&self.config).to_string()
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// Serves the blobs and the manifest, by digest and by `tag`.
    pub(crate) fn push(&self, registry: &MiniRegistry, repository: &str, tag: &str) {
        for blob in self
            .layers
            .iter()
            .map(|layer| &layer.blob)
            .chain([&self.config])
        {
            let path = format!("{repository}/blobs/{}", Digest::of(blob));
            registry.put(&path, "application/octet-stream", blob.clone());
        }
        push_document(registry, repository, tag, MANIFEST, &self.manifest);
    }
}

/// Serves a manifest or an index, by digest and by `tag`.
pub(crate) fn push_document(
    registry: &MiniRegistry,
    repository: &str,
    tag: &str,
    media_type: &str,
    document: &[u8],
) {
    for target in [tag.to_owned(), Digest::of(document).to_string()] {
        let path = format!("{repository}/manifests/{target}");
        registry.put(&path, media_type, document.to_vec());
    }
}

pub(crate) fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({
        "mediaType": media_type,
        "digest": Digest::of(content),
        "size": content.len(),
    })
}

pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Bytes without a pattern, the same each time.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[4]
    };
    std::iter::repeat_with(next).take(len).collect()
}

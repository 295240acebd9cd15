//! Manifests and indexes: read from a stranger, checked before anything is made of them.

use serde::Deserialize;

use crate::digest::{Digest, DigestError};
use crate::platform::{Platform, Runnable};
use crate::registry::{BlobSpec, Document, MAX_MANIFEST_BYTES};

/// Nobody has seen a real image with more.
const MAX_LAYERS: usize = 500;

/// A configuration holds a history and some settings.
const MAX_CONFIG_BYTES: u64 = 8 << 20;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

const CONFIG_TYPES: [&str; 2] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
];

/// Without the suffix that names the compression: that is seen in the data.
const LAYER_TYPES: [&str; 4] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
];

/// What a document turned out to be.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// One image.
    Manifest(Manifest),
    /// The choice for this node, to be fetched next.
    Instance(Digest),
}

/// One image's parts.
#[derive(Debug)]
pub(crate) struct Manifest {
    pub(crate) config: BlobSpec,
    /// Compressed layers, bottom first.
    pub(crate) layers: Vec<BlobSpec>,
}

/// An image that a node must not, or can't, take.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadImage {
    /// Not JSON of the right form.
    #[error("{what} is malformed: {problem}")]
    Malformed {
        /// Manifest or configuration.
        what: &'static str,
        /// What the parser says.
        problem: String,
    },
    /// A document that claims to be two things, so that two readers could see two images.
    #[error("the manifest is ambiguous: {0}")]
    Ambiguous(String),
    /// A digest in it is malformed.
    #[error("a digest is malformed")]
    Digest(#[from] DigestError),
    /// A kind of document that is not supported.
    #[error("{what} has media type {media_type:?}, which is not supported")]
    MediaType {
        /// Manifest, configuration or layer.
        what: &'static str,
        /// As written.
        media_type: String,
    },
    /// Not an image to run, but something else that registries store.
    #[error("it is an artifact of type {0:?}, not a container image")]
    Artifact(String),
    /// Nothing in it for this node.
    #[error("it has nothing for {node}, only for {offered}")]
    Platform {
        /// What this node runs.
        node: String,
        /// What there is.
        offered: String,
    },
    /// Something in it is larger than is reasonable.
    #[error("{0}")]
    Limit(String),
    /// Its parts contradict each other.
    #[error("{0}")]
    Inconsistent(String),
}

/// All that any of the four kinds of documents has.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Platform>,
}

impl Descriptor {
    fn blob(&self) -> Result<BlobSpec, BadImage> {
        Ok(BlobSpec {
            digest: self.digest.parse()?,
            size: self.size,
        })
    }
}

/// Reads a manifest, or picks from an index what this node runs.
pub(crate) fn parse(document: &Document, node: &Runnable) -> Result<Parsed, BadImage> {
    let wire: Wire = parse_json("the manifest", &document.bytes)?;
    if wire.schema_version != 2 || wire.fs_layers.is_some() {
        let media_type = format!("schema version {}", wire.schema_version);
        return Err(BadImage::MediaType {
            what: "the manifest",
            media_type,
        });
    }
    check_media_type(document, &wire)?;
    match (wire.manifests, wire.config, wire.layers) {
        (Some(manifests), None, None) => instance(&manifests, node).map(Parsed::Instance),
        (None, Some(config), Some(layers)) => manifest(&config, &layers).map(Parsed::Manifest),
        // CVE-2021-41190: a document that is an index to one reader and a manifest to another.
        (Some(_), _, _) => Err(BadImage::Ambiguous(
            "it has the fields of a manifest and of an index".to_owned(),
        )),
        (None, _, _) => {
            let problem = "neither manifests nor config and layers".to_owned();
            Err(BadImage::Malformed {
                what: "the manifest",
                problem,
            })
        }
    }
}

/// The document, its HTTP header and its fields must agree on what it is.
fn check_media_type(document: &Document, wire: &Wire) -> Result<(), BadImage> {
    let is_index = wire.manifests.is_some();
    let own = if is_index {
        [OCI_INDEX, DOCKER_INDEX]
    } else {
        [OCI_MANIFEST, DOCKER_MANIFEST]
    };
    let field = wire.media_type.as_str();
    if !field.is_empty() && !own.contains(&field) {
        let media_type = field.to_owned();
        return Err(
            match [OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST].contains(&field) {
                true => BadImage::Ambiguous(format!("it says that it is {media_type:?}")),
                false => BadImage::MediaType {
                    what: "the manifest",
                    media_type,
                },
            },
        );
    }
    // Static file servers say application/json or less; only a contradiction counts.
    let header = document.content_type.as_str();
    let known = [OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST].contains(&header);
    if known && (!own.contains(&header) || (!field.is_empty() && field != header)) {
        let text = format!("it was sent as {header:?} and says that it is {field:?}");
        return Err(BadImage::Ambiguous(text));
    }
    Ok(())
}

fn instance(manifests: &[Descriptor], node: &Runnable) -> Result<Digest, BadImage> {
    let Some(best) = node.best(manifests, |descriptor| descriptor.platform.as_ref()) else {
        let offered = manifests
            .iter()
            .filter_map(|descriptor| descriptor.platform.as_ref());
        let offered: Vec<_> = offered.take(20).map(|p| short(&p.to_string())).collect();
        let offered = if offered.is_empty() {
            "nothing".into()
        } else {
            offered.join(", ")
        };
        return Err(BadImage::Platform {
            node: node.to_string(),
            offered,
        });
    };
    if best.size > MAX_MANIFEST_BYTES {
        return Err(BadImage::Limit(format!(
            "its manifest has {} bytes",
            best.size
        )));
    }
    Ok(best.digest.parse()?)
}

fn manifest(config: &Descriptor, layers: &[Descriptor]) -> Result<Manifest, BadImage> {
    if !CONFIG_TYPES.contains(&config.media_type.as_str()) {
        return Err(BadImage::Artifact(short(&config.media_type)));
    }
    if config.size > MAX_CONFIG_BYTES {
        return Err(BadImage::Limit(format!(
            "its configuration has {} bytes",
            config.size
        )));
    }
    if layers.len() > MAX_LAYERS {
        return Err(BadImage::Limit(format!(
            "it has {} layers, over {MAX_LAYERS}",
            layers.len()
        )));
    }
    if let Some(layer) = layers.iter().find(|layer| !is_layer(&layer.media_type)) {
        let media_type = short(&layer.media_type);
        return Err(BadImage::MediaType {
            what: "a layer",
            media_type,
        });
    }
    Ok(Manifest {
        config: config.blob()?,
        layers: layers
            .iter()
            .map(Descriptor::blob)
            .collect::<Result<_, _>>()?,
    })
}

fn is_layer(media_type: &str) -> bool {
    let bare = [".gzip", "+gzip", "+zstd", ".zstd"]
        .iter()
        .find_map(|suffix| media_type.strip_suffix(suffix))
        .unwrap_or(media_type);
    LAYER_TYPES.contains(&bare)
}

pub(crate) fn parse_json<'a, T: Deserialize<'a>>(
    what: &'static str,
    bytes: &'a [u8],
) -> Result<T, BadImage> {
    serde_json::from_slice(bytes).map_err(|error| BadImage::Malformed {
        what,
        problem: short(&error.to_string()),
    })
}

/// Text of a stranger, short enough for an error.
pub(crate) fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(120).collect()
}

#[cfg(test)]
mod tests;

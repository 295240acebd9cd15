//! What is taken for an image, and what is not.

use serde_json::{Value, json};

use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn descriptor(media_type: &str, size: u64) -> Value {
    json!({ "mediaType": media_type, "digest": DIGEST, "size": size })
}

fn image() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(CONFIG_TYPES[0], 10),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", 10)],
    })
}

fn index(platforms: &[(&str, &str)]) -> Value {
    let entry = |(os, architecture): &(&str, &str)| {
        let mut entry = descriptor(OCI_MANIFEST, 10);
        entry["platform"] = json!({ "os": os, "architecture": architecture });
        entry
    };
    let manifests: Vec<_> = platforms.iter().map(entry).collect();
    json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests })
}

fn parse_as(content_type: &str, value: &Value) -> Result<Parsed, BadImage> {
    let bytes = serde_json::to_vec(value).unwrap();
    let document = Document {
        digest: Digest::of(&bytes),
        content_type: content_type.to_owned(),
        bytes: bytes.into(),
    };
    parse(&document, &Runnable::here())
}

/// The architecture of this machine as images name it.
fn here() -> String {
    Runnable::here()
        .to_string()
        .trim_start_matches("linux/")
        .to_owned()
}

#[test]
fn both_kinds_of_manifests_and_indexes_are_read() {
    for content_type in [OCI_MANIFEST, "", "application/json", "text/plain"] {
        assert!(matches!(
            parse_as(content_type, &image()),
            Ok(Parsed::Manifest(_))
        ));
    }
    let mut docker = image();
    docker["mediaType"] = DOCKER_MANIFEST.into();
    docker["config"]["mediaType"] = CONFIG_TYPES[1].into();
    docker["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip".into();
    assert!(matches!(
        parse_as(DOCKER_MANIFEST, &docker),
        Ok(Parsed::Manifest(_))
    ));
    let index = index(&[("linux", "other"), ("linux", &here())]);
    assert!(matches!(
        parse_as(OCI_INDEX, &index),
        Ok(Parsed::Instance(_))
    ));
}

#[test]
fn a_document_that_could_be_read_in_two_ways_is_refused() {
    let mut both = image();
    both["manifests"] = index(&[("linux", &here())])["manifests"].clone();
    assert!(matches!(parse_as("", &both), Err(BadImage::Ambiguous(_))));
    assert!(matches!(
        parse_as(OCI_INDEX, &image()),
        Err(BadImage::Ambiguous(_))
    ));
    assert!(matches!(
        parse_as(DOCKER_MANIFEST, &image()),
        Err(BadImage::Ambiguous(_))
    ));
    let mut mislabelled = image();
    mislabelled["mediaType"] = OCI_INDEX.into();
    assert!(matches!(
        parse_as("", &mislabelled),
        Err(BadImage::Ambiguous(_))
    ));
    let twice = format!(r#"{{"layers":[],{}"#, &image().to_string()[1..]);
    let document = Document {
        digest: Digest::of(b""),
        content_type: String::new(),
        bytes: twice.into_bytes().into(),
    };
    assert!(matches!(
        parse(&document, &Runnable::here()),
        Err(BadImage::Malformed { .. })
    ));
}

#[test]
fn what_is_no_image_for_this_node_is_refused() {
    let platform = parse_as("", &index(&[("windows", "amd64")])).unwrap_err();
    assert!(platform.to_string().contains("windows/amd64"), "{platform}");
    let mut artifact = image();
    artifact["config"]["mediaType"] = "application/vnd.example.chart+json".into();
    assert!(matches!(
        parse_as("", &artifact),
        Err(BadImage::Artifact(_))
    ));
    let mut encrypted = image();
    encrypted["layers"][0]["mediaType"] =
        "application/vnd.oci.image.layer.v1.tar+gzip+encrypted".into();
    assert!(matches!(
        parse_as("", &encrypted),
        Err(BadImage::MediaType { .. })
    ));
    let schema1 = json!({ "schemaVersion": 1, "fsLayers": [] });
    assert!(matches!(
        parse_as("", &schema1),
        Err(BadImage::MediaType { .. })
    ));
}

#[test]
fn sizes_are_limited_and_digests_are_strict() {
    let mut large = image();
    large["config"]["size"] = (MAX_CONFIG_BYTES + 1).into();
    assert!(matches!(parse_as("", &large), Err(BadImage::Limit(_))));
    let mut many = image();
    many["layers"] = vec![image()["layers"][0].clone(); MAX_LAYERS + 1].into();
    assert!(matches!(parse_as("", &many), Err(BadImage::Limit(_))));
    let mut negative = image();
    negative["layers"][0]["size"] = (-1).into();
    assert!(matches!(
        parse_as("", &negative),
        Err(BadImage::Malformed { .. })
    ));
    let mut path = image();
    path["layers"][0]["digest"] = "sha256:../../../../etc/passwd".into();
    assert!(matches!(parse_as("", &path), Err(BadImage::Digest(_))));
}

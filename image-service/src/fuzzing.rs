//! Doors for the fuzz targets to what reads strangers' words. Not in any other build.

use crate::configuration::{parse_config, reread};
use crate::digest::Digest;
use crate::manifest::{self, Parsed};
use crate::platform::Runnable;
use crate::reference::Reference;
use crate::registry::{self, Document};

/// A reference that is taken is written so that it means the same when it is read again.
pub fn reference(text: &str) {
    if let Ok(reference) = Reference::parse(text) {
        let written = reference.to_string();
        assert_eq!(Reference::parse(&written), Ok(reference), "{written}");
    }
}

/// A manifest or an index.
pub fn manifest(content_type: &str, bytes: &[u8]) {
    let document = Document {
        digest: Digest::of(bytes),
        content_type: content_type.to_owned(),
        bytes: bytes.to_vec().into(),
    };
    match manifest::parse(&document, &Runnable::here()) {
        Ok(Parsed::Manifest(manifest)) => assert!(manifest.layers.len() <= 500),
        Ok(Parsed::Instance(_)) => {}
        // What goes into an error goes into a log and into an answer.
        Err(bad) => assert!(bad.to_string().len() < 4096, "{bad}"),
    }
}

/// The configuration of an image with `layers` layers.
pub fn configuration(bytes: &[u8], layers: usize) {
    match parse_config(bytes, layers, &Runnable::here()) {
        Ok(parsed) => {
            let again = reread(parsed.raw.as_bytes()).expect("what was taken can be read again");
            assert_eq!(format!("{again:?}"), format!("{:?}", parsed.config));
            assert_eq!(parsed.diff_ids.len(), layers);
        }
        Err(bad) => assert!(bad.to_string().len() < 4096, "{bad}"),
    }
}

/// A registry's `WWW-Authenticate`.
pub fn challenge(header: &[u8]) {
    registry::fuzzing::challenge(header);
}

/// An operator's `hosts.toml`.
pub fn hosts_toml(text: &str) {
    registry::fuzzing::hosts_toml(text);
}

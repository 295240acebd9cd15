//! Manifests and indexes, as registries send them.
#![no_main]

use libfuzzer_sys::fuzz_target;

const TYPES: [&str; 6] = [
    "",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "text/html",
];

fuzz_target!(|input: (u8, &[u8])| {
    let (which, bytes) = input;
    image_service::fuzzing::manifest(TYPES[usize::from(which) % TYPES.len()], bytes);
});

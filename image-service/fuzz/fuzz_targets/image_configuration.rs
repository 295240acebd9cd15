//! Configurations of images, as registries send them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (layers, bytes) = input;
    image_service::fuzzing::configuration(bytes, usize::from(layers % 4));
});

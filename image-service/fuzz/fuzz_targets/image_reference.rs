//! Names of images, as pods give them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| image_service::fuzzing::reference(text));

//! `WWW-Authenticate`, as registries send it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|header: &[u8]| image_service::fuzzing::challenge(header));

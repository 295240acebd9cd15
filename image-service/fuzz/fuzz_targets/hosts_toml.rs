//! `hosts.toml`, as operators write it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| image_service::fuzzing::hosts_toml(text));

//! Compressed header blocks of one connection.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| cri_streaming::fuzz::spdy_header_blocks(data));

//! All that a client sends on a SPDY connection.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| cri_streaming::fuzz::spdy_connection(data));

//! Header blocks once they are inflated.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| cri_streaming::fuzz::spdy_headers(data));

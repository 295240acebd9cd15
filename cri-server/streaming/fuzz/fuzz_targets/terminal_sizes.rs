//! Terminal sizes in JSON, in pieces of any length.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| cri_streaming::fuzz::terminal_sizes(data));

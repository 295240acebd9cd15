//! Frames of a SPDY connection, in pieces of any length.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| cri_streaming::fuzz::spdy_frames(data));

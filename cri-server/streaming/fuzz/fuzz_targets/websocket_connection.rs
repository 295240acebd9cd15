//! All that a client sends on a WebSocket.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| cri_streaming::fuzz::websocket_connection(data));

//! A guest's log connection: how its bytes are cut into pieces makes no difference.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|pieces: Vec<&[u8]>| vmm::fuzzing::log_connection(&pieces));

//! Log frames of the agent's half of the protocol.
#![no_main]

use agent_api::log_frame::Frame;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    while let Ok(Some((frame, taken))) = Frame::decode(rest) {
        let mut encoded = Vec::new();
        frame.encode(&mut encoded);
        let (again, length) = Frame::decode(&encoded)
            .expect("what we encode is well formed")
            .expect("and whole");
        assert_eq!((again, length), (frame, encoded.len()));
        rest = &rest[taken..];
    }
});

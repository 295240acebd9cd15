//! What a guest's agent answers: any bytes decode or are refused, and what decodes stays the same.
#![no_main]

use agent_api::v1;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use std::fmt::Debug;

fuzz_target!(|data: &[u8]| {
    let Some((which, bytes)) = data.split_first() else {
        return;
    };
    match which % 8 {
        0 => check::<v1::HelloReply>(bytes),
        1 => check::<v1::CreateContainerReply>(bytes),
        2 => check::<v1::ListContainersReply>(bytes),
        3 => check::<v1::ContainerStatsReply>(bytes),
        4 => check::<v1::StreamOutput>(bytes),
        5 => check::<v1::DialOutput>(bytes),
        6 => check::<v1::Event>(bytes),
        _ => check::<v1::CreateContainerRequest>(bytes),
    }
});

fn check<M: Message + Default + Debug>(bytes: &[u8]) {
    let Ok(message) = M::decode(bytes) else {
        return;
    };
    let encoded = message.encode_to_vec();
    let again = M::decode(&encoded[..]).expect("what we encode can be decoded");
    // Not the messages: a NaN is not equal to itself.
    assert_eq!(encoded, again.encode_to_vec());
}

//! A guest's packets, and programs of the host, against the multiplexer of their streams.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use vmm::fuzzing::Streams;
use vmm_devices::virtio::vsock::{HOST_CID, Header};

const GUEST_CID: u64 = 3;
/// Most bytes of one packet's payload.
const MAX_PAYLOAD: usize = 64 << 10;
const MAX_STEPS: usize = 512;

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Send(Packet<'a>),
    Receive {
        room: u16,
    },
    HostEvent,
    Visit {
        guest_port: u8,
        words: Option<&'a [u8]>,
    },
    Program {
        which: u8,
        bytes: &'a [u8],
        leaves: bool,
    },
    LosePatience,
    Reset,
}

/// A packet of one of a few streams.
#[derive(Arbitrary, Debug)]
struct Packet<'a> {
    op: u8,
    host_port: u8,
    guest_port: u8,
    flags: u8,
    buf_alloc: u32,
    fwd_cnt: u32,
    odd_type: bool,
    payload: &'a [u8],
    times: u16,
}

impl Packet<'_> {
    fn send_to(&self, streams: &mut Streams) {
        let payload = self.payload.repeat(usize::from(self.times));
        let payload = &payload[..payload.len().min(MAX_PAYLOAD)];
        let header = Header {
            src_cid: GUEST_CID,
            dst_cid: HOST_CID,
            src_port: u32::from(self.guest_port % 4),
            // The services, a port of nobody, and those of the streams that the host begins.
            dst_port: match self.host_port % 8 {
                port @ 0..3 => 1024 + u32::from(port),
                port => (1 << 30) + u32::from(port) - 3,
            },
            len: u32::try_from(payload.len()).expect("a payload is short"),
            socket_type: if self.odd_type { 2 } else { 1 },
            op: u16::from(self.op % 9),
            flags: u32::from(self.flags),
            buf_alloc: self.buf_alloc,
            fwd_cnt: self.fwd_cnt,
        };
        streams.send(&header, payload);
    }
}

fuzz_target!(|steps: Vec<Step<'_>>| {
    let mut streams = Streams::new().expect("descriptors can be made");
    for step in steps.iter().take(MAX_STEPS) {
        match step {
            Step::Send(packet) => packet.send_to(&mut streams),
            Step::Receive { room } => streams.receive(usize::from(*room)),
            Step::HostEvent => streams.host_event(),
            Step::Visit { guest_port, words } => {
                let greeting = format!("CONNECT {}\n", guest_port % 4);
                let words = words.unwrap_or(greeting.as_bytes());
                streams.visit(words).expect("the listener has room");
                streams.host_event();
            }
            Step::Program {
                which,
                bytes,
                leaves,
            } => {
                streams.program(usize::from(*which), bytes, *leaves);
            }
            Step::LosePatience => streams.lose_patience(),
            Step::Reset => streams.reset(),
        }
    }
});

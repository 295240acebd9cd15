//! A guest against the packet device.
#![no_main]

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use libfuzzer_sys::fuzz_target;
use rustix::event::{EventfdFlags, eventfd};
use vmm_devices::virtio::vsock::{Header, Sent, Vsock, VsockBackend, backend::MAX_PAYLOAD};
use vmm_devices_fuzz::{Attack, Machine};

const CID: u64 = 3;
/// Packets that wait for the guest.
const ROOM: usize = 4;

fuzz_target!(|attack: Attack<'_>| {
    let device = Vsock::new(CID, Box::new(Echo::default())).expect("descriptors can be made");
    Machine::new(device).suffer(&attack);
});

/// Sends each packet back, and holds the device to what it promises.
#[derive(Default)]
struct Echo(VecDeque<(Header, Vec<u8>)>);

impl VsockBackend for Echo {
    fn host_fd(&self) -> io::Result<OwnedFd> {
        Ok(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?)
    }

    fn host_event(&mut self) {}

    fn send(&mut self, packet: &Header, payload: &[u8]) -> Sent {
        assert_eq!(packet.src_cid, CID);
        assert_eq!(usize::try_from(packet.len), Ok(payload.len()));
        assert!(payload.len() <= MAX_PAYLOAD);
        if self.0.len() == ROOM {
            return Sent::Busy;
        }
        self.0.push_back((*packet, payload.to_vec()));
        Sent::Taken
    }

    fn has_pending(&self) -> bool {
        !self.0.is_empty()
    }

    fn receive(&mut self, payload: &mut [u8]) -> Option<Header> {
        assert!(payload.len() <= MAX_PAYLOAD);
        let (mut header, content) = self.0.pop_front()?;
        let len = content.len().min(payload.len());
        payload[..len].copy_from_slice(&content[..len]);
        header.len = u32::try_from(len).expect("a payload is short");
        Some(header)
    }

    fn reset(&mut self) {
        self.0.clear();
    }
}

//! virtio-rng: random bytes from the host (virtio 1.2 §5.4).

use rustix::rand::{GetRandomFlags, getrandom};
use vm_memory::GuestMemoryMmap;

use super::chain::Chain;
use super::service::{self, Fault};
use super::{ActivateError, Activation, DeviceError, Progress, VirtioDevice};
use crate::host_warn;

/// Device type.
pub const KIND: u32 = 4;

const QUEUE_SIZES: [u16; 1] = [16];

/// Most bytes given for one request. The driver asks again for the rest.
const MAX_REQUEST: usize = 64 * 1024;

/// The device.
#[derive(Default)]
pub struct Rng {
    active: Option<Activation>,
    requests: u64,
    bytes: u64,
    guest_errors: u64,
}

impl Rng {
    /// A device without a driver.
    pub fn new() -> Self {
        Self::default()
    }

    fn serve(memory: &GuestMemoryMmap, chain: &Chain) -> Result<u32, Fault> {
        let mut writer = chain.writer(memory);
        let wanted = usize::try_from(writer.remaining()).unwrap_or(MAX_REQUEST);
        let mut bytes = vec![0; wanted.min(MAX_REQUEST)];
        let filled = match fill(&mut bytes) {
            Ok(()) => bytes.len(),
            Err(error) => {
                host_warn!(%error, "the host gives no random bytes");
                0
            }
        };
        writer.write(&bytes[..filled])?;
        Ok(u32::try_from(filled).expect("a request is bounded"))
    }
}

fn fill(mut bytes: &mut [u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        let filled = rustix::io::retry_on_intr(|| getrandom(&mut *bytes, GetRandomFlags::empty()))?;
        bytes = &mut bytes[filled..];
    }
    Ok(())
}

impl VirtioDevice for Rng {
    fn kind(&self) -> u32 {
        KIND
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn read_config(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        self.active = Some(activation);
        Ok(())
    }

    fn reset(&mut self) {
        self.active = None;
    }

    fn process_queue(&mut self, _queue: usize) -> Result<Progress, DeviceError> {
        let Self {
            active,
            requests,
            bytes,
            guest_errors,
        } = self;
        service::run_only_queue(active, KIND, guest_errors, |memory, chain| {
            let written = Self::serve(memory, chain)?;
            *requests += 1;
            *bytes += u64::from(written);
            Ok(written)
        })
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("rng_requests", self.requests),
            ("rng_bytes", self.bytes),
            ("rng_guest_errors", self.guest_errors),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_guest::{Direct, PciDriver, TestMachine};

    #[test]
    fn a_request_is_filled_with_random_bytes() {
        let mut rng = Direct::new(Rng::new());
        let added = rng.rings[0].add(&[], &[64, 64]);
        rng.run(0);
        assert_eq!(rng.rings[0].used(), Some((added.head, 128)));
        let bytes = rng.rings[0].written(&added);
        assert!(bytes.iter().any(|b| *b != bytes[0]), "{bytes:?}");
    }

    #[test]
    fn a_request_is_filled_up_to_64_kib() {
        let mut rng = Direct::new(Rng::new());
        let added = rng.rings[0].add(&[], &[0x10_0000]);
        rng.run(0);
        assert_eq!(rng.rings[0].used(), Some((added.head, 64 * 1024)));
    }

    #[test]
    fn a_request_without_room_gets_nothing() {
        let mut rng = Direct::new(Rng::new());
        let added = rng.rings[0].add(&[b"for you"], &[]);
        rng.run(0);
        assert_eq!(rng.rings[0].used(), Some((added.head, 0)));
        assert!(!rng.needs_reset());
    }

    #[test]
    fn a_driver_gets_its_bytes_over_pci() {
        let machine = TestMachine::new();
        let plugged = machine.plug(Rng::new());
        let driver = PciDriver::probe(&machine, plugged.slot);
        let mut rings = driver.start(8);
        let added = rings[0].add(&[], &[32]);
        driver.notify(0);
        plugged.run();
        assert_eq!(rings[0].used(), Some((added.head, 32)));
        assert_eq!(plugged.vectors.take_raised(), [1]);
    }
}

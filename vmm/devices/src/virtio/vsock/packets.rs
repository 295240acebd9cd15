//! Packets between queues and backend.

use super::backend::{MAX_PAYLOAD, Sent, VsockBackend};
use super::header::Header;
use crate::guest_warn;
use crate::virtio::Progress;
use crate::virtio::chain::{Chain, ChainTooShort};
use crate::virtio::service::{Fault, Service, Stop};

/// Moves packets, one way at a time.
pub(super) struct Packets {
    cid: u64,
    /// Where payload is while nobody else can change it.
    payload: Vec<u8>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    tx_packets: u64,
    tx_bytes: u64,
    tx_dropped: u64,
    rx_packets: u64,
    rx_bytes: u64,
}

impl Packets {
    pub(super) fn new(cid: u64) -> Self {
        Self {
            cid,
            payload: vec![0; MAX_PAYLOAD],
            counts: Counts::default(),
        }
    }

    /// Takes what the driver has sent, until the backend is busy. `More` if anything was taken.
    pub(super) fn guest_to_host(
        &mut self,
        service: &mut Service<'_>,
        backend: &mut dyn VsockBackend,
    ) -> Result<Progress, Stop> {
        service.queue.disable_notifications(service.memory)?;
        let mut progress = Progress::Idle;
        for _ in 0..service.queue.size() {
            let Some(chain) = service.next()? else {
                break;
            };
            if self.send(service, &chain, backend)? == Sent::Busy {
                service.queue.undo_pop(chain);
                break;
            }
            service.queue.complete(service.memory, chain, 0)?;
            progress = Progress::More;
        }
        if progress == Progress::More {
            service.signal()?;
        }
        Ok(progress)
    }

    /// Gives the driver what waits for it, until it has no buffers. `More` if anything was given.
    pub(super) fn host_to_guest(
        &mut self,
        service: &mut Service<'_>,
        backend: &mut dyn VsockBackend,
    ) -> Result<Progress, Stop> {
        service.queue.disable_notifications(service.memory)?;
        let mut progress = Progress::Idle;
        for _ in 0..service.queue.size() {
            if !backend.has_pending() {
                break;
            }
            let Some(chain) = service.next()? else {
                break;
            };
            let Some(written) = self.receive(service, &chain, backend)? else {
                service.queue.undo_pop(chain);
                break;
            };
            service.queue.complete(service.memory, chain, written)?;
            progress = Progress::More;
        }
        if progress == Progress::More {
            service.signal()?;
        }
        Ok(progress)
    }

    pub(super) fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("vsock_tx_packets", self.counts.tx_packets),
            ("vsock_tx_bytes", self.counts.tx_bytes),
            ("vsock_tx_dropped", self.counts.tx_dropped),
            ("vsock_rx_packets", self.counts.rx_packets),
            ("vsock_rx_bytes", self.counts.rx_bytes),
        ]
    }

    /// Copies one packet out of guest memory, header and payload once each, and offers it to the
    /// backend. One that can't be right is dropped.
    fn send(
        &mut self,
        service: &Service<'_>,
        chain: &Chain,
        backend: &mut dyn VsockBackend,
    ) -> Result<Sent, Fault> {
        let mut reader = chain.reader(service.memory);
        let mut bytes = [0; Header::SIZE];
        reader.read(&mut bytes)?;
        let header = Header::from_bytes(&bytes);
        let len = header.len as usize;
        if len > MAX_PAYLOAD
            || reader.remaining() < u64::from(header.len)
            || header.src_cid != self.cid
        {
            guest_warn!(?header, "the guest sent a vsock packet that can't be right");
            self.counts.tx_dropped += 1;
            return Ok(Sent::Taken);
        }
        reader.read(&mut self.payload[..len])?;
        let sent = backend.send(&header, &self.payload[..len]);
        if sent == Sent::Taken {
            self.counts.tx_packets += 1;
            self.counts.tx_bytes += u64::from(header.len);
        }
        Ok(sent)
    }

    /// Puts the backend's next packet into `chain`, and gives the bytes written, if there was a
    /// packet.
    fn receive(
        &mut self,
        service: &Service<'_>,
        chain: &Chain,
        backend: &mut dyn VsockBackend,
    ) -> Result<Option<u32>, Fault> {
        let mut writer = chain.writer(service.memory);
        let room = writer.remaining().checked_sub(Header::SIZE as u64);
        let room = room.ok_or(ChainTooShort {
            wanted: Header::SIZE as u64,
            remaining: writer.remaining(),
        })?;
        let room = usize::try_from(room).map_or(MAX_PAYLOAD, |room| room.min(MAX_PAYLOAD));
        let Some(header) = backend.receive(&mut self.payload[..room]) else {
            return Ok(None);
        };
        let payload = &self.payload[..room];
        let payload = payload.get(..header.len as usize);
        let payload = payload.expect("a backend fills only the room it is given");
        writer.write(&header.to_bytes())?;
        writer.write(payload)?;
        self.counts.rx_packets += 1;
        self.counts.rx_bytes += u64::from(header.len);
        let written = Header::SIZE + payload.len();
        Ok(Some(u32::try_from(written).expect("a packet is bounded")))
    }
}

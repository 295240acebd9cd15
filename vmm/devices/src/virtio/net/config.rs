//! What the driver reads before it starts: features and `struct virtio_net_config`.

/// An interface as the guest sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Longest packet in a frame, in bytes.
    pub mtu: u16,
}

/// What a device says of itself.
pub(super) struct Offer {
    pub(super) interface: Interface,
    pub(super) features: u64,
    pub(super) queue_sizes: Vec<u16>,
    pairs: u16,
}

impl Offer {
    /// For `interface`, with so many queue pairs.
    pub(super) fn new(interface: Interface, pairs: usize, segments: UdpSegments) -> Self {
        let pairs = u16::try_from(pairs).expect("an interface has few queues");
        Self {
            interface,
            features: features(pairs, segments),
            queue_sizes: queue_sizes(pairs),
            pairs,
        }
    }

    /// Fills `data` from the configuration at `offset`.
    pub(super) fn read(&self, offset: u64, data: &mut [u8]) {
        crate::virtio::config::read(&self.interface.bytes(self.pairs), offset, data);
    }
}

impl Interface {
    /// virtio 1.2 §5.1.4: address, status, queue pairs, MTU. The status stands in for a feature that
    /// isn't offered.
    fn bytes(&self, pairs: u16) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..6].copy_from_slice(&self.mac);
        bytes[8..10].copy_from_slice(&pairs.to_le_bytes());
        bytes[10..].copy_from_slice(&self.mtu.to_le_bytes());
        bytes
    }
}

/// Features of virtio 1.2 §5.1.3. `GUEST_` ones say what the driver takes, `HOST_` ones what it may
/// send.
pub(super) const CSUM: u64 = 1 << 0;
pub(super) const GUEST_CSUM: u64 = 1 << 1;
pub(super) const MTU: u64 = 1 << 3;
pub(super) const MAC: u64 = 1 << 5;
pub(super) const GUEST_TSO4: u64 = 1 << 7;
pub(super) const GUEST_TSO6: u64 = 1 << 8;
pub(super) const GUEST_ECN: u64 = 1 << 9;
pub(super) const HOST_TSO4: u64 = 1 << 11;
pub(super) const HOST_TSO6: u64 = 1 << 12;
pub(super) const HOST_ECN: u64 = 1 << 13;
pub(super) const MRG_RXBUF: u64 = 1 << 15;
pub(super) const CTRL_VQ: u64 = 1 << 17;
pub(super) const MQ: u64 = 1 << 22;
pub(super) const GUEST_USO4: u64 = 1 << 54;
pub(super) const GUEST_USO6: u64 = 1 << 55;
pub(super) const HOST_USO: u64 = 1 << 56;

/// What every interface offers.
pub(super) const FEATURES: u64 = CSUM
    | GUEST_CSUM
    | MTU
    | MAC
    | GUEST_TSO4
    | GUEST_TSO6
    | GUEST_ECN
    | HOST_TSO4
    | HOST_TSO6
    | HOST_ECN
    | MRG_RXBUF;

/// Segmentation of UDP, where the host's kernel does it.
pub(super) const UDP_SEGMENTS: u64 = GUEST_USO4 | GUEST_USO6 | HOST_USO;

/// Any of these, and frames are longer than packets.
pub(super) const GUEST_SEGMENTS: u64 = GUEST_TSO4 | GUEST_TSO6 | GUEST_USO4 | GUEST_USO6;

/// Whether the host's kernel segments UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpSegments {
    /// From Linux 6.2 on.
    Taken,
    /// Each datagram has a frame of its own.
    Refused,
}

/// What is offered with so many queue pairs. There is a control queue for their sake alone: the host
/// decides what reaches an interface.
fn features(pairs: u16, segments: UdpSegments) -> u64 {
    let queues = if pairs > 1 { CTRL_VQ | MQ } else { 0 };
    let segments = match segments {
        UdpSegments::Taken => UDP_SEGMENTS,
        UdpSegments::Refused => 0,
    };
    FEATURES | queues | segments
}

const QUEUE_SIZE: u16 = 256;
const CONTROL_SIZE: u16 = 64;

/// A receiving and a sending queue for each pair; with several, the control queue after them.
fn queue_sizes(pairs: u16) -> Vec<u16> {
    let mut sizes = vec![QUEUE_SIZE; 2 * usize::from(pairs)];
    if pairs > 1 {
        sizes.push(CONTROL_SIZE);
    }
    sizes
}

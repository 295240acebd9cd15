//! What the driver reads before it starts: features and `struct virtio_net_config`.

/// An interface as the guest sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Longest packet in a frame, in bytes.
    pub mtu: u16,
}

impl Interface {
    /// virtio 1.2 §5.1.4: address, status, queue pairs, MTU. Status and pairs stand in for features
    /// that aren't offered.
    pub(super) fn bytes(&self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..6].copy_from_slice(&self.mac);
        bytes[8..10].copy_from_slice(&1u16.to_le_bytes());
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

/// What is offered. There is no control queue: the host decides what reaches an interface.
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

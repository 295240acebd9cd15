//! Which stream a packet speaks of: the ports of both sides, since there is only one address on each.

use vmm_devices::virtio::vsock::header::TYPE_STREAM;
use vmm_devices::virtio::vsock::{HOST_CID, Header};

use super::GUEST_CID;

/// The two ports of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ports {
    pub(super) host: u32,
    pub(super) guest: u32,
}

impl Ports {
    /// Those of a packet from the guest.
    pub(super) const fn of(header: &Header) -> Self {
        Self {
            host: header.dst_port,
            guest: header.src_port,
        }
    }
}

/// A packet without payload for the guest.
pub(super) fn to_guest(ports: Ports, op: u16) -> Header {
    Header {
        src_cid: HOST_CID,
        dst_cid: GUEST_CID,
        src_port: ports.host,
        dst_port: ports.guest,
        socket_type: TYPE_STREAM,
        op,
        ..Header::default()
    }
}

//! What a network device needs of the host.

use std::io;
use std::os::fd::BorrowedFd;

use super::config::{self, UdpSegments};

/// Where the frames of a queue pair come from and go to.
pub trait NetBackend: Send {
    /// A non-blocking descriptor. One read takes one frame and one write sends one; each begins with
    /// the 12 bytes of `struct virtio_net_hdr_mrg_rxbuf`, whose last two bytes mean nothing.
    fn fd(&self) -> BorrowedFd<'_>;

    /// Says how unfinished the frames may be that are read, by any pair of the interface.
    fn set_offloads(&mut self, offloads: Offloads) -> io::Result<()>;

    /// Whether datagrams may be segmented later than in the guest, and joined before it.
    fn udp_segments(&self) -> UdpSegments {
        UdpSegments::Refused
    }

    /// Takes part in the interface's traffic or not. At first it does; only of an interface's second
    /// pair and later ones is it asked.
    fn set_part(&mut self, _part: Part) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a queue pair has a part in its interface's traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Some flows come through it.
    Taken,
    /// None do.
    Left,
}

/// What may be left undone in frames for a driver: flags `TUN_F_…` of `linux/if_tun.h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads(pub u32);

impl Offloads {
    /// Checksums.
    pub const CHECKSUM: Self = Self(0x01);
    /// Segmentation of TCP over IPv4.
    pub const TSO4: Self = Self(0x02);
    /// Segmentation of TCP over IPv6.
    pub const TSO6: Self = Self(0x04);
    /// Segmentation of TCP with congestion marks.
    pub const TSO_ECN: Self = Self(0x08);
    /// Segmentation of UDP, over IPv4 and IPv6: Linux takes both or none.
    pub const USO: Self = Self(0x60);

    /// What a driver with these features takes. Whoever can't check sums can't be given segments.
    pub(super) fn taken_by(features: u64) -> Self {
        if features & config::GUEST_CSUM == 0 {
            return Self::default();
        }
        let tso = features & (config::GUEST_TSO4 | config::GUEST_TSO6) != 0;
        let uso = config::GUEST_USO4 | config::GUEST_USO6;
        let mut offloads = Self::CHECKSUM.0;
        for (taken, flag) in [
            (features & config::GUEST_TSO4 != 0, Self::TSO4),
            (features & config::GUEST_TSO6 != 0, Self::TSO6),
            (tso && features & config::GUEST_ECN != 0, Self::TSO_ECN),
            (features & uso == uso, Self::USO),
        ] {
            if taken {
                offloads |= flag.0;
            }
        }
        Self(offloads)
    }
}

#[cfg(test)]
mod tests {
    use super::config::*;
    use super::*;

    #[track_caller]
    fn check(features: u64, flags: u32) {
        assert_eq!(Offloads::taken_by(features), Offloads(flags));
    }

    #[test]
    fn a_driver_is_given_what_it_takes_and_no_more() {
        check(0, 0);
        check(GUEST_CSUM, 1);
        check(GUEST_CSUM | GUEST_TSO4, 3);
        check(FEATURES, 15);
        check(FEATURES | UDP_SEGMENTS, 15 | 0x60);
    }

    #[test]
    fn combinations_that_make_no_sense_are_cut_down() {
        check(GUEST_TSO4 | GUEST_TSO6 | GUEST_USO4 | GUEST_USO6, 0);
        check(GUEST_CSUM | GUEST_ECN, 1);
        check(GUEST_CSUM | GUEST_USO4, 1);
    }
}

//! A TAP device that somebody else made, by its descriptor.
#![expect(unsafe_code, reason = "only ioctls speak to a TAP device")]
// UNSAFETY: no crate of ours wraps these ioctls; each takes a pointer to memory of fixed size.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::HEADER;
use super::backend::{NetBackend, Offloads, Part};
use super::config::UdpSegments;

/// `linux/if_tun.h`.
const TUNSETOFFLOAD: libc::c_ulong = 0x4004_54d0;
const TUNGETIFF: libc::c_ulong = 0x8004_54d2;
const TUNSETVNETHDRSZ: libc::c_ulong = 0x4004_54d8;
const TUNSETQUEUE: libc::c_ulong = 0x4004_54d9;
const IFF_ATTACH_QUEUE: u16 = 0x0200;
const IFF_DETACH_QUEUE: u16 = 0x0400;
const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;

/// `struct ifreq`: a name, then a union whose first member here is the flags.
const REQUEST: usize = 40;
const FLAGS: usize = 16;

/// A queue of a TAP device, with a `virtio_net_hdr` before each frame.
#[derive(Debug)]
pub struct Tap {
    fd: OwnedFd,
    udp_segments: UdpSegments,
}

/// A descriptor is no usable TAP device.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// It is something else.
    #[error("look at the TAP device")]
    Look(#[source] io::Error),
    /// It was made with other flags.
    #[error("the TAP device has flags {0:#06x}, without IFF_TAP, IFF_NO_PI or IFF_VNET_HDR")]
    Flags(u16),
    /// It can't be set up.
    #[error("set the TAP device up")]
    SetUp(#[source] io::Error),
}

impl Tap {
    /// The TAP device behind `fd`, which belongs to an interface already.
    pub fn open(fd: OwnedFd) -> Result<Self, TapError> {
        let mut tap = Self {
            fd,
            udp_segments: UdpSegments::Refused,
        };
        let flags = tap.flags().map_err(TapError::Look)?;
        let wanted = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
        if flags & wanted != wanted {
            return Err(TapError::Flags(flags));
        }
        tap.set_up().map_err(TapError::SetUp)?;
        tap.udp_segments = tap.probe().map_err(TapError::SetUp)?;
        Ok(tap)
    }

    fn flags(&self) -> io::Result<u16> {
        let mut request = [0u8; REQUEST];
        // SAFETY: the kernel writes a `struct ifreq`, which is as long as the array.
        let result = unsafe { libc::ioctl(self.fd.as_raw_fd(), TUNGETIFF, request.as_mut_ptr()) };
        checked(result)?;
        Ok(u16::from_ne_bytes([request[FLAGS], request[FLAGS + 1]]))
    }

    fn set_up(&self) -> io::Result<()> {
        let length = libc::c_int::try_from(HEADER).expect("it is 12");
        // SAFETY: the kernel reads an int.
        let result =
            unsafe { libc::ioctl(self.fd.as_raw_fd(), TUNSETVNETHDRSZ, &raw const length) };
        checked(result)?;
        Ok(rustix::io::ioctl_fionbio(&self.fd, true)?)
    }

    /// Whether the kernel segments UDP shows only when it is asked to. Before Linux 6.2 it doesn't know the
    /// flag.
    fn probe(&mut self) -> io::Result<UdpSegments> {
        let wanted = Offloads(Offloads::CHECKSUM.0 | Offloads::USO.0);
        let answer = match self.set_offloads(wanted) {
            Ok(()) => UdpSegments::Taken,
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => UdpSegments::Refused,
            Err(error) => return Err(error),
        };
        self.set_offloads(Offloads::default())?;
        Ok(answer)
    }
}

impl NetBackend for Tap {
    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn set_offloads(&mut self, offloads: Offloads) -> io::Result<()> {
        let flags = libc::c_ulong::from(offloads.0);
        // SAFETY: the argument is a number.
        let result = unsafe { libc::ioctl(self.fd.as_raw_fd(), TUNSETOFFLOAD, flags) };
        checked(result)
    }

    fn udp_segments(&self) -> UdpSegments {
        self.udp_segments
    }

    /// A queue that nobody reads is detached: the kernel would put frames into it.
    fn set_part(&mut self, part: Part) -> io::Result<()> {
        let flags = match part {
            Part::Taken => IFF_ATTACH_QUEUE,
            Part::Left => IFF_DETACH_QUEUE,
        };
        let mut request = [0u8; REQUEST];
        request[FLAGS..FLAGS + 2].copy_from_slice(&flags.to_ne_bytes());
        // SAFETY: the kernel reads a `struct ifreq`, which is as long as the array.
        let result = unsafe { libc::ioctl(self.fd.as_raw_fd(), TUNSETQUEUE, request.as_ptr()) };
        checked(result)
    }
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_tap_device_is_refused() {
        let file = tempfile::tempfile().unwrap();
        let error = Tap::open(file.into()).unwrap_err();
        assert_eq!(error.to_string(), "look at the TAP device");
    }
}

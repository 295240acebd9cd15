//! A TAP device that somebody else made, by its descriptor.
#![expect(unsafe_code, reason = "only ioctls speak to a TAP device")]
// UNSAFETY: no crate of ours wraps these ioctls; each takes a pointer to memory of fixed size.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::HEADER;
use super::backend::{NetBackend, Offloads};

/// `linux/if_tun.h`.
const TUNSETOFFLOAD: libc::c_ulong = 0x4004_54d0;
const TUNGETIFF: libc::c_ulong = 0x8004_54d2;
const TUNSETVNETHDRSZ: libc::c_ulong = 0x4004_54d8;
const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;

/// A TAP device with a `virtio_net_hdr` before each frame.
#[derive(Debug)]
pub struct Tap(OwnedFd);

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
        let tap = Self(fd);
        let flags = tap.flags().map_err(TapError::Look)?;
        let wanted = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
        if flags & wanted != wanted {
            return Err(TapError::Flags(flags));
        }
        tap.set_up().map_err(TapError::SetUp)?;
        Ok(tap)
    }

    fn flags(&self) -> io::Result<u16> {
        // `struct ifreq`: the name, then a union whose first member here is the flags.
        let mut request = [0u8; 40];
        // SAFETY: the kernel writes a `struct ifreq`, which is as long as the array.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), TUNGETIFF, request.as_mut_ptr()) };
        checked(result)?;
        Ok(u16::from_ne_bytes([request[16], request[17]]))
    }

    fn set_up(&self) -> io::Result<()> {
        let length = libc::c_int::try_from(HEADER).expect("it is 12");
        // SAFETY: the kernel reads an int.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), TUNSETVNETHDRSZ, &raw const length) };
        checked(result)?;
        Ok(rustix::io::ioctl_fionbio(&self.0, true)?)
    }
}

impl NetBackend for Tap {
    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn set_offloads(&mut self, offloads: Offloads) -> io::Result<()> {
        let flags = libc::c_ulong::from(offloads.0);
        // SAFETY: the argument is a number.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), TUNSETOFFLOAD, flags) };
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

//! TAP devices, made in the network namespace of the calling thread.
#![expect(unsafe_code, reason = "only an ioctl makes a TAP device")]
// UNSAFETY: no crate of ours wraps TUNSETIFF, which takes a pointer to a `struct ifreq`.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

const DEVICE: &str = "/dev/net/tun";

/// `linux/if_tun.h`.
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;
const IFF_MULTI_QUEUE: u16 = 0x0100;
const IFF_VNET_HDR: u16 = 0x4000;

/// The kernel puts a number in. Begins with [`crate::OWN_LINKS`].
const TEMPLATE: &[u8] = b"bulkhead%d";

/// `IFNAMSIZ`.
const NAME: usize = 16;

/// A new TAP device with a `virtio_net_hdr` before each frame: a descriptor for each of so many queues, and its
/// name. It goes when the last of them is closed.
pub(super) fn create(queues: usize) -> io::Result<(Vec<OwnedFd>, String)> {
    let flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    let flags = if queues > 1 {
        flags | IFF_MULTI_QUEUE
    } else {
        flags
    };
    let (first, name) = open(TEMPLATE, flags)?;
    let mut descriptors = vec![first];
    while descriptors.len() < queues {
        descriptors.push(open(name.as_bytes(), flags)?.0);
    }
    Ok((descriptors, name))
}

/// A queue of the TAP device called `name`, which is made if it is not there, and what it is called.
fn open(name: &[u8], flags: u16) -> io::Result<(OwnedFd, String)> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(DEVICE)
        .map_err(|e| io::Error::new(e.kind(), format!("open {DEVICE}: {e}")))?;
    // `struct ifreq`: the name, then a union whose first member here is the flags.
    let mut request = [0u8; 40];
    request[..name.len()].copy_from_slice(name);
    request[NAME..NAME + 2].copy_from_slice(&flags.to_ne_bytes());
    // SAFETY: the kernel reads and writes a `struct ifreq`, which is as long as the array.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, request.as_mut_ptr()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let name = &request[..NAME];
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(NAME);
    let name = String::from_utf8_lossy(&name[..end]).into_owned();
    Ok((file.into(), name))
}

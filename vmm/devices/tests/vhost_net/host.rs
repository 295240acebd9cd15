//! The host's side: a TAP device of a driver's interface, and a socket that hears and says frames there.
#![expect(
    unsafe_code,
    reason = "TAP devices and packet sockets have no safe interface here"
)]
// UNSAFETY: an ioctl makes a TAP device, and the address of a packet socket is a C structure.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
/// `IFF_TAP | IFF_NO_PI | IFF_VNET_HDR`.
const FLAGS: u16 = 0x5002;
const IFF_MULTI_QUEUE: u16 = 0x0100;

/// IEEE 802: for local experiments.
const PROTOCOL: u16 = 0x88b5;

pub struct Host {
    socket: File,
}

/// An Ethernet frame with these words, as long as the shortest.
pub fn frame(words: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 9]);
    frame.extend(PROTOCOL.to_be_bytes());
    frame.extend(words);
    frame.resize(60, 0);
    frame
}

impl Host {
    /// A TAP device with so many queues, which goes with them.
    pub fn new(queues: usize) -> (Self, Vec<OwnedFd>) {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("vhostnet{number}");
        let queues = (0..queues).map(|_| open(&name, queues > 1)).collect();
        let disable = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
        std::fs::write(disable, "1").unwrap();
        let up = ["link", "set", &name, "up"];
        assert!(Command::new("ip").args(up).status().unwrap().success());
        let socket = packet_socket(&name).unwrap();
        (Self { socket }, queues)
    }

    pub fn send(&self, words: &[u8]) {
        (&self.socket).write_all(&frame(words)).unwrap();
    }

    /// The next frame of the driver's.
    pub fn receive(&self) -> io::Result<Vec<u8>> {
        let begin = Instant::now();
        let mut bytes = vec![0; 4096];
        loop {
            match (&self.socket).read(&mut bytes) {
                Ok(len) => {
                    bytes.truncate(len);
                    return Ok(bytes);
                }
                Err(error) if begin.elapsed() > Duration::from_secs(20) => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

fn open(name: &str, several: bool) -> OwnedFd {
    let file = File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .unwrap();
    let mut request = [0u8; 40];
    request[..name.len()].copy_from_slice(name.as_bytes());
    let flags = if several {
        FLAGS | IFF_MULTI_QUEUE
    } else {
        FLAGS
    };
    request[16..18].copy_from_slice(&flags.to_ne_bytes());
    // SAFETY: the kernel reads and writes a `struct ifreq`, which is as long as the array.
    let made = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, request.as_mut_ptr()) };
    assert_eq!(made, 0, "{}", io::Error::last_os_error());
    file.into()
}

fn packet_socket(name: &str) -> io::Result<File> {
    let protocol = libc::c_int::from(PROTOCOL.to_be());
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: it takes numbers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was opened just now.
    let socket = unsafe { File::from_raw_fd(fd) };
    let index = std::fs::read_to_string(format!("/sys/class/net/{name}/ifindex"))?;
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).unwrap(),
        sll_protocol: PROTOCOL.to_be(),
        sll_ifindex: index.trim().parse().unwrap(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let len = u32::try_from(size_of_val(&address)).unwrap();
    // SAFETY: the kernel reads a `struct sockaddr_ll` of this length.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
    if bound < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

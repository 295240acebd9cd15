//! Links: network devices, real and virtual.

use std::io;

use crate::attributes::{Attributes, u16_at, u32_at, u64_at};
use crate::message::Message;
use crate::socket::Socket;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_STATS64: u16 = 23;

const ARPHRD_ETHER: u16 = 1;
const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 8;

/// Length of `struct ifinfomsg`.
const FIXED: usize = 16;

/// A link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its Ethernet address, if it is of that kind.
    pub mac: Option<[u8; 6]>,
    /// Longest packet in bytes.
    pub mtu: u32,
    /// It is switched on.
    pub up: bool,
    /// It is a loopback.
    pub loopback: bool,
    /// What went through it.
    pub traffic: Traffic,
}

/// What went through a link since it is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets that could not be received.
    pub rx_errors: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
}

impl Traffic {
    /// From a `struct rtnl_link_stats64`, which begins with numbers of packets.
    fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            rx_bytes: u64_at(bytes, 16)?,
            tx_bytes: u64_at(bytes, 24)?,
            rx_errors: u64_at(bytes, 32)?,
            tx_errors: u64_at(bytes, 40)?,
        })
    }
}

impl Link {
    /// From what a dump shows.
    fn read(bytes: &[u8]) -> Option<Self> {
        let attributes = Attributes::new(bytes.get(FIXED..)?);
        let flags = u32_at(bytes, 8)?;
        let ethernet = u16_at(bytes, 2)? == ARPHRD_ETHER;
        let mac = attributes.get(IFLA_ADDRESS).filter(|_| ethernet);
        Some(Self {
            index: u32_at(bytes, 4)?,
            name: attributes.get_text(IFLA_IFNAME)?,
            mac: mac.and_then(|mac| mac.try_into().ok()),
            mtu: attributes.get_u32(IFLA_MTU)?,
            up: flags & IFF_UP != 0,
            loopback: flags & IFF_LOOPBACK != 0,
            traffic: attributes
                .get(IFLA_STATS64)
                .and_then(Traffic::read)
                .unwrap_or_default(),
        })
    }
}

/// `struct ifinfomsg`.
fn fixed(index: u32, flags: u32) -> [u8; FIXED] {
    let mut fixed = [0; FIXED];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[8..12].copy_from_slice(&flags.to_ne_bytes());
    // Which flags to change.
    fixed[12..].copy_from_slice(&flags.to_ne_bytes());
    fixed
}

impl Socket {
    /// All links.
    pub fn links(&mut self) -> io::Result<Vec<Link>> {
        let shown = self.dump(&Message::dump(RTM_GETLINK, &fixed(0, 0)))?;
        Ok(shown.iter().filter_map(|bytes| Link::read(bytes)).collect())
    }

    /// Switches a link on.
    pub fn set_up(&mut self, index: u32) -> io::Result<()> {
        self.change(Message::change(RTM_NEWLINK, 0, &fixed(index, IFF_UP)))
    }

    /// Gives a link that is switched off another name.
    pub fn rename(&mut self, index: u32, name: &str) -> io::Result<()> {
        let text = [name.as_bytes(), &[0]].concat();
        let message = Message::change(RTM_NEWLINK, 0, &fixed(index, 0));
        self.change(message.with(IFLA_IFNAME, &text))
    }

    /// Sets how long packets on a link may be, in bytes.
    pub fn set_mtu(&mut self, index: u32, mtu: u32) -> io::Result<()> {
        let message = Message::change(RTM_NEWLINK, 0, &fixed(index, 0));
        self.change(message.with(IFLA_MTU, &mtu.to_ne_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::HEADER;

    #[test]
    fn a_link_is_what_the_kernel_says_it_is() {
        let mut fixed = fixed(7, IFF_UP);
        fixed[2..4].copy_from_slice(&ARPHRD_ETHER.to_ne_bytes());
        let stats: Vec<u8> = (1..=24u64).flat_map(u64::to_ne_bytes).collect();
        let message = Message::dump(RTM_NEWLINK, &fixed)
            .with(IFLA_IFNAME, b"eth0\0")
            .with(IFLA_ADDRESS, &[2, 0, 0, 0, 0, 9])
            .with(IFLA_MTU, &1450u32.to_ne_bytes())
            .with(IFLA_STATS64, &stats)
            .bytes(0);
        let link = Link {
            index: 7,
            name: "eth0".to_owned(),
            mac: Some([2, 0, 0, 0, 0, 9]),
            mtu: 1450,
            up: true,
            loopback: false,
            traffic: Traffic {
                rx_bytes: 3,
                tx_bytes: 4,
                rx_errors: 5,
                tx_errors: 6,
            },
        };
        assert_eq!(Link::read(&message[HEADER..]), Some(link));
        assert_eq!(Link::read(&message[..8]), None);
    }
}

//! Neighbours: who on a link has which address.

use std::io;
use std::net::IpAddr;

use crate::attributes::{Attributes, u16_at, u32_at};
use crate::message::{CREATE, Message, REPLACE};
use crate::socket::Socket;
use crate::{family, ip, ip_bytes};

const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;

const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;

const NUD_PERMANENT: u16 = 0x80;

/// Length of `struct ndmsg`.
const FIXED: usize = 12;

/// A neighbour that somebody has put down for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The link's number.
    pub link: u32,
    /// Its address.
    pub ip: IpAddr,
    /// Its Ethernet address.
    pub mac: [u8; 6],
}

impl Neighbour {
    /// From what a dump shows; `None` for those that were only learnt.
    fn read(bytes: &[u8]) -> Option<Self> {
        let attributes = Attributes::new(bytes.get(FIXED..)?);
        if u16_at(bytes, 8)? & NUD_PERMANENT == 0 {
            return None;
        }
        Some(Self {
            link: u32_at(bytes, 4)?,
            ip: attributes.get(NDA_DST).and_then(ip)?,
            mac: attributes.get(NDA_LLADDR)?.try_into().ok()?,
        })
    }

    fn message(&self) -> Message {
        let mut fixed = [0; FIXED];
        fixed[0] = family(&self.ip);
        fixed[4..8].copy_from_slice(&self.link.to_ne_bytes());
        fixed[8..10].copy_from_slice(&NUD_PERMANENT.to_ne_bytes());
        Message::change(RTM_NEWNEIGH, CREATE | REPLACE, &fixed)
            .with(NDA_DST, &ip_bytes(&self.ip))
            .with(NDA_LLADDR, &self.mac)
    }
}

impl Socket {
    /// All permanent neighbours on all links.
    pub fn neighbours(&mut self) -> io::Result<Vec<Neighbour>> {
        let shown = self.dump(&Message::dump(RTM_GETNEIGH, &[0; FIXED]))?;
        let read = shown.iter().filter_map(|bytes| Neighbour::read(bytes));
        Ok(read.collect())
    }

    /// Puts a neighbour down for good.
    pub fn add_neighbour(&mut self, neighbour: &Neighbour) -> io::Result<()> {
        self.change(neighbour.message())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::HEADER;

    #[test]
    fn what_is_written_is_what_is_read() {
        for ip in ["169.254.1.1", "fe80::1"] {
            let neighbour = Neighbour {
                link: 4,
                ip: ip.parse().unwrap(),
                mac: [0xee; 6],
            };
            let mut bytes = neighbour.message().bytes(0);
            assert_eq!(Neighbour::read(&bytes[HEADER..]), Some(neighbour));
            // Reachable, which is learnt.
            bytes[HEADER + 8] = 2;
            assert_eq!(Neighbour::read(&bytes[HEADER..]), None);
        }
    }
}

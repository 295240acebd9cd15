//! Addresses of links.

use std::io;
use std::net::IpAddr;

use crate::attributes::{Attributes, u32_at};
use crate::message::{CREATE, EXCLUSIVE, Message};
use crate::socket::Socket;
use crate::{family, ip, ip_bytes};

const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;

/// Nobody is asked whether the address is taken.
pub const NODAD: u32 = 0x02;
/// The kernel adds no route to the address's network.
pub const NOPREFIXROUTE: u32 = 0x200;

/// Length of `struct ifaddrmsg`.
const FIXED: usize = 8;

/// An address of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The link's number.
    pub link: u32,
    /// The address.
    pub ip: IpAddr,
    /// Bits of its network.
    pub prefix: u8,
    /// The other end, on a link that has but two.
    pub peer: Option<IpAddr>,
    /// Where to reach all of its network.
    pub broadcast: Option<IpAddr>,
    /// How far it is valid: `RT_SCOPE_…`.
    pub scope: u8,
    /// `IFA_F_…`.
    pub flags: u32,
}

impl Address {
    /// From what a dump shows.
    fn read(bytes: &[u8]) -> Option<Self> {
        let attributes = Attributes::new(bytes.get(FIXED..)?);
        let address = attributes.get(IFA_ADDRESS).and_then(ip);
        let local = attributes.get(IFA_LOCAL).and_then(ip);
        let own = local.or(address)?;
        let short_flags = || bytes.get(2).copied().map(u32::from);
        Some(Self {
            link: u32_at(bytes, 4)?,
            ip: own,
            prefix: *bytes.get(1)?,
            peer: address.filter(|address| *address != own),
            broadcast: attributes.get(IFA_BROADCAST).and_then(ip),
            scope: *bytes.get(3)?,
            flags: attributes.get_u32(IFA_FLAGS).or_else(short_flags)?,
        })
    }

    fn message(&self) -> Message {
        let index = self.link.to_ne_bytes();
        let mut fixed = [0; FIXED];
        fixed[..4].copy_from_slice(&[family(&self.ip), self.prefix, 0, self.scope]);
        fixed[4..].copy_from_slice(&index);
        Message::change(RTM_NEWADDR, CREATE | EXCLUSIVE, &fixed)
            .with(IFA_LOCAL, &ip_bytes(&self.ip))
            .with(IFA_ADDRESS, &ip_bytes(&self.peer.unwrap_or(self.ip)))
            .with_some(
                IFA_BROADCAST,
                self.broadcast.as_ref().map(ip_bytes).as_deref(),
            )
            .with(IFA_FLAGS, &self.flags.to_ne_bytes())
    }
}

impl Socket {
    /// All addresses of all links.
    pub fn addresses(&mut self) -> io::Result<Vec<Address>> {
        let shown = self.dump(&Message::dump(RTM_GETADDR, &[0; FIXED]))?;
        let read = shown.iter().filter_map(|bytes| Address::read(bytes));
        Ok(read.collect())
    }

    /// Gives a link an address that it doesn't have.
    pub fn add_address(&mut self, address: &Address) -> io::Result<()> {
        self.change(address.message())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::HEADER;

    #[track_caller]
    fn check(address: &Address) {
        let bytes = address.message().bytes(0);
        assert_eq!(Address::read(&bytes[HEADER..]).as_ref(), Some(address));
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let v4 = Address {
            link: 3,
            ip: "10.1.2.3".parse().unwrap(),
            prefix: 24,
            peer: None,
            broadcast: Some("10.1.2.255".parse().unwrap()),
            scope: 0,
            flags: 0x80,
        };
        check(&v4);
        check(&Address {
            peer: Some("10.1.2.1".parse().unwrap()),
            prefix: 32,
            ..v4.clone()
        });
        check(&Address {
            ip: "fd00::3".parse().unwrap(),
            prefix: 64,
            broadcast: None,
            flags: NODAD | NOPREFIXROUTE,
            ..v4
        });
    }
}

//! Routes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::attributes::{Attributes, u32_at};
use crate::message::{CREATE, EXCLUSIVE, Message};
use crate::socket::Socket;
use crate::{family, ip, ip_bytes};

const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_METRICS: u16 = 8;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;

const RTAX_MTU: u16 = 2;
const RTAX_ADVMSS: u16 = 8;

const RTNH_F_ONLINK: u32 = 4;
const RTM_F_CLONED: u32 = 0x200;

/// The table that is looked at unless a rule says otherwise.
pub const MAIN: u32 = 254;
/// The kernel's own table, of addresses.
pub(crate) const LOCAL: u32 = 255;
/// Routes that the kernel makes by itself.
const BY_KERNEL: u8 = 2;
/// Packets are sent on.
const UNICAST: u8 = 1;

/// Length of `struct rtmsg`.
const FIXED: usize = 12;

/// A route that leads to a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it leads: a network and its bits. The address family is that of the network.
    pub destination: (IpAddr, u8),
    /// The next station on the way; `None` means that the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The link's number.
    pub link: u32,
    /// The address that packets come from unless they say another.
    pub source: Option<IpAddr>,
    /// Of two routes, the one with the lower metric is taken.
    pub metric: Option<u32>,
    /// Longest packet, in bytes.
    pub mtu: Option<u32>,
    /// TCP segment length to tell the other side, in bytes.
    pub advmss: Option<u32>,
    /// How far the destination is: `RT_SCOPE_…`.
    pub scope: u8,
    /// The gateway is on the link, whatever addresses say.
    pub onlink: bool,
    /// Who made it: `RTPROT_…`.
    pub protocol: u8,
    /// The table that it is in, [`MAIN`] unless rules lead elsewhere.
    pub table: u32,
}

/// What a dump shows.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    Route(Route),
    /// Not made by anybody.
    Ignored,
    /// One that a [`Route`] has no words for.
    Strange,
}

impl Route {
    fn read(bytes: &[u8]) -> Option<Shown> {
        let attributes = Attributes::new(bytes.get(FIXED..)?);
        let [family, bits, _, _, table, protocol, scope, kind] = *bytes.first_chunk()?;
        let flags = u32_at(bytes, 8)?;
        let table = attributes.get_u32(RTA_TABLE).unwrap_or(table.into());
        let ours = table != LOCAL && protocol != BY_KERNEL && flags & RTM_F_CLONED == 0;
        let any = match family {
            2 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            10 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => return Some(Shown::Ignored),
        };
        if !ours {
            return Some(Shown::Ignored);
        }
        let link = attributes.get_u32(RTA_OIF);
        let (UNICAST, Some(link), None) = (kind, link, attributes.get(RTA_VIA)) else {
            return Some(Shown::Strange);
        };
        let metrics = Attributes::new(attributes.get(RTA_METRICS).unwrap_or(&[]));
        Some(Shown::Route(Self {
            destination: (attributes.get(RTA_DST).and_then(ip).unwrap_or(any), bits),
            gateway: attributes.get(RTA_GATEWAY).and_then(ip),
            link,
            source: attributes.get(RTA_PREFSRC).and_then(ip),
            metric: attributes.get_u32(RTA_PRIORITY),
            mtu: metrics.get_u32(RTAX_MTU),
            advmss: metrics.get_u32(RTAX_ADVMSS),
            scope,
            onlink: flags & RTNH_F_ONLINK != 0,
            protocol,
            table,
        }))
    }

    fn message(&self) -> Message {
        let (network, bits) = &self.destination;
        // A number that does not fit stands in an attribute.
        let table = u8::try_from(self.table).unwrap_or(0);
        let mut fixed = [0; FIXED];
        fixed[..2].copy_from_slice(&[family(network), *bits]);
        fixed[4..8].copy_from_slice(&[table, self.protocol, self.scope, UNICAST]);
        let flags = if self.onlink { RTNH_F_ONLINK } else { 0 };
        fixed[8..].copy_from_slice(&flags.to_ne_bytes());
        let number = |number: Option<u32>| number.map(u32::to_ne_bytes);
        let destination = Some(ip_bytes(network)).filter(|_| *bits > 0);
        let message = Message::change(RTM_NEWROUTE, CREATE | EXCLUSIVE, &fixed)
            .with_some(RTA_DST, destination.as_deref())
            .with_some(RTA_GATEWAY, self.gateway.as_ref().map(ip_bytes).as_deref())
            .with(RTA_OIF, &self.link.to_ne_bytes())
            .with(RTA_TABLE, &self.table.to_ne_bytes())
            .with_some(RTA_PREFSRC, self.source.as_ref().map(ip_bytes).as_deref())
            .with_some(RTA_PRIORITY, number(self.metric).as_ref().map(|n| &n[..]));
        if self.mtu.is_none() && self.advmss.is_none() {
            return message;
        }
        message.nest(RTA_METRICS, |metrics| {
            metrics
                .with_some(RTAX_MTU, number(self.mtu).as_ref().map(|n| &n[..]))
                .with_some(RTAX_ADVMSS, number(self.advmss).as_ref().map(|n| &n[..]))
        })
    }
}

impl Socket {
    /// The routes of all tables that somebody made, and how many beside them lead elsewhere than
    /// to one link.
    pub fn routes(&mut self) -> io::Result<(Vec<Route>, usize)> {
        let shown = self.dump(&Message::dump(RTM_GETROUTE, &[0; FIXED]))?;
        let (mut routes, mut strange) = (Vec::new(), 0);
        for shown in shown.iter().filter_map(|bytes| Route::read(bytes)) {
            match shown {
                Shown::Route(route) => routes.push(route),
                Shown::Strange => strange += 1,
                Shown::Ignored => {}
            }
        }
        Ok((routes, strange))
    }

    /// Adds a route that isn't there.
    pub fn add_route(&mut self, route: &Route) -> io::Result<()> {
        self.change(route.message())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::HEADER;

    fn route() -> Route {
        Route {
            destination: (Ipv4Addr::UNSPECIFIED.into(), 0),
            gateway: Some("169.254.1.1".parse().unwrap()),
            link: 3,
            source: None,
            metric: None,
            mtu: None,
            advmss: None,
            scope: 0,
            onlink: false,
            protocol: 3,
            table: MAIN,
        }
    }

    #[track_caller]
    fn check(route: Route) {
        let bytes = route.message().bytes(0);
        assert_eq!(Route::read(&bytes[HEADER..]), Some(Shown::Route(route)));
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        check(route());
        check(Route {
            destination: ("169.254.1.1".parse().unwrap(), 32),
            gateway: None,
            scope: 253,
            ..route()
        });
        check(Route {
            table: 70_000,
            ..route()
        });
        check(Route {
            destination: ("fd00::".parse().unwrap(), 64),
            gateway: Some("fe80::1".parse().unwrap()),
            source: Some("fd00::3".parse().unwrap()),
            metric: Some(1024),
            mtu: Some(1400),
            advmss: Some(1340),
            onlink: true,
            ..route()
        });
    }

    #[test]
    fn what_the_kernel_made_is_no_concern() {
        let local = Route {
            table: LOCAL,
            ..route()
        };
        let by_kernel = Route {
            protocol: BY_KERNEL,
            ..route()
        };
        for route in [local, by_kernel] {
            let bytes = route.message().bytes(0);
            assert_eq!(Route::read(&bytes[HEADER..]), Some(Shown::Ignored));
        }
    }

    #[test]
    fn a_route_without_a_link_is_counted() {
        let fixed = [2, 0, 0, 0, 254, 3, 0, UNICAST, 0, 0, 0, 0];
        assert_eq!(Route::read(&fixed), Some(Shown::Strange));
    }
}

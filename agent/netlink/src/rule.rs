//! Rules: which packets are routed by which table.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::attributes::{Attributes, u32_at};
use crate::message::{CREATE, EXCLUSIVE, Message};
use crate::route::{LOCAL, MAIN};
use crate::socket::Socket;
use crate::{ip, ip_bytes};

const RTM_NEWRULE: u16 = 32;
const RTM_GETRULE: u16 = 34;

const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_PRIORITY: u16 = 6;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_TABLE: u16 = 15;
const FRA_PAD: u16 = 18;
const FRA_PROTOCOL: u16 = 21;

/// Attributes that a [`Rule`] has words for, or that say nothing.
const KNOWN: [u16; 7] = [
    FRA_DST,
    FRA_SRC,
    FRA_PRIORITY,
    FRA_SUPPRESS_PREFIXLEN,
    FRA_TABLE,
    FRA_PAD,
    FRA_PROTOCOL,
];

/// The packet is routed by a table.
const TO_TABLE: u8 = 1;
const INVERTED: u32 = 2;
/// Nothing is suppressed.
const NONE: u32 = u32::MAX;
/// The table that is looked at last, and empty.
const DEFAULT: u32 = 253;

/// Length of `struct fib_rule_hdr`.
const FIXED: usize = 12;

/// A rule that looks at nothing of a packet but its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Packets from this network, given by an address and its bits; all packets with none. The address family is
    /// that of the network.
    pub source: (IpAddr, u8),
    /// Packets to this network.
    pub destination: (IpAddr, u8),
    /// Rules with lower numbers are asked first.
    pub priority: u32,
    /// The table that routes them.
    pub table: u32,
}

/// What a dump shows.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    Rule(Rule),
    /// One that every network namespace has.
    Ignored,
    /// One that a [`Rule`] has no words for.
    Strange,
}

impl Rule {
    fn read(bytes: &[u8]) -> Option<Shown> {
        let attributes = Attributes::new(bytes.get(FIXED..)?);
        let [family, to_bits, from_bits, tos, table, _, _, action] = *bytes.first_chunk()?;
        let any: IpAddr = match family {
            2 => Ipv4Addr::UNSPECIFIED.into(),
            10 => Ipv6Addr::UNSPECIFIED.into(),
            _ => return Some(Shown::Ignored),
        };
        let table = attributes.get_u32(FRA_TABLE).unwrap_or(table.into());
        let unknown = attributes.clone().any(|(kind, _)| !KNOWN.contains(&kind));
        let suppresses = attributes.get_u32(FRA_SUPPRESS_PREFIXLEN).unwrap_or(NONE) != NONE;
        let inverted = u32_at(bytes, 8)? & INVERTED != 0;
        if unknown || suppresses || inverted || tos != 0 || action != TO_TABLE {
            return Some(Shown::Strange);
        }
        if (from_bits, to_bits) == (0, 0) && [LOCAL, MAIN, DEFAULT].contains(&table) {
            return Some(Shown::Ignored);
        }
        let network = |kind| attributes.get(kind).and_then(ip).unwrap_or(any);
        Some(Shown::Rule(Self {
            source: (network(FRA_SRC), from_bits),
            destination: (network(FRA_DST), to_bits),
            priority: attributes.get_u32(FRA_PRIORITY).unwrap_or(0),
            table,
        }))
    }

    fn message(&self) -> Message {
        let mut fixed = [0; FIXED];
        let (source, from_bits) = &self.source;
        let (destination, to_bits) = &self.destination;
        fixed[..3].copy_from_slice(&[crate::family(source), *to_bits, *from_bits]);
        fixed[7] = TO_TABLE;
        let network = |ip, bits: &u8| Some(ip_bytes(ip)).filter(|_| *bits > 0);
        Message::change(RTM_NEWRULE, CREATE | EXCLUSIVE, &fixed)
            .with_some(FRA_SRC, network(source, from_bits).as_deref())
            .with_some(FRA_DST, network(destination, to_bits).as_deref())
            .with(FRA_PRIORITY, &self.priority.to_ne_bytes())
            .with(FRA_TABLE, &self.table.to_ne_bytes())
    }
}

impl Socket {
    /// The rules that somebody made, and how many there are beside them that look at other things than
    /// addresses.
    pub fn rules(&mut self) -> io::Result<(Vec<Rule>, usize)> {
        let shown = self.dump(&Message::dump(RTM_GETRULE, &[0; FIXED]))?;
        let (mut rules, mut strange) = (Vec::new(), 0);
        for shown in shown.iter().filter_map(|bytes| Rule::read(bytes)) {
            match shown {
                Shown::Rule(rule) => rules.push(rule),
                Shown::Strange => strange += 1,
                Shown::Ignored => {}
            }
        }
        Ok((rules, strange))
    }

    /// Adds a rule that isn't there.
    pub fn add_rule(&mut self, rule: &Rule) -> io::Result<()> {
        self.change(rule.message())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::HEADER;

    fn rule(source: &str, bits: u8) -> Rule {
        let source: IpAddr = source.parse().unwrap();
        let any: IpAddr = match source {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        Rule {
            source: (source, bits),
            destination: (any, 0),
            priority: 1000,
            table: 100,
        }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let to = Rule {
            destination: ("10.0.0.0".parse().unwrap(), 8),
            table: 70_000,
            ..rule("0.0.0.0", 0)
        };
        for rule in [rule("10.1.2.3", 32), rule("fd00::3", 128), to] {
            let bytes = rule.message().bytes(0);
            assert_eq!(Rule::read(&bytes[HEADER..]), Some(Shown::Rule(rule)));
        }
    }

    #[test]
    fn the_rules_of_every_namespace_are_no_concern() {
        for table in [LOCAL, MAIN, DEFAULT] {
            let all = Rule {
                table,
                ..rule("0.0.0.0", 0)
            };
            let bytes = all.message().bytes(0);
            assert_eq!(Rule::read(&bytes[HEADER..]), Some(Shown::Ignored));
        }
    }

    #[test]
    fn a_rule_that_looks_at_more_than_addresses_is_counted() {
        let plain = rule("10.1.2.3", 32);
        // FRA_IIFNAME.
        let marked = plain.message().with(3, b"eth0\0").bytes(0);
        assert_eq!(Rule::read(&marked[HEADER..]), Some(Shown::Strange));
        let mut inverted = plain.message().bytes(0);
        inverted[HEADER + 8] = 2;
        assert_eq!(Rule::read(&inverted[HEADER..]), Some(Shown::Strange));
    }
}

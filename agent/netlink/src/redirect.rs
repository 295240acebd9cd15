//! Frames that come in on one link go out on another, untouched (tc-mirred(8), tc-u32(8)).

use std::io;

use crate::message::{CREATE, EXCLUSIVE, Message};
use crate::socket::Socket;

const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;

const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_U32_SEL: u16 = 5;
const TCA_U32_ACT: u16 = 7;
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_MIRRED_PARMS: u16 = 2;

/// Where a link's discipline for incoming frames is, and its handle.
const TC_H_INGRESS: u32 = 0xffff_fff1;
const INGRESS_HANDLE: u32 = 0xffff_0000;
/// What filters for incoming frames hang on, be the discipline `ingress` or `clsact`.
const INCOMING: u32 = 0xffff_fff2;

/// Filters of others come first.
const PRIORITY: u32 = 0xc000;
/// All protocols, in network byte order.
const ETH_P_ALL: u32 = 0x0300;

const TC_U32_TERMINAL: u8 = 1;
const TC_ACT_STOLEN: u32 = 4;
const TCA_EGRESS_REDIR: u32 = 1;

/// `struct tcmsg`.
fn fixed(link: u32, handle: u32, parent: u32, info: u32) -> [u8; 20] {
    let mut fixed = [0; 20];
    for (place, value) in [(4, link), (8, handle), (12, parent), (16, info)] {
        fixed[place..place + 4].copy_from_slice(&value.to_ne_bytes());
    }
    fixed
}

/// `struct tc_u32_sel` with one key, which every frame matches.
fn every_frame() -> [u8; 32] {
    let mut selector = [0; 32];
    selector[0] = TC_U32_TERMINAL;
    selector[2] = 1;
    selector
}

/// `struct tc_mirred`: send it out there, and that is all that happens to it.
fn out_through(link: u32) -> [u8; 28] {
    let mut parameters = [0; 28];
    for (place, value) in [(8, TC_ACT_STOLEN), (20, TCA_EGRESS_REDIR), (24, link)] {
        parameters[place..place + 4].copy_from_slice(&value.to_ne_bytes());
    }
    parameters
}

fn redirection(from: u32, to: u32) -> Message {
    let fixed = fixed(from, 0, INCOMING, PRIORITY << 16 | ETH_P_ALL);
    Message::change(RTM_NEWTFILTER, CREATE | EXCLUSIVE, &fixed)
        .with(TCA_KIND, b"u32\0")
        .nest(TCA_OPTIONS, |options| {
            let action = |action: Message| {
                action
                    .with(TCA_ACT_KIND, b"mirred\0")
                    .nest(TCA_ACT_OPTIONS, |options| {
                        options.with(TCA_MIRRED_PARMS, &out_through(to))
                    })
            };
            options
                .with(TCA_U32_SEL, &every_frame())
                .nest(TCA_U32_ACT, |actions| actions.nest(1, action))
        })
}

impl Socket {
    /// Makes room on a link for filters of incoming frames. `AlreadyExists` means that there is.
    pub fn add_ingress(&mut self, link: u32) -> io::Result<()> {
        let fixed = fixed(link, INGRESS_HANDLE, TC_H_INGRESS, 0);
        let message = Message::change(RTM_NEWQDISC, CREATE | EXCLUSIVE, &fixed);
        self.change(message.with(TCA_KIND, b"ingress\0"))
    }

    /// Takes that away again, with all filters there.
    pub fn remove_ingress(&mut self, link: u32) -> io::Result<()> {
        let fixed = fixed(link, INGRESS_HANDLE, TC_H_INGRESS, 0);
        self.change(Message::change(RTM_DELQDISC, 0, &fixed).with(TCA_KIND, b"ingress\0"))
    }

    /// Lets every frame that comes in on link `from` go out on link `to`.
    pub fn redirect(&mut self, from: u32, to: u32) -> io::Result<()> {
        self.change(redirection(from, to))
    }

    /// Takes the redirection from a link away, and no other filter.
    pub fn stop_redirecting(&mut self, from: u32) -> io::Result<()> {
        let fixed = fixed(from, 0, INCOMING, PRIORITY << 16 | ETH_P_ALL);
        self.change(Message::change(RTM_DELTFILTER, 0, &fixed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::{Attributes, u32_at};
    use crate::message::HEADER;

    #[test]
    fn a_redirection_names_both_links() {
        let bytes = redirection(3, 9).bytes(0);
        assert_eq!(u32_at(&bytes, HEADER + 4), Some(3));
        let outer = Attributes::new(&bytes[HEADER + 20..]);
        assert_eq!(outer.get_text(TCA_KIND).as_deref(), Some("u32"));
        let inner = |kinds: &[u16]| {
            kinds.iter().fold(outer.clone(), |attributes, kind| {
                Attributes::new(attributes.get(*kind).unwrap())
            })
        };
        let selector = inner(&[TCA_OPTIONS]).get(TCA_U32_SEL).unwrap();
        assert_eq!(selector.len(), 16 + 16);
        let action = inner(&[TCA_OPTIONS, TCA_U32_ACT, 1]);
        assert_eq!(action.get_text(TCA_ACT_KIND).as_deref(), Some("mirred"));
        let mirred = inner(&[TCA_OPTIONS, TCA_U32_ACT, 1, TCA_ACT_OPTIONS]);
        let mirred = mirred.get(TCA_MIRRED_PARMS).unwrap();
        assert_eq!((u32_at(mirred, 20), u32_at(mirred, 24)), (Some(1), Some(9)));
    }
}

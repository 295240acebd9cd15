//! Host programs that have connected and not said to which port of the guest they want.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use vmm_devices::host_warn;

use super::greeting::Greeting;
use super::token::Token;
use super::{PATIENCE, unwatch};
use crate::event_loop::{EventLoop, Interest};

/// Most of them at a time.
const MAX_VISITORS: usize = 64;

/// Those who are here.
#[derive(Debug, Default)]
pub(super) struct Visitors {
    here: HashMap<u16, Visitor>,
    last: u16,
}

#[derive(Debug)]
struct Visitor {
    socket: OwnedFd,
    greeting: Greeting,
    deadline: Instant,
}

impl Visitors {
    /// Whether no more can be let in.
    pub(super) fn are_too_many(&self) -> bool {
        self.here.len() >= MAX_VISITORS
    }

    /// Whether there are none.
    pub(super) fn are_gone(&self) -> bool {
        self.here.is_empty()
    }

    /// Lets one in, and waits for what it says.
    pub(super) fn admit(&mut self, socket: OwnedFd, events: &EventLoop) -> io::Result<()> {
        self.last = self.last.wrapping_add(1);
        let id = self.last;
        events.add(&socket, Token::Visitor(id).encode(), Interest::READ)?;
        let deadline = Instant::now() + PATIENCE;
        let visitor = Visitor {
            socket,
            greeting: Greeting::default(),
            deadline,
        };
        self.here.insert(id, visitor);
        Ok(())
    }

    /// Listens to one. Once it has said all, it is a visitor no more: gives the port and its socket.
    pub(super) fn hear(&mut self, id: u16, events: &EventLoop) -> Option<(u32, OwnedFd)> {
        let Visitor {
            socket, greeting, ..
        } = self.here.get_mut(&id)?;
        match greeting.read(socket) {
            Ok(None) => None,
            Ok(Some(port)) => Some((port, self.dismiss(id, events)?)),
            Err(error) => {
                host_warn!(%error, "a host program did not say which port it wants");
                self.dismiss(id, events);
                None
            }
        }
    }

    /// Sends those away who have said nothing for too long.
    pub(super) fn lose_patience(&mut self, now: Instant, events: &EventLoop) {
        let late = |visitor: &Visitor| visitor.deadline <= now;
        let late: Vec<u16> = (self.here.iter())
            .filter_map(|(id, visitor)| late(visitor).then_some(*id))
            .collect();
        for id in late {
            self.dismiss(id, events);
        }
    }

    fn dismiss(&mut self, id: u16, events: &EventLoop) -> Option<OwnedFd> {
        let socket = self.here.remove(&id)?.socket;
        unwatch(events, &socket);
        Some(socket)
    }
}

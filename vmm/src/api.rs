//! The control socket: requests of a sandbox in, answers and events out.
//!
//! Several connections may be open at a time, since a server that was restarted connects anew while the
//! old connection dies. None of them matters to the machine: a peer that does not read its answers is cut off,
//! and without any peer everything goes on. When the machine has ended, the process stays until somebody
//! has been told why, or for a while.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::{SocketFlags, accept_with};
use vmm_api::Event;
use vmm_devices::host_warn;

mod peer;
mod vmm;

use crate::event_loop::{EventLoop, Interest};
use crate::exit_code::ExitCode;
use crate::machine::Surroundings;
use crate::milestone::Ended;

use peer::{Outcome, Peer};
use vmm::Vmm;

/// Most connections at a time.
const MAX_PEERS: usize = 16;

const LISTENER: u64 = 0;
const END: u64 = 1;
const READY: u64 = 2;
const FIRST_PEER: u64 = 16;

/// Why the process may end by itself, and how long it waits before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Idle {
    /// It has a machine, or somebody is connected who may ask for one.
    Busy,
    /// Nobody is there to ask for a machine.
    Unused,
    /// The machine has ended, and nobody knows.
    Untold,
    /// Somebody knows, and has not hung up.
    Told,
    /// There is nothing more to do.
    Done,
}

impl Idle {
    const fn patience(self) -> Option<Duration> {
        match self {
            Self::Busy => None,
            Self::Unused => Some(Duration::from_secs(30)),
            Self::Untold => Some(Duration::from_secs(60)),
            Self::Told => Some(Duration::from_secs(2)),
            Self::Done => Some(Duration::ZERO),
        }
    }
}

/// The control thread's loop.
pub struct Api {
    listener: OwnedFd,
    events: EventLoop,
    peers: HashMap<u64, Peer>,
    next_peer: u64,
    vmm: Vmm,
    surroundings: Surroundings,
    idle: Idle,
    idle_since: Instant,
    /// Somebody knows how the machine ended.
    told: bool,
}

impl Api {
    /// Answers on connections to `listener`.
    pub fn new(listener: OwnedFd, surroundings: Surroundings) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&listener, true)?;
        let events = EventLoop::new()?;
        events.add(&listener, LISTENER, Interest::READ)?;
        events.add(&*surroundings.end, END, Interest::READ)?;
        events.add(&*surroundings.ready, READY, Interest::READ)?;
        Ok(Self {
            listener,
            events,
            peers: HashMap::new(),
            next_peer: FIRST_PEER,
            vmm: Vmm::new(surroundings.clone()),
            surroundings,
            idle: Idle::Unused,
            idle_since: Instant::now(),
            told: false,
        })
    }

    /// Until the machine has ended and somebody knows, or there never was one, or we were asked to end it.
    /// Gives how the process is to exit.
    pub fn run(mut self) -> io::Result<ExitCode> {
        while let Some(timeout) = self.timeout() {
            for ready in self.events.wait(timeout)? {
                match ready.token {
                    LISTENER => self.accept(),
                    END => self.machine_ended()?,
                    READY => self.guest_is_ready()?,
                    peer => self.serve(peer)?,
                }
            }
        }
        let ended = self.surroundings.end.get();
        Ok(ended.map_or(ExitCode::Unused, |ended| ended.how.into()))
    }

    /// How long to wait for something to happen, for ever being `Some(None)`; `None` if the process is to end.
    fn timeout(&mut self) -> Option<Option<Duration>> {
        let idle = self.idle();
        if idle != self.idle {
            (self.idle, self.idle_since) = (idle, Instant::now());
        }
        let Some(patience) = idle.patience() else {
            return Some(None);
        };
        let left = patience.saturating_sub(self.idle_since.elapsed());
        (!left.is_zero()).then_some(Some(left))
    }

    fn idle(&self) -> Idle {
        let subscribed = self.peers.values().any(Peer::is_subscribed);
        match (self.surroundings.end.is_reached(), self.told, subscribed) {
            (true, false, _) => Idle::Untold,
            (true, true, true) => Idle::Told,
            (true, true, false) => Idle::Done,
            (false, ..) if self.vmm.has_machine() || !self.peers.is_empty() => Idle::Busy,
            (false, ..) => Idle::Unused,
        }
    }

    fn accept(&mut self) {
        let accepted = accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
        let socket = match accepted {
            Ok(socket) => socket,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return,
            Err(error) => return host_warn!(%error, "the control socket accepts nobody"),
        };
        if self.peers.len() >= MAX_PEERS {
            return host_warn!("too many control connections");
        }
        let token = self.next_peer;
        self.next_peer += 1;
        if let Err(error) = self.events.add(&socket, token, Interest::READ) {
            return host_warn!(%error, "a control connection can't be listened to");
        }
        self.peers.insert(token, Peer::new(socket));
    }

    fn serve(&mut self, token: u64) -> io::Result<()> {
        let Some(peer) = self.peers.get_mut(&token) else {
            return Ok(());
        };
        match peer.serve(&mut self.vmm) {
            Outcome::Stay => {}
            Outcome::HangUp => self.hang_up(token)?,
            // It begins with how things stand, which may be the end.
            Outcome::Subscribed => self.told |= self.surroundings.end.is_reached(),
            Outcome::Booted => drop(self.publish(&Event::Running)?),
            Outcome::Killed => {
                self.machine_ended()?;
                self.told = true;
            }
        }
        Ok(())
    }

    fn hang_up(&mut self, token: u64) -> io::Result<()> {
        match self.peers.remove(&token) {
            Some(peer) => self.events.remove(peer.socket()),
            None => Ok(()),
        }
    }

    fn guest_is_ready(&mut self) -> io::Result<()> {
        self.events.remove(&*self.surroundings.ready)?;
        tracing::info!("the agent in the guest is ready");
        self.publish(&Event::GuestReady).map(drop)
    }

    fn machine_ended(&mut self) -> io::Result<()> {
        self.events.remove(&*self.surroundings.end)?;
        self.vmm.stop();
        if let Some(Ended { how, why }) = self.surroundings.end.get().cloned() {
            tracing::info!(?how, why, "the machine ended");
            self.told |= self.publish(&Event::Stopped { how, why })?;
        }
        Ok(())
    }

    /// Tells all subscribers. True if there were any.
    fn publish(&mut self, event: &Event) -> io::Result<bool> {
        let subscribers = self.peers.iter().filter(|(_, peer)| peer.is_subscribed());
        let (told, lost): (Vec<_>, Vec<_>) = subscribers
            .map(|(token, peer)| (*token, peer.publish(event)))
            .partition(|(_, outcome)| outcome.is_ok());
        for (token, _) in lost {
            self.hang_up(token)?;
        }
        Ok(!told.is_empty())
    }
}

#[cfg(test)]
mod tests;

//! A queue pair whose frames we move: what we hold of the host's side for it.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::backend::{NetBackend, Offloads, Part};
use super::config::UdpSegments;
use super::control::QueuePair;
use super::gate::Gate;
use crate::host_warn;

pub(super) struct Pair {
    backend: Box<dyn NetBackend>,
    /// Shut while frames can't be taken, since they lie there meanwhile.
    gate: Gate,
    part: Part,
}

impl Pair {
    /// The first pair of an interface always has a part in its traffic, the others once they are used.
    pub(super) fn all(backends: Vec<Box<dyn NetBackend>>) -> io::Result<Vec<Self>> {
        let mut pairs = Vec::new();
        for mut backend in backends {
            let mut part = Part::Taken;
            if !pairs.is_empty() {
                backend.set_part(Part::Left)?;
                part = Part::Left;
            }
            pairs.push(Self {
                gate: Gate::new(backend.fd())?,
                backend,
                part,
            });
        }
        Ok(pairs)
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.backend.fd()
    }

    pub(super) fn watch(&self) -> io::Result<OwnedFd> {
        self.gate.fd()
    }

    pub(super) fn udp_segments(&self) -> UdpSegments {
        self.backend.udp_segments()
    }

    pub(super) fn set_offloads(&mut self, offloads: Offloads) -> io::Result<()> {
        self.backend.set_offloads(offloads)
    }

    /// Takes frames from now on, if there are any for it.
    pub(super) fn open(&mut self) -> io::Result<()> {
        match self.part {
            Part::Taken => self.gate.open(),
            Part::Left => Ok(()),
        }
    }

    /// Leaves frames where they are.
    pub(super) fn shut(&mut self) {
        if let Err(error) = self.gate.shut() {
            host_warn!(%error, "an interface can't be left alone");
        }
    }
}

impl QueuePair for Pair {
    fn set_part(&mut self, part: Part) -> io::Result<()> {
        if self.part == part {
            return Ok(());
        }
        if part == Part::Left {
            self.gate.shut()?;
        }
        self.backend.set_part(part)?;
        self.part = part;
        self.open()
    }
}

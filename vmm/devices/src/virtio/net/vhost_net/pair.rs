//! A queue pair whose frames the kernel moves: a queue of the TAP device, a vhost-net, and how they call.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::super::Tap;
use super::super::backend::{NetBackend, Part};
use super::super::control::QueuePair;
use super::kernel::{Bells, Vhost};
use crate::virtio::Activation;
use crate::virtio::worker::descriptor;

/// An event descriptor that the kernel signals.
pub(super) type Bell = EventFd;

/// A pair's bells: a call for each queue, then one for complaints.
pub(super) const BELLS: usize = 3;
pub(super) const ERROR: usize = 2;

pub(super) struct Pair {
    pub(super) tap: Tap,
    vhost: Vhost,
    bells: [Arc<Bell>; BELLS],
    part: Part,
    /// Queues whose rings the kernel knows.
    told: Vec<usize>,
    /// Queues that have the TAP device.
    running: Vec<usize>,
}

impl Pair {
    /// The first pair of an interface always has a part in its traffic, the others once they are used.
    pub(super) fn all(queues: Vec<(Tap, Vhost)>) -> io::Result<Vec<Self>> {
        let mut pairs = Vec::new();
        for (mut tap, vhost) in queues {
            let mut part = Part::Taken;
            if !pairs.is_empty() {
                tap.set_part(Part::Left)?;
                part = Part::Left;
            }
            let bell = || EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).map(Arc::new);
            pairs.push(Self {
                tap,
                vhost,
                bells: [bell()?, bell()?, bell()?],
                part,
                told: Vec::new(),
                running: Vec::new(),
            });
        }
        Ok(pairs)
    }

    pub(super) fn bell(&self, bell: usize) -> &Arc<Bell> {
        &self.bells[bell]
    }

    /// The bells' descriptors.
    pub(super) fn watch(&self) -> impl Iterator<Item = io::Result<OwnedFd>> {
        let bells = self.bells.iter();
        bells.map(|bell| bell.try_clone().map(descriptor))
    }

    /// Says where the pair's queues are, the first of which is the device's `first`.
    pub(super) fn tell(&mut self, activation: &Activation, first: usize) -> io::Result<()> {
        let Activation {
            memory,
            queues,
            features,
            notifiers,
            ..
        } = activation;
        self.vhost.set_up(*features, memory)?;
        for index in 0..2 {
            let Some(layout) = queues[first + index].layout() else {
                continue;
            };
            let bells = Bells {
                kick: &notifiers[first + index],
                call: &self.bells[index],
                error: &self.bells[ERROR],
            };
            self.vhost.set_ring(index, &layout, &bells)?;
            self.told.push(index);
        }
        Ok(())
    }

    /// Lets the kernel move frames.
    pub(super) fn start(&mut self) -> io::Result<()> {
        for index in self.told.clone() {
            let tap = Some(self.tap.fd().as_raw_fd());
            self.vhost.set_interface(index, tap)?;
            self.running.push(index);
        }
        Ok(())
    }

    /// Lets it move none; it still knows how far it is.
    fn pause(&mut self) -> io::Result<()> {
        while let Some(index) = self.running.last() {
            self.vhost.set_interface(*index, None)?;
            self.running.pop();
        }
        Ok(())
    }

    /// Lets it move none, and holds no guest memory from now on.
    pub(super) fn stop(&mut self) -> io::Result<()> {
        self.told.clear();
        let paused = self.pause();
        self.vhost.forget();
        paused
    }
}

impl QueuePair for Pair {
    /// The kernel polls the TAP device only while it is attached.
    fn set_part(&mut self, part: Part) -> io::Result<()> {
        if self.part == part {
            return Ok(());
        }
        if part == Part::Left {
            self.pause()?;
        }
        self.tap.set_part(part)?;
        self.part = part;
        match part {
            Part::Taken => self.start(),
            Part::Left => Ok(()),
        }
    }
}

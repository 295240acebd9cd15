//! Whether the I/O thread looks at an interface.
//!
//! Frames that nobody can take stay where they are and would wake the thread for ever. So it watches
//! a set of descriptors instead, in which the interface is only while frames can be taken.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::epoll::{CreateFlags, EventData, EventFlags, add, create, delete};

pub(super) struct Gate {
    set: OwnedFd,
    interface: OwnedFd,
    open: bool,
}

impl Gate {
    /// A gate before `interface`, which is shut.
    pub(super) fn new(interface: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self {
            set: create(CreateFlags::CLOEXEC)?,
            interface: interface.try_clone_to_owned()?,
            open: false,
        })
    }

    /// Readable while the gate is open and a frame is there.
    pub(super) fn fd(&self) -> io::Result<OwnedFd> {
        self.set.try_clone()
    }

    pub(super) fn open(&mut self) -> io::Result<()> {
        if !self.open {
            let nothing = EventData::new_u64(0);
            add(&self.set, &self.interface, nothing, EventFlags::IN)?;
            self.open = true;
        }
        Ok(())
    }

    /// Not with an empty set of events, which would let errors of the interface through.
    pub(super) fn shut(&mut self) -> io::Result<()> {
        if self.open {
            delete(&self.set, &self.interface)?;
            self.open = false;
        }
        Ok(())
    }
}

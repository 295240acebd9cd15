//! A thread that works for devices: it waits for their descriptors and runs them when there is something.

use std::collections::HashMap;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, eventfd};
use vmm_api::event::Stop;
use vmm_devices::host_warn;
use vmm_devices::virtio::Worker;

use crate::event_loop::{EventLoop, Interest};
use crate::milestone::{Ended, Milestone};
use crate::seccomp::{Filters, Role};

/// The thread, seen from the one that made it. Ends with it.
pub(crate) struct IoThread {
    commands: Option<Sender<Command>>,
    wake: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

/// A device that the thread works for, by its PCI slot.
type Slot = u8;

enum Command {
    Add(Slot, Arc<Worker>),
    /// Answered when the thread no longer works for the device.
    Remove(Slot, SyncSender<()>),
}

impl IoThread {
    /// Starts a thread called `name`, restricted by `filters`, which works for no device yet. What it can't
    /// go on after ends the machine.
    pub(crate) fn spawn(
        name: &str,
        filters: Arc<Filters>,
        end: Arc<Milestone<Ended>>,
    ) -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let (commands, inbox) = channel();
        let events = EventLoop::new()?;
        events.add(&wake, WAKE, Interest::READ)?;
        let body = Body {
            events,
            wake: wake.try_clone()?,
            inbox,
            devices: HashMap::new(),
        };
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || {
            let result = filters.apply(Role::Io).map_err(io::Error::other);
            if let Err(error) = result.and_then(|()| body.run()) {
                let name = std::thread::current();
                let name = name.name().unwrap_or_default();
                end.end(Stop::HostError, format!("thread {name} failed: {error}"));
            }
        })?;
        Ok(Self {
            commands: Some(commands),
            wake,
            thread: Some(thread),
        })
    }

    /// Works for the device in `slot` from now on.
    pub(crate) fn add(&self, slot: Slot, worker: Arc<Worker>) {
        self.command(Command::Add(slot, worker));
    }

    /// Works for the device in `slot` no more once this returns.
    pub(crate) fn remove(&self, slot: Slot) {
        let (done, told) = sync_channel(1);
        self.command(Command::Remove(slot, done));
        // An error means that the thread is gone, and works for nobody.
        let _ = told.recv();
    }

    fn command(&self, command: Command) {
        if let Some(commands) = &self.commands {
            // A thread that is gone has told why, and needs no commands.
            let _ = commands.send(command);
            self.wake();
        }
    }

    fn wake(&self) {
        if let Err(error) = rustix::io::write(&self.wake, &1u64.to_ne_bytes()) {
            host_warn!(%error, "a thread can't be woken");
        }
    }
}

impl Drop for IoThread {
    /// Lets the thread finish what it is at.
    fn drop(&mut self) {
        self.commands = None;
        self.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            host_warn!("a thread panicked");
        }
    }
}

/// The descriptor by which the thread is woken for commands.
const WAKE: u64 = u64::MAX;

/// What the thread has of its own.
struct Body {
    events: EventLoop,
    wake: OwnedFd,
    inbox: Receiver<Command>,
    devices: HashMap<Slot, Arc<Worker>>,
}

impl Body {
    /// Until the other side is dropped.
    fn run(mut self) -> io::Result<()> {
        loop {
            for ready in self.events.wait(None)? {
                if ready.token != WAKE {
                    self.work(ready.token)?;
                } else if self.obey()? == Next::Finish {
                    return Ok(());
                }
            }
        }
    }

    fn work(&self, token: u64) -> io::Result<()> {
        let (slot, descriptor) = decode(token);
        match self.devices.get(&slot) {
            Some(worker) => worker.handle(descriptor).map_err(io::Error::other),
            // It was removed by a command in the same batch.
            None => Ok(()),
        }
    }

    fn obey(&mut self) -> io::Result<Next> {
        // That nobody woke us is no trouble.
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        loop {
            use std::sync::mpsc::TryRecvError::{Disconnected, Empty};
            match self.inbox.try_recv() {
                Ok(Command::Add(slot, worker)) => self.add(slot, worker)?,
                Ok(Command::Remove(slot, done)) => {
                    self.remove(slot)?;
                    // Whoever asked may have lost interest.
                    let _ = done.send(());
                }
                Err(Empty) => return Ok(Next::GoOn),
                Err(Disconnected) => return Ok(Next::Finish),
            }
        }
    }

    fn add(&mut self, slot: Slot, worker: Arc<Worker>) -> io::Result<()> {
        for (descriptor, fd) in borrowed(&worker).enumerate() {
            self.events
                .add(fd, encode(slot, descriptor), Interest::READ)?;
        }
        self.devices.insert(slot, worker);
        Ok(())
    }

    fn remove(&mut self, slot: Slot) -> io::Result<()> {
        let Some(worker) = self.devices.remove(&slot) else {
            return Ok(());
        };
        for fd in borrowed(&worker) {
            self.events.remove(fd)?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    GoOn,
    Finish,
}

/// The descriptors of `worker`.
#[expect(unsafe_code, reason = "event descriptors come as numbers")]
fn borrowed(worker: &Worker) -> impl Iterator<Item = BorrowedFd<'_>> {
    // UNSAFETY: a number says nothing about who keeps the descriptor open.
    worker.fds().into_iter().map(|fd| {
        // SAFETY: the worker keeps its descriptors open as long as it exists, and is borrowed.
        unsafe { BorrowedFd::borrow_raw(fd) }
    })
}

fn encode(slot: Slot, descriptor: usize) -> u64 {
    u64::from(slot) << 32 | descriptor as u64
}

fn decode(token: u64) -> (Slot, usize) {
    let slot = Slot::try_from(token >> 32).expect("tokens are made by `encode`");
    let descriptor = usize::try_from(token & 0xffff_ffff).expect("addresses have 64 bits");
    (slot, descriptor)
}

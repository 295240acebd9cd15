//! Door for the fuzz targets to the multiplexer, and what must hold whatever a guest sends.

use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::console::Console;
use crate::milestone::Milestone;
use crate::services;

/// A multiplexer with the services that a guest can reach, and programs of the host.
pub struct Streams {
    mux: Mux,
    address: SocketAddr,
    programs: Vec<UnixStream>,
}

impl Streams {
    /// No streams yet.
    pub fn new() -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let address = SocketAddr::from_abstract_name(format!("fuzzing-{process}-{count}"))?;
        let listener = UnixListener::bind_addr(&address)?;
        let ready = Arc::new(Milestone::new()?);
        let file = rustix::fs::memfd_create("console", rustix::fs::MemfdFlags::CLOEXEC)?;
        let console = Console::new(file.into(), 0)?;
        let connect = services::for_guest(&Arc::default(), &ready, console);
        Ok(Self {
            mux: Mux::new(listener.into(), connect)?,
            address,
            programs: Vec::new(),
        })
    }

    /// The guest sends.
    pub fn send(&mut self, packet: &Header, payload: &[u8]) {
        let busy = self.mux.send(packet, payload) == Sent::Busy;
        assert!(!busy || self.mux.has_pending(), "busy with nothing");
        self.check();
    }

    /// The guest has room for a packet with so much payload.
    pub fn receive(&mut self, room: usize) {
        let mut payload = vec![0; room];
        if let Some(packet) = self.mux.receive(&mut payload) {
            let len = usize::try_from(packet.len).expect("a packet is short");
            assert!(len <= room, "{len} bytes of payload in {room}");
        }
        self.check();
    }

    /// The guest forgets everything.
    pub fn reset(&mut self) {
        self.mux.reset();
        assert!(self.mux.streams.is_empty());
        self.check();
    }

    /// What has happened on the host's side is dealt with.
    pub fn host_event(&mut self) {
        self.mux.host_event();
        self.check();
    }

    /// Time has passed.
    pub fn lose_patience(&mut self) {
        self.mux.lose_patience(Instant::now() + 2 * PATIENCE);
        self.check();
    }

    /// A program of the host connects and says `words`.
    pub fn visit(&mut self, words: &[u8]) -> io::Result<()> {
        let mut program = UnixStream::connect_addr(&self.address)?;
        program.set_nonblocking(true)?;
        let _ = program.write(words);
        self.programs.push(program);
        Ok(())
    }

    /// The program goes on: it writes, reads, or leaves.
    pub fn program(&mut self, index: usize, bytes: &[u8], leaves: bool) {
        if self.programs.is_empty() {
            return;
        }
        let index = index % self.programs.len();
        let program = &mut self.programs[index];
        let _ = program.write(bytes);
        let _ = program.read(&mut [0; 4096]);
        if leaves {
            self.programs.swap_remove(index);
        }
    }

    /// All that the guest makes us hold is bounded.
    fn check(&self) {
        let mux = &self.mux;
        assert!(mux.streams.len() <= MAX_STREAMS);
        assert!(mux.resets.len() <= MAX_RESETS);
        assert!(
            mux.line.len() <= mux.streams.len(),
            "{} turns of {} streams",
            mux.line.len(),
            mux.streams.len()
        );
        let of_guest = mux.streams.keys().filter(|p| p.host < FIRST_HOST_PORT);
        assert!(of_guest.count() <= MAX_GUEST_STREAMS);
    }
}

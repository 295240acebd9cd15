//! All streams of one guest.
//!
//! The guest decides how many packets come and what is in them; what they make us hold is bounded: so
//! many streams, so many bytes per stream, so many refusals on their way.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rustix::net::{SocketFlags, accept_with};
use vmm_devices::virtio::vsock::header::{TYPE_STREAM, op};
use vmm_devices::virtio::vsock::{Header, Sent, VsockBackend};
use vmm_devices::{guest_warn, host_warn};

use super::connection::Connection;
use super::greeting;
use super::ports::{Ports, to_guest};
use super::socket_end::SocketEnd;
use super::tick::Tick;
use super::token::Token;
use super::visitors::Visitors;
use super::{HOST_CID, HostEnd, PATIENCE, unwatch};
use crate::event_loop::{EventLoop, Interest, Ready};

/// Most streams at a time.
const MAX_STREAMS: usize = 1024;
/// Most of them that the guest began: each service, and tries to reach one that it has given up.
const MAX_GUEST_STREAMS: usize = 16;
/// Most refusals that wait for the guest to take them.
const MAX_RESETS: usize = 128;

/// Our ports of streams that the host began are taken from here on.
const FIRST_HOST_PORT: u32 = 1 << 30;

/// Finds the host end for a stream that the guest wants to one of our ports; none refuses it.
pub(crate) type Connect = Box<dyn FnMut(u32) -> Option<Box<dyn HostEnd>> + Send>;

/// A stream, and what we do about it.
struct Stream {
    connection: Connection,
    /// What the event loop waits for at its host end, if it waits for it at all.
    watched: Option<Interest>,
    /// It is in line for the guest's next buffer.
    queued: bool,
    /// When we lose patience with the guest.
    deadline: Option<Instant>,
}

/// The multiplexer: the guest's packets on one side, the host's sockets on the other.
pub(crate) struct Mux {
    listener: OwnedFd,
    events: EventLoop,
    tick: Tick,
    connect: Connect,
    streams: HashMap<Ports, Stream>,
    visitors: Visitors,
    /// Streams with something for the guest, in the order of their turns.
    line: VecDeque<Ports>,
    /// Refusals of what is no stream.
    resets: VecDeque<Header>,
    last_host_port: u32,
}

impl Mux {
    /// Serves host programs at `listener`, and the guest with what `connect` finds.
    pub(crate) fn new(listener: OwnedFd, connect: Connect) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&listener, true)?;
        let (events, tick) = (EventLoop::new()?, Tick::new()?);
        events.add(&listener, Token::Listener.encode(), Interest::READ)?;
        events.add(&tick, Token::Tick.encode(), Interest::READ)?;
        Ok(Self {
            listener,
            events,
            tick,
            connect,
            streams: HashMap::new(),
            visitors: Visitors::default(),
            line: VecDeque::new(),
            resets: VecDeque::new(),
            last_host_port: FIRST_HOST_PORT - 1,
        })
    }

    fn handle(&mut self, ready: Ready) {
        match Token::decode(ready.token) {
            Token::Listener => self.accept(),
            Token::Tick => self.lose_patience(Instant::now()),
            Token::Visitor(id) => self.listen_to(id),
            Token::Stream(ports) => self.stream_ready(ports, ready),
        }
    }

    /// Lets one host program in. Others keep the listener readable.
    fn accept(&mut self) {
        let accepted = accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
        let socket = match accepted {
            Ok(socket) => socket,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return,
            Err(error) => return host_warn!(%error, "a host program can't connect to the guest"),
        };
        // Dropping the socket tells the program; waiting for room would not.
        if self.visitors.are_too_many() || self.streams.len() >= MAX_STREAMS {
            return host_warn!("too many streams to the guest");
        }
        match self.visitors.admit(socket, &self.events) {
            Ok(()) => self.tick.start(),
            Err(error) => host_warn!(%error, "a host program can't be listened to"),
        }
    }

    /// Asks the guest for what a visitor wants, if it has said so.
    fn listen_to(&mut self, visitor: u16) {
        if let Some((port, socket)) = self.visitors.hear(visitor, &self.events) {
            self.request(port, socket);
        }
    }

    fn request(&mut self, guest: u32, socket: OwnedFd) {
        let ports = Ports {
            host: self.free_host_port(guest),
            guest,
        };
        let end = Box::new(SocketEnd(socket));
        self.insert(ports, Connection::requested(ports, end));
    }

    fn free_host_port(&mut self, guest: u32) -> u32 {
        loop {
            // At most `MAX_STREAMS` of the ports are taken.
            self.last_host_port = (self.last_host_port + 1) % FIRST_HOST_PORT + FIRST_HOST_PORT;
            let host = self.last_host_port;
            if !self.streams.contains_key(&Ports { host, guest }) {
                return host;
            }
        }
    }

    fn insert(&mut self, ports: Ports, connection: Connection) {
        let mut stream = Stream {
            connection,
            watched: None,
            queued: false,
            deadline: None,
        };
        if let Some(fd) = stream.connection.end().fd() {
            let nothing = Interest::default();
            match self.events.add(fd, Token::Stream(ports).encode(), nothing) {
                Ok(()) => stream.watched = Some(nothing),
                Err(error) => {
                    host_warn!(%error, "a stream's host end can't be listened to");
                    stream.connection.abort();
                }
            }
        }
        self.streams.insert(ports, stream);
        self.settle(ports);
    }

    fn stream_ready(&mut self, ports: Ports, ready: Ready) {
        let Some(stream) = self.streams.get_mut(&ports) else {
            return;
        };
        stream.connection.host_ready(ready);
        // It would be told of for ever; and from now on reading tells at once.
        if ready.hangup
            && stream.watched.take().is_some()
            && let Some(fd) = stream.connection.end().fd()
        {
            unwatch(&self.events, fd);
        }
        self.settle(ports);
    }

    /// Does for a stream what its new state calls for.
    fn settle(&mut self, ports: Ports) {
        let Some(stream) = self.streams.get_mut(&ports) else {
            return;
        };
        if stream.connection.is_over() {
            return self.remove(ports);
        }
        stream.watch(&self.events, ports);
        if stream.connection.awaits_guest() {
            let patience = || Instant::now() + PATIENCE;
            stream.deadline.get_or_insert_with(patience);
            self.tick.start();
        } else {
            stream.deadline = None;
        }
        if stream.connection.has_next() && !stream.queued {
            stream.queued = true;
            self.line.push_back(ports);
        }
    }

    fn remove(&mut self, ports: Ports) {
        let Some(stream) = self.streams.remove(&ports) else {
            return;
        };
        // Else a guest that comes and goes, and takes nothing, makes the line longer and longer.
        if stream.queued {
            self.line.retain(|turn| *turn != ports);
        }
        if let Some(fd) = stream.connection.end().fd()
            && stream.watched.is_some()
        {
            unwatch(&self.events, fd);
        }
    }

    fn lose_patience(&mut self, now: Instant) {
        self.tick.clear();
        self.visitors.lose_patience(now, &self.events);
        let late = |deadline: Instant| deadline <= now;
        let streams: Vec<Ports> = (self.streams.iter())
            .filter_map(|(ports, stream)| stream.deadline.is_some_and(late).then_some(*ports))
            .collect();
        for ports in streams {
            if let Some(stream) = self.streams.get_mut(&ports) {
                stream.connection.abort();
            }
            self.settle(ports);
        }
        let waits = self
            .streams
            .values()
            .any(|stream| stream.deadline.is_some());
        if !waits && self.visitors.are_gone() {
            self.tick.stop();
        }
    }

    /// A packet of a stream that exists.
    fn receive_on(&mut self, ports: Ports, packet: &Header, payload: &[u8]) {
        let Some(stream) = self.streams.get_mut(&ports) else {
            return;
        };
        let accepted = stream.connection.receive(packet, payload);
        if accepted
            && let Some(fd) = stream.connection.end().fd()
            && let Err(error) = greeting::answer(fd, ports.host)
        {
            host_warn!(%error, "a host program did not wait for its stream");
            stream.connection.abort();
        }
        self.settle(ports);
    }

    /// A packet of no stream: the guest wants one, or is mistaken.
    fn receive_new(&mut self, ports: Ports, packet: &Header) {
        let end = match (packet.op, packet.socket_type) {
            (op::RST, _) => return,
            (op::REQUEST, TYPE_STREAM) if self.has_room_for_guest() => (self.connect)(ports.host),
            _ => None,
        };
        match end {
            Some(end) => self.insert(ports, Connection::accepted(packet, end)),
            None => self.resets.push_back(Header {
                socket_type: packet.socket_type,
                ..to_guest(ports, op::RST)
            }),
        }
    }

    fn has_room_for_guest(&self) -> bool {
        let of_guest = |ports: &&Ports| ports.host < FIRST_HOST_PORT;
        let of_guest = self.streams.keys().filter(of_guest).count();
        of_guest < MAX_GUEST_STREAMS && self.streams.len() < MAX_STREAMS
    }
}

impl Stream {
    /// Makes the event loop wait for what the connection wants, unless the host end is gone.
    fn watch(&mut self, events: &EventLoop, ports: Ports) {
        let (Some(watched), Some(fd)) = (&mut self.watched, self.connection.end().fd()) else {
            return;
        };
        let wanted = self.connection.interest();
        if *watched == wanted {
            return;
        }
        match events.modify(fd, Token::Stream(ports).encode(), wanted) {
            Ok(()) => *watched = wanted,
            Err(error) => {
                host_warn!(%error, "a stream's host end can't be listened to");
                self.connection.abort();
            }
        }
    }
}

impl VsockBackend for Mux {
    fn host_fd(&self) -> io::Result<OwnedFd> {
        self.events.as_fd().try_clone_to_owned()
    }

    fn host_event(&mut self) {
        match self.events.poll() {
            Ok(ready) => ready.into_iter().for_each(|ready| self.handle(ready)),
            Err(error) => host_warn!(%error, "the host's ends of streams can't be polled"),
        }
    }

    fn send(&mut self, packet: &Header, payload: &[u8]) -> Sent {
        if self.resets.len() >= MAX_RESETS {
            return Sent::Busy;
        }
        if packet.dst_cid != HOST_CID {
            guest_warn!(packet.dst_cid, "the guest sent a packet to nobody");
            return Sent::Taken;
        }
        let ports = Ports::of(packet);
        let draining = self
            .streams
            .get(&ports)
            .map(|stream| stream.connection.is_draining());
        match draining {
            None => self.receive_new(ports, packet),
            // The guest has forgotten the old stream, and may use its port anew.
            Some(true) if packet.op == op::REQUEST => {
                self.remove(ports);
                self.receive_new(ports, packet);
            }
            Some(_) => self.receive_on(ports, packet, payload),
        }
        Sent::Taken
    }

    fn has_pending(&self) -> bool {
        !self.resets.is_empty() || !self.line.is_empty()
    }

    fn receive(&mut self, payload: &mut [u8]) -> Option<Header> {
        if let Some(reset) = self.resets.pop_front() {
            return Some(reset);
        }
        while let Some(ports) = self.line.pop_front() {
            let Some(stream) = self.streams.get_mut(&ports) else {
                continue;
            };
            stream.queued = false;
            let packet = stream.connection.next(payload);
            self.settle(ports);
            if packet.is_some() {
                return packet;
            }
        }
        None
    }

    fn reset(&mut self) {
        self.line.clear();
        self.resets.clear();
        let all: Vec<Ports> = self.streams.keys().copied().collect();
        all.into_iter().for_each(|ports| self.remove(ports));
    }
}

#[cfg(fuzzing)]
pub(super) mod fuzzing;
#[cfg(test)]
mod tests;

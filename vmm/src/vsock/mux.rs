//! All streams of one guest.
//!
//! The guest decides how many packets come and what is in them; what they make us hold is bounded: so
//! many streams, so many bytes per stream, so many refusals on their way.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::net::{SocketFlags, accept_with};
use vmm_devices::virtio::vsock::header::{TYPE_STREAM, op};
use vmm_devices::virtio::vsock::{Header, Sent, VsockBackend};
use vmm_devices::{guest_warn, host_warn};

use super::connection::Connection;
use super::greeting::{self, Greeting};
use super::ports::{Ports, to_guest};
use super::socket_end::SocketEnd;
use super::tick::Tick;
use super::{HOST_CID, HostEnd};
use crate::event_loop::{EventLoop, Interest, Ready};

/// Most streams at a time.
const MAX_STREAMS: usize = 1024;
/// Most of them that the guest began.
const MAX_GUEST_STREAMS: usize = 16;
/// Most host programs that have connected but not said to which port.
const MAX_GREETINGS: usize = 64;
/// Most refusals that wait for the guest to take them.
const MAX_RESETS: usize = 128;

/// How long we wait for a guest's answer that a well-behaved one gives at once, and for a greeting.
const PATIENCE: Duration = Duration::from_secs(10);

/// Our ports of streams that the host began are taken from here on.
const FIRST_HOST_PORT: u32 = 1 << 30;

/// Finds the host end for a stream that the guest wants to one of our ports; none refuses it.
pub(crate) type Connect = Box<dyn FnMut(u32) -> Option<Box<dyn HostEnd>> + Send>;

/// What a descriptor is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Listener,
    Tick,
    Greeting(u32),
    Stream(Ports),
}

impl Token {
    /// No stream has host port 0, so those numbers are free for the rest.
    const fn encode(self) -> u64 {
        match self {
            Self::Listener => 0,
            Self::Tick => 1,
            Self::Greeting(id) => 2 + id as u64,
            Self::Stream(ports) => (ports.host as u64) << 32 | ports.guest as u64,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "halves of a number are meant"
    )]
    const fn decode(token: u64) -> Self {
        match (token >> 32, token) {
            (0, 0) => Self::Listener,
            (0, 1) => Self::Tick,
            (0, id) => Self::Greeting(id as u32 - 2),
            (host, guest) => Self::Stream(Ports {
                host: host as u32,
                guest: guest as u32,
            }),
        }
    }
}

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

/// A host program that has not said its port yet.
struct Visitor {
    socket: OwnedFd,
    deadline: Instant,
}

/// The multiplexer: the guest's packets on one side, the host's sockets on the other.
pub(crate) struct Mux {
    listener: OwnedFd,
    events: EventLoop,
    tick: Tick,
    connect: Connect,
    streams: HashMap<Ports, Stream>,
    visitors: HashMap<u32, Visitor>,
    /// Streams with something for the guest, in the order of their turns.
    line: VecDeque<Ports>,
    /// Refusals of what is no stream.
    resets: VecDeque<Header>,
    last_host_port: u32,
    last_visitor: u32,
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
            visitors: HashMap::new(),
            line: VecDeque::new(),
            resets: VecDeque::new(),
            last_host_port: FIRST_HOST_PORT - 1,
            last_visitor: 0,
        })
    }

    fn handle(&mut self, ready: Ready) {
        match Token::decode(ready.token) {
            Token::Listener => self.accept(),
            Token::Tick => self.lose_patience(Instant::now()),
            Token::Greeting(id) => self.greet(id),
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
        if self.visitors.len() >= MAX_GREETINGS || self.streams.len() >= MAX_STREAMS {
            return host_warn!("too many streams to the guest");
        }
        self.last_visitor = self.last_visitor.wrapping_add(1) & 0xffff;
        let id = self.last_visitor;
        let watched = self
            .events
            .add(&socket, Token::Greeting(id).encode(), Interest::READ);
        if let Err(error) = watched {
            return host_warn!(%error, "a host program can't be listened to");
        }
        let deadline = Instant::now() + PATIENCE;
        self.visitors.insert(id, Visitor { socket, deadline });
        self.tick.start();
    }

    /// Listens to what a visitor wants, and asks the guest for it.
    fn greet(&mut self, id: u32) {
        let Some(visitor) = self.visitors.get(&id) else {
            return;
        };
        let greeting = greeting::read(&visitor.socket);
        if matches!(greeting, Ok(Greeting::Pending)) {
            return;
        }
        let Some(socket) = self.dismiss(id) else {
            return;
        };
        match greeting {
            Ok(Greeting::Port(guest)) => self.request(guest, socket),
            Ok(Greeting::Pending) => {}
            Err(error) => host_warn!(%error, "a host program did not say which port it wants"),
        }
    }

    fn dismiss(&mut self, id: u32) -> Option<OwnedFd> {
        let socket = self.visitors.remove(&id)?.socket;
        unwatch(&self.events, &socket);
        Some(socket)
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
        if let Some(stream) = self.streams.remove(&ports)
            && let Some(fd) = stream.connection.end().fd()
            && stream.watched.is_some()
        {
            unwatch(&self.events, fd);
        }
    }

    fn lose_patience(&mut self, now: Instant) {
        self.tick.clear();
        let late = |deadline: Instant| deadline <= now;
        let visitors: Vec<u32> = (self.visitors.iter())
            .filter_map(|(id, visitor)| late(visitor.deadline).then_some(*id))
            .collect();
        for id in visitors {
            self.dismiss(id);
        }
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
        if !waits && self.visitors.is_empty() {
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

fn unwatch(events: &EventLoop, fd: impl AsFd) {
    if let Err(error) = events.remove(fd) {
        host_warn!(%error, "a descriptor can't be left alone");
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
        let all: Vec<Ports> = self.streams.keys().copied().collect();
        all.into_iter().for_each(|ports| self.remove(ports));
        self.line.clear();
        self.resets.clear();
    }
}

#[cfg(test)]
mod tests;

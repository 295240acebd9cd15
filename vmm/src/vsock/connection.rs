//! One stream: what each side may still send, and what is on its way.
//!
//! ```text
//!             guest's Response                both sides done, or either aborts
//! Requested ───────────────────▶ Established ─────────────────────────────────▶ Closing ──▶ over
//!  (we asked)                    (or accepted)                     (Reset still to be sent)
//! ```
//!
//! We never send more than the guest has room for, and a guest that sends more than we have room for is
//! cut off ([`super::credit`]).

use std::collections::VecDeque;
use std::io::{self, ErrorKind};

use vmm_devices::virtio::vsock::Header;
use vmm_devices::virtio::vsock::header::{SHUTDOWN_RECEIVE, SHUTDOWN_SEND, op};

use super::HostEnd;
use super::credit::Credit;
use super::ports::{Ports, to_guest};
use crate::event_loop::{Interest, Ready};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// We asked the guest for it.
    Requested,
    /// Bytes may flow.
    Established,
    /// It has ended, but for telling the guest.
    Closing,
    /// The guest knows that it has ended; the host end may still have bytes to take.
    Draining,
}

/// Control packets that the guest is still to get.
#[derive(Clone, Copy, Debug, Default)]
struct Owed {
    request: bool,
    response: bool,
    credit_update: bool,
    /// Directions whose end the guest is to be told of.
    shutdown: u32,
}

/// One stream between a host end and a port of the guest.
pub(super) struct Connection {
    ports: Ports,
    end: Box<dyn HostEnd>,
    state: State,
    owed: Owed,

    credit: Credit,
    /// What the host end has not taken yet.
    to_host: VecDeque<u8>,
    /// The host end may have bytes for the guest.
    readable: bool,
    /// What the guest announced to do no more.
    guest_shutdown: u32,
    /// What the guest knows that we do no more.
    our_shutdown: u32,
    /// The host end has heard that the guest sends no more.
    end_told: bool,
    /// The host end takes no more.
    end_deaf: bool,
}

impl Connection {
    /// A connection that a host program wants; the guest is asked for it.
    pub(super) fn requested(ports: Ports, end: Box<dyn HostEnd>) -> Self {
        let mut connection = Self::new(ports, end, State::Requested);
        connection.owed.request = true;
        connection
    }

    /// A connection that the guest wants; `request` is its packet. It is accepted.
    pub(super) fn accepted(request: &Header, end: Box<dyn HostEnd>) -> Self {
        let mut connection = Self::new(Ports::of(request), end, State::Established);
        connection.credit.hear(request);
        connection.owed.response = true;
        connection.readable = true;
        connection
    }

    fn new(ports: Ports, end: Box<dyn HostEnd>, state: State) -> Self {
        Self {
            ports,
            end,
            state,
            owed: Owed::default(),
            credit: Credit::default(),
            to_host: VecDeque::new(),
            readable: false,
            guest_shutdown: 0,
            our_shutdown: 0,
            end_told: false,
            end_deaf: false,
        }
    }

    /// The host's end.
    pub(super) fn end(&self) -> &dyn HostEnd {
        &*self.end
    }

    /// Takes a packet from the guest. True if it accepts a connection that we asked for.
    pub(super) fn receive(&mut self, header: &Header, payload: &[u8]) -> bool {
        self.credit.hear(header);
        match (header.op, self.state) {
            (op::RESPONSE, State::Requested) => {
                self.state = State::Established;
                self.readable = true;
                return true;
            }
            (op::RST, _) => self.forget_guest(),
            (_, State::Closing | State::Draining) => {}
            (op::RW, State::Established) => self.receive_data(payload),
            (op::SHUTDOWN, State::Established) => {
                self.guest_shutdown |= header.flags & (SHUTDOWN_RECEIVE | SHUTDOWN_SEND);
                self.settle();
            }
            (op::CREDIT_UPDATE, State::Established) => {}
            (op::CREDIT_REQUEST, State::Established) => self.owed.credit_update = true,
            _ => self.abort(),
        }
        false
    }

    /// Takes what has become possible at the host's end.
    pub(super) fn host_ready(&mut self, ready: Ready) {
        self.readable |= ready.read;
        if ready.hangup {
            // What it wrote before it left can still be read, but nobody reads what we write.
            self.deafen();
        }
        self.flush();
    }

    /// The next packet for the guest, with payload in `buffer`; `None` when there is none for now.
    pub(super) fn next(&mut self, buffer: &mut [u8]) -> Option<Header> {
        let header = self.next_control().or_else(|| self.next_data(buffer))?;
        Some(self.credit.tell(header))
    }

    /// Whether [`Connection::next`] is worth asking.
    pub(super) fn has_next(&self) -> bool {
        let owed = &self.owed;
        match self.state {
            State::Requested => owed.request,
            State::Established => {
                owed.response
                    || owed.credit_update
                    || owed.shutdown != 0
                    || (self.may_read() && self.readable && self.credit.may_send_or_ask())
            }
            State::Closing => true,
            State::Draining => false,
        }
    }

    /// What to wait for at the host's end.
    pub(super) fn interest(&self) -> Interest {
        Interest {
            read: self.may_read() && !self.readable,
            write: !self.to_host.is_empty(),
        }
    }

    /// Bytes of the guest's that the host end has not taken.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.to_host.len()
    }

    /// Nobody needs it any more.
    pub(super) fn is_over(&self) -> bool {
        self.state == State::Draining && self.to_host.is_empty()
    }

    /// Waits for an answer of the guest which a well-behaved guest gives at once.
    pub(super) fn awaits_guest(&self) -> bool {
        let both = SHUTDOWN_RECEIVE | SHUTDOWN_SEND;
        match self.state {
            State::Requested => true,
            State::Established => self.our_shutdown == both,
            State::Closing | State::Draining => false,
        }
    }

    /// The guest does not know it any more, and may use its ports anew.
    pub(super) fn is_draining(&self) -> bool {
        self.state == State::Draining
    }

    /// Ends it without ado. What the host end has not taken is lost.
    pub(super) fn abort(&mut self) {
        self.state = match self.state {
            State::Draining => State::Draining,
            // The guest has never heard of it.
            State::Requested if self.owed.request => State::Draining,
            _ => State::Closing,
        };
        self.to_host.clear();
    }

    /// The guest dropped its side: what it sent before is still delivered.
    pub(super) fn forget_guest(&mut self) {
        self.guest_shutdown = SHUTDOWN_RECEIVE | SHUTDOWN_SEND;
        self.state = State::Draining;
        self.flush();
    }

    fn receive_data(&mut self, payload: &[u8]) {
        let fits = self.credit.receive(payload.len());
        if !fits || self.guest_shutdown & SHUTDOWN_SEND != 0 {
            return self.abort();
        }
        if self.end_deaf {
            return self.deafen();
        }
        // Mostly nothing waits and all of it is taken: then it is never copied.
        let taken = match self.to_host.is_empty() {
            true => self.offer(payload),
            false => Some(0),
        };
        let Some(taken) = taken else { return };
        self.to_host.extend(&payload[taken..]);
        self.settle_host_end();
    }

    /// Gives the host end what waits for it, as much as it takes.
    fn flush(&mut self) {
        let mut waiting = std::mem::take(&mut self.to_host);
        let (first, second) = waiting.as_slices();
        let taken = match self.offer(first) {
            Some(taken) if taken == first.len() => self.offer(second).map(|more| taken + more),
            taken => taken,
        };
        let Some(taken) = taken else { return };
        waiting.drain(..taken);
        self.to_host = waiting;
        self.settle_host_end();
    }

    /// Offers `bytes` to the host end until it takes no more for now. How many it took, or `None` if that
    /// was the end of the stream or of the host's interest in it.
    fn offer(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut taken = 0;
        while taken < bytes.len() {
            match self.end.write(&bytes[taken..]) {
                Ok(more @ 1..) => {
                    taken += more;
                    self.credit.forward(more);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    self.abort();
                    return None;
                }
                Ok(0) | Err(_) => {
                    self.deafen();
                    return None;
                }
            }
        }
        Some(taken)
    }

    fn settle_host_end(&mut self) {
        // An end without a descriptor may have an answer to what it was just given.
        self.readable |= self.end.fd().is_none();
        self.settle();
    }

    /// The host end is gone: it takes no more.
    fn deafen(&mut self) {
        self.end_deaf = true;
        self.credit.forward_all();
        self.to_host.clear();
        self.settle();
    }

    /// Draws the conclusions of what has been announced and delivered.
    fn settle(&mut self) {
        let all_delivered = self.to_host.is_empty();
        if all_delivered && self.guest_shutdown & SHUTDOWN_SEND != 0 && !self.end_told {
            self.end_told = true;
            if self.end.guest_finished().is_err() {
                self.end_deaf = true;
            }
        }
        if self.state != State::Established {
            return;
        }
        if all_delivered && self.guest_shutdown == SHUTDOWN_RECEIVE | SHUTDOWN_SEND {
            self.state = State::Closing;
        }
        if self.end_deaf {
            self.owed.shutdown |= SHUTDOWN_RECEIVE & !self.our_shutdown;
        }
        if self.credit.is_update_due() {
            self.owed.credit_update = true;
        }
    }

    fn next_control(&mut self) -> Option<Header> {
        use std::mem::take;
        let kind = match self.state {
            State::Requested if take(&mut self.owed.request) => op::REQUEST,
            State::Established if take(&mut self.owed.response) => op::RESPONSE,
            State::Established if take(&mut self.owed.credit_update) => op::CREDIT_UPDATE,
            State::Established if self.owed.shutdown != 0 => {
                self.our_shutdown |= take(&mut self.owed.shutdown);
                return Some(Header {
                    flags: self.our_shutdown,
                    ..to_guest(self.ports, op::SHUTDOWN)
                });
            }
            State::Closing => {
                self.state = State::Draining;
                op::RST
            }
            _ => return None,
        };
        Some(to_guest(self.ports, kind))
    }

    fn next_data(&mut self, buffer: &mut [u8]) -> Option<Header> {
        if !self.may_read() || !self.readable {
            return None;
        }
        let room = self.credit.room();
        if room == 0 {
            let ask = self.credit.ask();
            return ask.then(|| to_guest(self.ports, op::CREDIT_REQUEST));
        }
        if buffer.is_empty() {
            // A driver whose buffers have room for headers only would be asked for ever.
            self.abort();
            return self.next_control();
        }
        let len = buffer.len().min(room.try_into().unwrap_or(usize::MAX));
        match self.read(&mut buffer[..len]) {
            Ok(0) => {
                self.owed.shutdown |= SHUTDOWN_SEND & !self.our_shutdown;
                if self.end_deaf {
                    self.owed.shutdown |= SHUTDOWN_RECEIVE & !self.our_shutdown;
                }
                self.next_control()
            }
            Ok(read) => {
                let len = u32::try_from(read).unwrap_or(u32::MAX);
                self.credit.send(len);
                Some(Header {
                    len,
                    ..to_guest(self.ports, op::RW)
                })
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                None
            }
            Err(_) => {
                self.abort();
                self.next_control()
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.end.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// Whether bytes of the host end may still go to the guest.
    fn may_read(&self) -> bool {
        self.state == State::Established
            && self.guest_shutdown & SHUTDOWN_RECEIVE == 0
            && (self.our_shutdown | self.owed.shutdown) & SHUTDOWN_SEND == 0
    }
}

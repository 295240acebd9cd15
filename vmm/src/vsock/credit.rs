//! How much each side of a stream may still send (virtio 1.2 §5.10.6.3).
//!
//! Each side tells the other how large its receive buffer is and how much it has taken out of it since
//! the stream began, modulo 2³².

use std::num::Wrapping;

use vmm_devices::virtio::vsock::Header;

/// Most bytes from the guest that we hold for a host end that does not take them.
pub(super) const BUFFER_SIZE: u32 = 256 * 1024;

/// How much we take out of the buffer before we tell the guest without being asked.
const UPDATE_AFTER: u32 = BUFFER_SIZE / 2;

/// The accounts of one stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Credit {
    /// Bytes that the guest has sent.
    received: Wrapping<u32>,
    /// Bytes of them that we hold no more.
    forwarded: Wrapping<u32>,
    /// The value of that which the guest knows.
    told: Wrapping<u32>,
    /// The guest's buffer, by its own words.
    peer_buffer: u32,
    /// How much the guest has taken out of it.
    peer_forwarded: Wrapping<u32>,
    /// Bytes that we have sent.
    sent: Wrapping<u32>,
    /// The guest was asked for credit and has not answered.
    asked: bool,
}

impl Credit {
    /// The guest has sent `len` bytes; false if it had no room for them.
    pub(super) fn receive(&mut self, len: usize) -> bool {
        let held = (self.received - self.forwarded).0;
        let room = BUFFER_SIZE.saturating_sub(held);
        match u32::try_from(len) {
            Ok(len) if len <= room => {
                self.received += len;
                true
            }
            _ => false,
        }
    }

    /// The host end has taken `len` bytes.
    pub(super) fn forward(&mut self, len: usize) {
        self.forwarded += u32::try_from(len).unwrap_or(u32::MAX);
    }

    /// What is held is thrown away.
    pub(super) fn forward_all(&mut self) {
        self.forwarded = self.received;
    }

    /// Whether the guest should hear of room that it does not know of.
    pub(super) fn is_update_due(&self) -> bool {
        (self.forwarded - self.told).0 >= UPDATE_AFTER
    }

    /// Puts our side of the account into a packet for the guest.
    pub(super) fn tell(&mut self, mut header: Header) -> Header {
        header.buf_alloc = BUFFER_SIZE;
        header.fwd_cnt = self.forwarded.0;
        self.told = self.forwarded;
        header
    }

    /// Takes the guest's side of the account from its packet.
    pub(super) fn hear(&mut self, header: &Header) {
        self.peer_buffer = header.buf_alloc;
        self.peer_forwarded = Wrapping(header.fwd_cnt);
        if self.room() > 0 {
            self.asked = false;
        }
    }

    /// How many bytes the guest has room for. Nonsense of the guest's counts as none.
    pub(super) fn room(&self) -> u32 {
        let in_flight = (self.sent - self.peer_forwarded).0;
        self.peer_buffer.saturating_sub(in_flight)
    }

    /// We have sent `len` bytes, for which the guest had room.
    pub(super) fn send(&mut self, len: u32) {
        self.sent += len;
    }

    /// Whether the guest is to be asked for room. True once, until it answers.
    pub(super) fn ask(&mut self) -> bool {
        !std::mem::replace(&mut self.asked, true)
    }

    /// Whether there is room, or asking for it is worth while.
    pub(super) fn may_send_or_ask(&self) -> bool {
        self.room() > 0 || !self.asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(buf_alloc: u32, fwd_cnt: u32) -> Header {
        Header {
            buf_alloc,
            fwd_cnt,
            ..Header::default()
        }
    }

    #[test]
    fn the_guest_has_as_much_room_as_we_do_not_hold() {
        let mut credit = Credit::default();
        assert!(credit.receive(BUFFER_SIZE as usize));
        assert!(!credit.receive(1));
        credit.forward(10);
        assert!(credit.receive(10));
        assert!(!credit.receive(usize::MAX));
    }

    #[test]
    fn accounts_survive_their_wrapping() {
        let mut credit = Credit::default();
        credit.hear(&heard(100, 0));
        credit.send(100);
        assert_eq!(credit.room(), 0);
        for _ in 0..100_000 {
            let sent = credit.sent.0;
            credit.hear(&heard(u32::MAX / 2, sent));
            credit.send(u32::MAX / 2);
            assert_eq!(credit.room(), 0);
        }
    }

    #[test]
    fn nonsense_is_no_room() {
        let mut credit = Credit::default();
        credit.hear(&heard(100, 5000));
        assert_eq!(credit.room(), 0);
    }

    #[test]
    fn the_guest_is_asked_once() {
        let mut credit = Credit::default();
        assert!(credit.may_send_or_ask() && credit.ask());
        assert!(!credit.may_send_or_ask() && !credit.ask());
        credit.hear(&heard(0, 0));
        assert!(!credit.ask());
        credit.hear(&heard(1, 0));
        credit.send(1);
        assert!(credit.ask());
    }
}

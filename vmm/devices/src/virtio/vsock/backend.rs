//! What the device needs of the one who knows connections.

use std::io;
use std::os::fd::OwnedFd;

use super::Header;

/// Most payload bytes of one packet, in either direction.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// The connections between host and guest. Called on one thread at a time.
///
/// Errors of a connection are its own affair: the backend resets it with an `RST` packet.
pub trait VsockBackend: Send {
    /// A descriptor, such as that of an epoll instance, that is readable when something happened on
    /// the host's side. The same for the life of the device.
    fn host_fd(&self) -> io::Result<OwnedFd>;

    /// Takes up what happened there. Afterwards the descriptor must not stay readable because of
    /// what waits for the guest: [`VsockBackend::has_pending`] is asked for that.
    ///
    /// Called also while the guest has no driver.
    fn host_event(&mut self);

    /// Takes a packet from the guest. It is whole, its source is the guest's address, and `payload`
    /// is as long as it says; all else in it is the guest's claim.
    fn send(&mut self, packet: &Header, payload: &[u8]) -> Sent;

    /// Whether [`VsockBackend::receive`] would give a packet.
    fn has_pending(&self) -> bool;

    /// The next packet for the guest. Its payload, of [`Header::len`] bytes, is put at the
    /// beginning of `payload`, whose length is what the guest has room for (possibly nothing).
    ///
    /// `None` if there is none after all.
    fn receive(&mut self, payload: &mut [u8]) -> Option<Header>;

    /// Forgets all connections and packets: the guest did.
    fn reset(&mut self);
}

/// What became of a packet from the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Sent {
    /// It was taken, or deservedly dropped.
    Taken,
    /// There is no room for what it would cause. It is offered again after packets for the guest
    /// were received.
    Busy,
}

//! How a device reaches the guest's attention, and the guest a device's: traits of the machine.

use std::io;
use std::sync::Arc;

use vmm_sys_util::eventfd::EventFd;

/// What a virtio device may say to its driver. The transport implements it.
pub trait Interrupt: Send + Sync {
    /// Tells the driver that `queue` has used buffers.
    fn signal_queue(&self, queue: u16) -> io::Result<()>;

    /// Lets whoever signals `event` tell the driver of `queue`'s used buffers without us.
    ///
    /// It only saves time, and may end at any moment, as when the driver masks the interrupt: the
    /// device reads the event itself whenever nobody else has, and says [`Interrupt::signal_queue`].
    fn bind_queue(&self, _queue: u16, _event: &Arc<EventFd>) -> io::Result<()> {
        Ok(())
    }

    /// Tells the driver that the device's configuration changed.
    fn signal_config(&self) -> io::Result<()>;

    /// Marks the device as broken by its driver until the driver resets it, and tells it so
    /// (virtio 1.2 §2.1.2, `DEVICE_NEEDS_RESET`).
    fn needs_reset(&self);
}

/// A message-signalled interrupt as the guest programmed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsiMessage {
    /// Where the message is written.
    pub address: u64,
    /// What is written there.
    pub data: u32,
}

/// The interrupt vectors of one PCI function. The machine implements it.
///
/// Masking and pending bits are kept by our side: a vector is triggered only while it has a route.
pub trait MsiVectors: Send + Sync {
    /// Sends `vector` to `message` from now on, or, for `None`, nowhere (the guest masked it).
    ///
    /// All vectors begin without a route, so nothing has to be registered before the guest wants
    /// it.
    fn route(&self, vector: u16, message: Option<MsiMessage>) -> io::Result<()>;

    /// Raises `vector`, which has a route.
    fn trigger(&self, vector: u16) -> io::Result<()>;

    /// Raises `vector` whenever `event` is signalled (an irqfd), until it is routed again, even to where it
    /// goes already. Who else waits for the event doesn't see it meanwhile.
    fn bind(&self, _vector: u16, _event: &Arc<EventFd>) -> io::Result<()> {
        Ok(())
    }
}

/// Lets a guest's write signal an event descriptor without a device model in between (an
/// ioeventfd). The machine implements it.
///
/// It only saves time: a write that isn't caught reaches the device, which signals the same
/// descriptor. So a failure is survivable.
pub trait NotifierBinder: Send + Sync {
    /// From now on a write of any size to the guest-physical `address` signals `notifier`.
    fn bind(&self, address: u64, notifier: &EventFd) -> io::Result<()>;

    /// Undoes [`NotifierBinder::bind`].
    fn unbind(&self, address: u64, notifier: &EventFd) -> io::Result<()>;
}

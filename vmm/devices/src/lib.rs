//! Device models of a virtual machine, which know neither KVM nor the address they sit at.
//!
//! A vCPU's access goes through a [`Bus`] to a [`MmioDevice`]; PCI functions hang on a
//! [`pci::PciRoot`]; a virtio device ([`virtio::VirtioDevice`]) hangs on a transport
//! ([`virtio::transport::VirtioPci`]) and is run by a [`virtio::Worker`] on the I/O thread.
//! What only the machine can do, the machine passes in: [`MsiVectors`] deliver interrupts,
//! [`NotifierBinder`] makes the guest's queue notifications signal an event descriptor.
//!
//! Everything that is read from a queue, a register or guest memory was written by an attacker. It
//! never causes an `Err`, a panic or an unlimited log line; `Err` means that the host failed.
#![deny(clippy::cast_possible_truncation)]

pub mod bus;
pub mod interrupt;
pub mod pci;
pub mod rate_limit;
pub mod serial;
pub mod virtio;

#[cfg(test)]
mod advisories;
#[cfg(test)]
mod test_guest;

pub use bus::{Bus, MmioDevice};
pub use interrupt::{Interrupt, MsiMessage, MsiVectors, NotifierBinder};

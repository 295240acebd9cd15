//! The guest's side of everything, for tests: memory, rings, and a driver that finds its device on
//! the bus.

mod driver;
mod machine;
mod ram;
mod ring;

pub(crate) use driver::{PciDriver, common};
pub(crate) use machine::{ECAM, Plugged, RecordingVectors, TestMachine, WINDOW};
pub(crate) use ram::GuestRam;
pub(crate) use ring::{Added, Direct, RecordingInterrupt, Ring, notifiers};

/// Descriptor flags (virtio 1.2 §2.7.5).
pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;
pub(crate) const INDIRECT: u16 = 4;

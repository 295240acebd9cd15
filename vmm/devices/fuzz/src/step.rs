//! What a guest may do to a device.

use libfuzzer_sys::arbitrary::{self, Arbitrary};

/// All that one guest does.
#[derive(Arbitrary, Debug)]
pub struct Attack<'a> {
    /// Features that the driver leaves off.
    pub without: u64,
    /// Size of each queue, as a power of two.
    pub queue_sizes: [u8; 3],
    /// What comes then.
    pub steps: Vec<Step<'a>>,
}

/// One thing.
#[derive(Arbitrary, Debug)]
pub enum Step<'a> {
    /// A write to memory.
    Write { at: u32, bytes: &'a [u8] },
    /// A descriptor in a queue's table.
    Descriptor {
        queue: u8,
        index: u8,
        address: u32,
        len: u16,
        flags: u8,
        next: u8,
    },
    /// A chain is made available, and the device told.
    Offer { queue: u8, head: u8 },
    /// The device's registers.
    WriteBar { at: u16, len: u8, value: u64 },
    /// The same, read.
    ReadBar { at: u16, len: u8 },
    /// The function's configuration space.
    WriteConfig { at: u8, len: u8, value: u64 },
    /// The same, read.
    ReadConfig { at: u8, len: u8 },
    /// The I/O thread has its turn at a descriptor.
    Run { token: u8 },
    /// The driver begins again.
    SetUp { without: u64 },
}

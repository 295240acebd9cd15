//! The layout of a virtio function's BAR, and the capabilities that tell a guest of it (virtio 1.2
//! §4.1.4).

use crate::pci::ConfigSpace;

/// Size of the BAR.
pub const BAR_SIZE: u32 = 0x8000;
/// Bytes between the notification addresses of two queues.
pub const NOTIFY_MULTIPLIER: u32 = 4;

const REGION_SIZE: u32 = 0x1000;
const CAPABILITY_VENDOR: u8 = 0x09;
const TYPE_PCI_CFG: u8 = 5;

/// What lies in the BAR, a page each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// Status, features and queues.
    Common,
    /// Interrupt status.
    Isr,
    /// The device's own configuration.
    Device,
    /// One address for each queue.
    Notify,
    /// Interrupt vectors.
    MsixTable,
    /// Which of them are pending.
    MsixPending,
}

impl Region {
    const ALL: [Self; 6] = [
        Self::Common,
        Self::Isr,
        Self::Device,
        Self::Notify,
        Self::MsixTable,
        Self::MsixPending,
    ];

    /// Where in the BAR it begins.
    pub fn start(self) -> u32 {
        (self as u32) * REGION_SIZE
    }

    /// The region that `offset` of the BAR lies in, and the offset in it.
    pub fn at(offset: u64) -> Option<(Self, u64)> {
        let page = usize::try_from(offset / u64::from(REGION_SIZE)).ok()?;
        let region = Self::ALL.get(page)?;
        Some((*region, offset % u64::from(REGION_SIZE)))
    }

    /// `cfg_type` of its capability and its length, for a device with `queues`.
    fn described(self, queues: u32) -> Option<(u8, u32)> {
        match self {
            Self::Common => Some((1, 0x3c)),
            Self::Notify => Some((2, NOTIFY_MULTIPLIER * queues)),
            Self::Isr => Some((3, 1)),
            Self::Device => Some((4, REGION_SIZE)),
            Self::MsixTable | Self::MsixPending => None,
        }
    }
}

/// Adds the capabilities of a device with `queues` to `config`.
pub fn add(config: &mut ConfigSpace, queues: usize) -> ConfigWindow {
    let queues = u32::try_from(queues).expect("a device has few queues");
    for region in Region::ALL {
        let Some((cfg_type, length)) = region.described(queues) else {
            continue;
        };
        let mut body = body(cfg_type, region.start(), length);
        if region == Region::Notify {
            body.extend(NOTIFY_MULTIPLIER.to_le_bytes());
            body[0] += 4;
        }
        config.add_capability(CAPABILITY_VENDOR, &body, &[]);
    }
    ConfigWindow::add(config)
}

/// A `struct virtio_pci_cap` after its id and link.
fn body(cfg_type: u8, offset: u32, length: u32) -> Vec<u8> {
    let mut body = vec![16, cfg_type, 0, 0, 0, 0];
    body.extend(offset.to_le_bytes());
    body.extend(length.to_le_bytes());
    body
}

/// The capability through which a guest can reach the BAR without mapping it (§4.1.4.9).
#[derive(Debug)]
pub struct ConfigWindow {
    capability: u16,
}

impl ConfigWindow {
    fn add(config: &mut ConfigSpace) -> Self {
        let mut body = body(TYPE_PCI_CFG, 0, 0);
        body.extend([0; 4]);
        body[0] += 4;
        let writable = [
            0, 0, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        ];
        Self {
            capability: config.add_capability(CAPABILITY_VENDOR, &body, &writable),
        }
    }

    /// The offset in the BAR that an access to configuration space means, if it is one to the
    /// window's data.
    pub(super) fn access(&self, config: &ConfigSpace, offset: u16, len: usize) -> Option<u64> {
        if offset != self.capability + 16 || !matches!(len, 1 | 2 | 4) {
            return None;
        }
        let field = |at: u16| {
            let low = u32::from(config.word(self.capability + at));
            low | u32::from(config.word(self.capability + at + 2)) << 16
        };
        let [_, _, bar, _] = field(2).to_le_bytes();
        let (start, length) = (field(8), field(12));
        let aligned = usize::try_from(length) == Ok(len) && start.is_multiple_of(length);
        (bar == 0 && aligned && start < BAR_SIZE).then_some(start.into())
    }
}

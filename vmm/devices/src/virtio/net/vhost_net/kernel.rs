//! One `/dev/vhost-net`: what the kernel is told of a queue pair.
#![expect(unsafe_code, reason = "only an ioctl gives vhost-net its interface")]
// UNSAFETY: the `vhost` crate has this call only for a device that it opened by its path, and we get a
// descriptor.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use vhost::vhost_kern::VhostKernBackend;
use vhost::vhost_kern::vhost_binding::vhost_vring_file;
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vm_memory::{
    GuestAddress, GuestAddressSpace, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
    GuestRegionMmap,
};
use vmm_sys_util::eventfd::EventFd;

use super::super::config::MRG_RXBUF;
use crate::virtio::Memory;
use crate::virtio::queue::QueueLayout;
use crate::virtio::transport::TRANSPORT_FEATURES;

/// `linux/vhost.h`.
const VHOST_NET_SET_BACKEND: libc::c_ulong = 0x4008_af30;

/// The features that concern vhost: rings, and how frames lie in buffers.
const FEATURES: u64 = TRANSPORT_FEATURES | MRG_RXBUF;

/// A descriptor can't be used as vhost-net.
#[derive(Debug, thiserror::Error)]
pub enum VhostError {
    /// The kernel refuses, or it is something else.
    #[error("{doing} of vhost-net")]
    Refused {
        /// What was asked.
        doing: &'static str,
        /// What came of it.
        source: vhost::Error,
    },
    /// It can't do what every driver may use.
    #[error("vhost-net lacks features {0:#x}")]
    Features(u64),
}

/// Where a queue's events go and come from.
pub(super) struct Bells<'a> {
    /// The driver's notifications.
    pub(super) kick: &'a EventFd,
    /// Used buffers.
    pub(super) call: &'a EventFd,
    /// The ring makes no sense.
    pub(super) error: &'a EventFd,
}

/// The kernel's side of one queue pair.
pub struct Vhost {
    device: File,
    /// The guest's, while the kernel may work in it; else none.
    memory: Memory,
}

impl Vhost {
    /// Takes charge of the `/dev/vhost-net` behind `fd`, for this process and its memory.
    pub fn open(fd: OwnedFd) -> Result<Self, VhostError> {
        let asked = |doing| move |source| VhostError::Refused { doing, source };
        let vhost = Self {
            device: fd.into(),
            memory: nothing(),
        };
        vhost.set_owner().map_err(asked("take charge"))?;
        let offered = vhost.get_features().map_err(asked("learn the features"))?;
        match FEATURES & !offered {
            0 => Ok(vhost),
            missing => Err(VhostError::Features(missing)),
        }
    }

    /// Says which features were agreed on, and where the guest's memory is: its regions and nothing else.
    pub(super) fn set_up(&mut self, features: u64, memory: &Memory) -> io::Result<()> {
        self.memory = memory.clone();
        self.set_features(features & FEATURES).map_err(error)?;
        let regions = memory.memory();
        let regions: Vec<_> = regions.iter().map(region).collect();
        self.set_mem_table(&regions).map(drop).map_err(error)
    }

    /// Says where the ring of queue `index` is.
    pub(super) fn set_ring(
        &self,
        index: usize,
        layout: &QueueLayout,
        bells: &Bells<'_>,
    ) -> io::Result<()> {
        let tell = || {
            self.set_vring_num(index, layout.size)?;
            self.set_vring_base(index, 0)?;
            self.set_vring_addr(index, &config(layout))?;
            self.set_vring_call(index, bells.call)?;
            self.set_vring_err(index, bells.error)?;
            self.set_vring_kick(index, bells.kick)
        };
        tell().map_err(error)
    }

    /// Lets the kernel move frames between queue `index` and `interface`, or, for `None`, no more: when it
    /// returns then, the ring is no longer touched.
    pub(super) fn set_interface(&self, index: usize, interface: Option<RawFd>) -> io::Result<()> {
        let backend = vhost_vring_file {
            index: u32::try_from(index).expect("a pair has two queues"),
            fd: interface.unwrap_or(-1),
        };
        // SAFETY: the kernel reads a `struct vhost_vring_file`.
        let result = unsafe {
            libc::ioctl(
                self.device.as_raw_fd(),
                VHOST_NET_SET_BACKEND,
                &raw const backend,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Holds no guest memory from now on. No queue has an interface.
    pub(super) fn forget(&mut self) {
        self.memory = nothing();
    }
}

impl AsRawFd for Vhost {
    fn as_raw_fd(&self) -> RawFd {
        self.device.as_raw_fd()
    }
}

impl VhostKernBackend for Vhost {
    type AS = Memory;

    fn mem(&self) -> &Memory {
        &self.memory
    }

    /// Each part of a ring must lie in one region of memory, which is one piece here and there. The library's
    /// own check refuses rings at a region's end.
    fn is_valid(&self, config: &VringConfigData) -> bool {
        let layout = QueueLayout {
            size: config.queue_size,
            descriptors: config.desc_table_addr,
            available: config.avail_ring_addr,
            used: config.used_ring_addr,
        };
        let memory = self.memory.memory();
        let parts = layout.parts();
        parts
            .iter()
            .all(|(address, len)| memory.get_slice(GuestAddress(*address), *len).is_ok())
    }
}

/// Where a region is to the guest and to us, which is all that the kernel wants to know. The library's own
/// conversion refuses memory that is of no file.
fn region(region: &GuestRegionMmap) -> VhostUserMemoryRegionInfo {
    VhostUserMemoryRegionInfo {
        guest_phys_addr: region.start_addr().0,
        memory_size: region.len(),
        userspace_addr: region.as_ptr() as u64,
        mmap_offset: 0,
        mmap_handle: -1,
    }
}

fn config(layout: &QueueLayout) -> VringConfigData {
    VringConfigData {
        queue_max_size: layout.size,
        queue_size: layout.size,
        flags: 0,
        desc_table_addr: layout.descriptors,
        used_ring_addr: layout.used,
        avail_ring_addr: layout.available,
        log_addr: None,
    }
}

fn nothing() -> Memory {
    Memory::new(GuestMemoryMmap::new())
}

fn error(error: vhost::Error) -> io::Error {
    match error {
        vhost::Error::IoctlError(error) => error,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_no_file_is_as_good() {
        let ranges = [(GuestAddress(0x1000), 0x2000)];
        let memory = GuestMemoryMmap::from_ranges(&ranges).unwrap();
        let (only, _) = memory.to_region_addr(GuestAddress(0x1000)).unwrap();
        let told = region(only);
        assert_eq!((told.guest_phys_addr, told.memory_size), (0x1000, 0x2000));
        assert_eq!(told.userspace_addr, only.as_ptr() as u64);
    }

    #[test]
    fn what_is_no_vhost_net_is_refused() {
        let file = tempfile::tempfile().unwrap();
        let refused = Vhost::open(file.into()).err().unwrap();
        assert_eq!(refused.to_string(), "take charge of vhost-net");
    }
}

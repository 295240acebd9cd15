//! Virtio devices of the machine: made from their descriptions, plugged in, worked for, and taken out.

use std::io;
use std::sync::Arc;

use vm_memory::{GuestMemoryAtomic, GuestMemoryBackend, GuestMemoryRegion};
use vmm_api::event::Stop;
use vmm_api::{BlkAccess, BlkSpec, DeviceAddress, DeviceSpec, ErrorCode, FsSpec, NetSpec};
use vmm_devices::NotifierBinder;
use vmm_devices::pci::PlugError;
use vmm_devices::virtio::blk::{Blk, Disk, DiskError, Extent, SerialNumberError};
use vmm_devices::virtio::fs::{ConnectError, Fs, TagError};
use vmm_devices::virtio::net::{TapError, VhostError};
use vmm_devices::virtio::transport::{VirtioPci, Wiring, vector_count};
use vmm_devices::virtio::{ActivateError, Memory, VirtioDevice};

mod net;

use net::{MAX_PAIRS, net};

use super::kvm::Vm;
use super::vectors::Vectors;
use super::{Device, Parts, Thread};
use crate::files::{FileError, Files};
use crate::machine;
use crate::milestone::{Ended, Milestone};

/// A device can't be had.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// A descriptor is not there.
    #[error("find the files of a device")]
    File(#[from] FileError),
    /// Its serial number is none.
    #[error("serial")]
    Serial(#[from] SerialNumberError),
    /// Some device has that serial number, by which the guest tells them apart.
    #[error("serial: {0:?} is taken by another device")]
    SerialTaken(String),
    /// Its content is none.
    #[error("extents")]
    Disk(#[from] DiskError),
    /// A writable device must be one piece of one file.
    #[error("extents: a writable device has exactly one, not {0}")]
    Extents(usize),
    /// Its tag is none.
    #[error("tag")]
    Tag(#[from] TagError),
    /// A machine has one file system.
    #[error("the machine has a file system already")]
    SecondFs,
    /// Nobody else could work in the guest's memory.
    #[error("memory_sharing: the machine's memory can't be shared, which a file system takes")]
    PrivateMemory,
    /// The other end of its socket does not do what it should.
    #[error("reach the device's back end")]
    Backend(#[from] ConnectError),
    /// So many queue pairs an interface can't have.
    #[error("queues: an interface has 1 to {MAX_PAIRS}, not {0}")]
    Queues(usize),
    /// All queue pairs go the same way.
    #[error("vhost: {vhost} descriptors for {queues} queues")]
    VhostQueues {
        /// How many were sent.
        vhost: usize,
        /// How many there are to be for.
        queues: usize,
    },
    /// The kernel won't move frames.
    #[error("vhost")]
    Vhost(#[from] VhostError),
    /// No packet is that long, or the shortest is longer.
    #[error("mtu = {0} is not between 68 and 65535")]
    Mtu(u32),
    /// Its TAP device is none.
    #[error("queues")]
    Tap(#[from] TapError),
    /// There is no room for it on the bus.
    #[error("plug the device in")]
    Plug(#[from] PlugError),
    /// Descriptors of its own can't be had.
    #[error("make the device's descriptors")]
    Io(#[from] io::Error),
}

impl AttachError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Plug(_) => ErrorCode::NoSpace,
            Self::SecondFs => ErrorCode::WrongState,
            Self::Io(_) | Self::Backend(_) | Self::Vhost(_) => ErrorCode::Internal,
            _ => ErrorCode::Invalid,
        }
    }
}

impl From<AttachError> for machine::Error {
    fn from(error: AttachError) -> Self {
        Self::new(error.code(), error)
    }
}

/// A device can't be taken out.
#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    /// There is none, or it belongs to the machine.
    #[error("no device was attached at {0}")]
    NotAttached(DeviceAddress),
}

impl From<DetachError> for machine::Error {
    fn from(error: DetachError) -> Self {
        Self::new(ErrorCode::NotFound, error)
    }
}

/// What connects devices to the machine.
pub(super) struct Wires {
    vm: Arc<Vm>,
    memory: Memory,
    end: Arc<Milestone<Ended>>,
}

impl Wires {
    /// What a device can't start without ends the machine by `end`.
    pub(super) fn new(vm: Arc<Vm>, end: Arc<Milestone<Ended>>) -> Self {
        let memory = GuestMemoryAtomic::new(vm.memory().clone());
        Self { vm, memory, end }
    }

    fn memory_is_shared(&self) -> bool {
        let mut regions = self.vm.memory().iter();
        regions.all(|region| region.file_offset().is_some())
    }

    fn wiring(&self, device: &dyn VirtioDevice) -> Wiring {
        let vectors = Vectors::new(Arc::clone(&self.vm), vector_count(device));
        let end = Arc::clone(&self.end);
        // A pod that lacks a disk or its network, and seems well, would be worse than none.
        let on_failure = move |error: &ActivateError| {
            end.end(Stop::HostError, format!("{error}: {}", error.source));
        };
        Wiring {
            memory: self.memory.clone(),
            vectors: Arc::new(vectors),
            binder: Arc::clone(&self.vm) as Arc<dyn NotifierBinder>,
            on_failure: Arc::new(on_failure),
        }
    }
}

impl Parts {
    /// Makes the device that `spec` describes and plugs it in.
    pub(super) fn attach(
        &mut self,
        spec: &DeviceSpec,
        files: &Files,
    ) -> Result<DeviceAddress, AttachError> {
        let slot = match spec {
            DeviceSpec::Blk(spec) => self.attach_blk(spec, files)?,
            DeviceSpec::Fs(spec) => self.attach_fs(spec, files)?,
        };
        Ok(DeviceAddress { slot })
    }

    fn attach_blk(&mut self, spec: &BlkSpec, files: &Files) -> Result<u8, AttachError> {
        let taken = |device: &Device| device.attached.as_ref() == Some(&spec.serial);
        if self.devices.values().any(taken) {
            return Err(AttachError::SerialTaken(spec.serial.clone()));
        }
        let blk = blk(spec, files)?;
        self.plug(Box::new(blk), Thread::Disk, Some(spec.serial.clone()))
    }

    /// It only passes notifications on, so no disk waits for it.
    fn attach_fs(&mut self, spec: &FsSpec, files: &Files) -> Result<u8, AttachError> {
        if self.has_fs {
            return Err(AttachError::SecondFs);
        }
        if !self.wires.memory_is_shared() {
            return Err(AttachError::PrivateMemory);
        }
        let socket = files.fd("socket", spec.socket)?;
        let fs = Fs::connect(spec.tag.parse()?, socket.into())?;
        let slot = self.plug(Box::new(fs), Thread::Io, None)?;
        self.has_fs = true;
        Ok(slot)
    }

    /// Makes the network interface that `spec` describes and plugs it in.
    pub(super) fn add_interface(
        &mut self,
        spec: &NetSpec,
        files: &Files,
    ) -> Result<u8, AttachError> {
        self.plug(net(spec, files)?, Thread::Net, None)
    }

    /// Takes a device out that was attached.
    pub(super) fn detach(&mut self, address: DeviceAddress) -> Result<(), DetachError> {
        let attached = |device: &Device| device.attached.is_some();
        if !self.devices.get(&address.slot).is_some_and(attached) {
            return Err(DetachError::NotAttached(address));
        }
        self.root.unplug(address.slot);
        if let Some(device) = self.devices.remove(&address.slot) {
            self.threads.get(device.thread).remove(address.slot);
        }
        Ok(())
    }

    /// Plugs `device` in and lets `thread` work for it. Gives its slot.
    pub(super) fn plug(
        &mut self,
        device: Box<dyn VirtioDevice>,
        thread: Thread,
        attached: Option<String>,
    ) -> Result<u8, AttachError> {
        let wiring = self.wires.wiring(&*device);
        let (function, worker) = VirtioPci::new(device, wiring)?;
        let slot = self.root.plug(function)?;
        let worker = Arc::new(worker);
        self.threads.get(thread).add(slot, Arc::clone(&worker));
        let device = Device {
            worker,
            thread,
            attached,
        };
        self.devices.insert(slot, device);
        Ok(slot)
    }
}

fn blk(spec: &BlkSpec, files: &Files) -> Result<Blk, AttachError> {
    let extents = spec
        .extents
        .iter()
        .map(|extent| {
            Ok(Extent {
                file: Arc::new(files.file("extents.file", extent.file)?),
                offset: extent.offset,
                len: extent.len,
            })
        })
        .collect::<Result<Vec<_>, FileError>>()?;
    let disk = match spec.access {
        BlkAccess::ReadOnly => Disk::read_only(extents)?,
        BlkAccess::ReadWrite => {
            let count = extents.len();
            let [extent] =
                <[Extent; 1]>::try_from(extents).map_err(|_| AttachError::Extents(count))?;
            Disk::read_write(extent)?
        }
    };
    Ok(Blk::new(disk, spec.serial.parse()?))
}

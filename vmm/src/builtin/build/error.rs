//! Why a machine can't be built or started.

use std::io;

use vm_memory::GuestMemoryError;
use vmm_api::ErrorCode;
use vmm_devices::bus::BusError;

use crate::builtin::AttachError;
use crate::builtin::kernel::KernelError;
use crate::builtin::kvm::KvmError;
use crate::builtin::memory::MemoryError;
use crate::builtin::vcpu::StartError;
use crate::files::FileError;
use crate::machine;

/// The machine can't be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// There is no usable KVM.
    #[error("use KVM: {0}")]
    NoKvm(String),
    /// KVM refused.
    #[error("set KVM up")]
    Kvm(#[from] KvmError),
    /// A number of vCPUs that can't be.
    #[error("vcpus = {vcpus} is not between 1 and {most}")]
    Vcpus {
        /// How many were asked for.
        vcpus: u32,
        /// How many there can be.
        most: u32,
    },
    /// A descriptor is not there.
    #[error("find the machine's files")]
    File(#[from] FileError),
    /// No memory.
    #[error("provide guest memory")]
    Memory(#[from] MemoryError),
    /// The kernel, the initramfs or the command line.
    #[error("place the kernel")]
    Kernel(#[from] KernelError),
    /// What firmware would leave in memory.
    #[error("write firmware tables")]
    Tables(#[source] GuestMemoryError),
    /// Devices that every machine has.
    #[error("place a device on its bus")]
    Bus(#[from] BusError),
    /// A device of this machine's.
    #[error("build device {index} of the machine")]
    Device {
        /// Its position in `devices`.
        index: usize,
        /// Why not.
        source: AttachError,
    },
    /// A network interface of this machine's.
    #[error("build interface {index} of the machine")]
    Interface {
        /// Its position in `interfaces`.
        index: usize,
        /// Why not.
        source: AttachError,
    },
    /// A device that every machine has.
    #[error("build the {device}")]
    Own {
        /// Which.
        device: &'static str,
        /// Why not.
        source: AttachError,
    },
    /// The console file.
    #[error("use the console's file")]
    Console(#[source] io::Error),
    /// Descriptors or threads of our own.
    #[error("{doing}")]
    Io {
        /// What for.
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl BuildError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NoKvm(_) | Self::Kvm(_) => ErrorCode::Unavailable,
            Self::Memory(MemoryError::Map { .. }) => ErrorCode::NoSpace,
            Self::Vcpus { .. }
            | Self::File(_)
            | Self::Memory(_)
            | Self::Kernel(_)
            | Self::Device { .. }
            | Self::Interface { .. } => ErrorCode::Invalid,
            _ => ErrorCode::Internal,
        }
    }
}

impl From<BuildError> for machine::Error {
    fn from(error: BuildError) -> Self {
        Self::new(error.code(), error)
    }
}

impl From<StartError> for machine::Error {
    fn from(error: StartError) -> Self {
        Self::new(ErrorCode::Internal, error)
    }
}

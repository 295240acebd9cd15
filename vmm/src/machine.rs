//! What every kind of machine can do, and how one is made.

use std::error::Error as Cause;
use std::sync::Arc;
use std::{fmt, io};

use vmm_api::{DeviceAddress, DeviceSpec, ErrorCode, MachineKind, MachineSpec};

use crate::builtin::{Builtin, Denied, Kvm, KvmError};
use crate::files::Files;
use crate::log::Logs;
use crate::milestone::{Ended, Milestone};
use crate::seccomp::Filters;

/// One virtual machine, ours or QEMU's.
pub trait Machine: Send {
    /// Lets the vCPUs run.
    fn boot(&mut self) -> Result<(), Error>;

    /// Makes a device appear.
    fn attach(&mut self, device: &DeviceSpec, files: &Files) -> Result<DeviceAddress, Error>;

    /// Makes a device that was attached go away.
    fn detach(&mut self, address: DeviceAddress) -> Result<(), Error>;

    /// Devices that were attached, and their serial numbers.
    fn attached(&self) -> Vec<(DeviceAddress, String)>;

    /// What has been counted, by name.
    fn counters(&self) -> Vec<(String, u64)>;

    /// Ends it and gives back what it holds of the host: when this returns, no vCPU runs and no device
    /// works. Idempotent.
    fn stop(&mut self);
}

/// What a machine is given of the process it lives in.
#[derive(Clone)]
pub struct Surroundings {
    /// The host's KVM, or why there is none.
    pub kvm: Arc<Result<Kvm, KvmError>>,
    /// What the machine's threads may ask of the kernel.
    pub filters: Arc<Filters>,
    /// Where containers' output goes.
    pub logs: Arc<Logs>,
    /// Reached when the agent in the guest is ready.
    pub ready: Arc<Milestone<()>>,
    /// Reached when the machine has ended.
    pub end: Arc<Milestone<Ended>>,
}

impl Surroundings {
    /// Those of a process that has no machine yet.
    pub fn new(kvm: Result<Kvm, KvmError>, filters: Arc<Filters>) -> io::Result<Self> {
        Ok(Self {
            kvm: Arc::new(kvm),
            filters,
            logs: Arc::default(),
            ready: Arc::new(Milestone::new()?),
            end: Arc::new(Milestone::new()?),
        })
    }
}

/// A machine could not do what was asked of it.
#[derive(Debug)]
pub struct Error {
    cause: Box<dyn Cause + Send + Sync>,
    code: ErrorCode,
}

impl Error {
    /// `cause`, which is a failure of kind `code`.
    pub fn new(code: ErrorCode, cause: impl Into<Box<dyn Cause + Send + Sync>>) -> Self {
        Self {
            cause: cause.into(),
            code,
        }
    }

    /// For programs.
    pub fn code(&self) -> ErrorCode {
        self.code
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl Cause for Error {
    fn source(&self) -> Option<&(dyn Cause + 'static)> {
        self.cause.source()
    }
}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Self {
        Self::new(ErrorCode::WrongState, denied)
    }
}

/// Makes the machine that `spec` describes, ready to boot.
pub fn create(
    spec: &MachineSpec,
    files: &Files,
    surroundings: Surroundings,
) -> Result<Box<dyn Machine>, Error> {
    match spec.kind {
        MachineKind::Builtin => Ok(Box::new(Builtin::build(spec, files, surroundings)?)),
        MachineKind::Qemu { .. } => Err(Error::new(
            ErrorCode::Unsupported,
            "kind: this build has no machines of kind qemu",
        )),
    }
}

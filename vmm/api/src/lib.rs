//! The words between a sandbox and its `bulkhead-vmm` process.
//!
//! A sandbox starts one VMM per pod and hands it a listening control socket as descriptor 3; descriptor 4, if
//! there is one, is kept open for as long as the VMM lives, so a lock on it tells whether it does. Every
//! connection to that socket carries messages: a request, then its reply, in order; a connection
//! that sent [`Request::Subscribe`] carries [`Event`]s from then on. A message is one packet of a
//! `SOCK_SEQPACKET` socket ([`channel`]): JSON, with the descriptors it speaks of attached
//! (`SCM_RIGHTS`) in the order in which its fields name them. The VMM opens no paths: what it is to
//! use arrives as a descriptor.
//!
//! Words are added, never changed: an old VMM keeps its pod running under a newer server
//! ([`version`]).

pub mod channel;
pub mod error_code;
pub mod event;
pub mod machine_spec;
pub mod request;
pub mod version;

pub use channel::{Channel, ChannelError};
pub use error_code::{ErrorCode, Failure};
pub use event::Event;
pub use machine_spec::{
    Accel, BlkAccess, BlkSpec, DeviceAddress, DeviceSpec, Extent, FsSpec, MachineKind, MachineSpec,
    MemorySharing, NetSpec, VsockSpec,
};
pub use request::{MachineStatus, Reply, Request};
pub use version::PROTOCOL;

//! PCI: one root bus, functions with one memory BAR, message-signalled interrupts.
//!
//! There are no bridges, no legacy interrupts and no hot-plug controller: a device that is plugged
//! in while the machine runs is found when the guest rescans the bus.

pub mod config_ports;
pub mod config_space;
pub mod ecam;
pub mod function;
pub mod host_bridge;
pub mod msix;
pub mod root;

pub use config_ports::ConfigPorts;
pub use config_space::{ConfigSpace, Identity};
pub use ecam::Ecam;
pub use function::PciFunction;
pub use root::{PciRoot, PlugError};

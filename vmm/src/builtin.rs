//! Our own machine, on KVM.

pub mod acpi;
pub mod cpuid;
pub mod kernel;
pub mod kvm;
pub mod layout;
pub mod memory;
pub mod registers;
pub mod state;

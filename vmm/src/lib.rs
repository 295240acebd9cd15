//! `bulkhead-vmm`: one process, one machine.
//!
//! A sandbox starts one of these per pod and asks it, over a control socket, to boot a machine. The
//! process then serves the machine's devices, carries streams between host and guest, and writes the
//! output of the guest's containers to their log files. It goes on doing so whether or not anybody is
//! connected to the control socket.
#![deny(clippy::cast_possible_truncation)]

pub mod builtin;
pub mod event_loop;
pub mod log;
pub mod vsock;

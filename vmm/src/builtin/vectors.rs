//! Interrupt vectors of PCI functions, delivered by KVM.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use vmm_devices::{MsiMessage, MsiVectors};

use super::kvm::Vm;

/// The vectors of one function.
///
/// Not irqfds with routes: every change of the routing table makes KVM wait for all readers of the old one, and
/// a kernel that boots changes it several times per vector. Our devices live in this process, and for
/// them telling KVM the message itself is one system call, as signalling a descriptor is.
pub(super) struct Vectors {
    vm: Arc<Vm>,
    messages: Mutex<Vec<Option<MsiMessage>>>,
}

impl Vectors {
    /// `count` vectors that lead nowhere yet.
    pub(super) fn new(vm: Arc<Vm>, count: u16) -> Self {
        Self {
            vm,
            messages: Mutex::new(vec![None; count.into()]),
        }
    }
}

impl MsiVectors for Vectors {
    fn route(&self, vector: u16, message: Option<MsiMessage>) -> io::Result<()> {
        match self.messages.lock().get_mut(usize::from(vector)) {
            Some(route) => {
                *route = message;
                Ok(())
            }
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn trigger(&self, vector: u16) -> io::Result<()> {
        let message = self.messages.lock().get(usize::from(vector)).copied();
        match message.flatten() {
            Some(message) => self.vm.signal_msi(message),
            None => Ok(()),
        }
    }
}

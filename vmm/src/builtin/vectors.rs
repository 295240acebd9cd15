//! Interrupt vectors of PCI functions, delivered by KVM.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use vmm_devices::{MsiMessage, MsiVectors, host_warn};
use vmm_sys_util::eventfd::EventFd;

use super::kvm::Vm;

/// The vectors of one function.
///
/// Not irqfds with routes from the start: every change of the routing table makes KVM wait for all readers of
/// the old one, and a kernel that boots changes it several times per vector. For devices in this process,
/// telling KVM the message itself is one system call, as signalling a descriptor is. What somebody
/// else signals is bound once the guest has settled.
pub(super) struct Vectors {
    vm: Arc<Vm>,
    vectors: Mutex<Vec<Vector>>,
}

/// Where a vector leads.
#[derive(Debug, Default)]
struct Vector {
    message: Option<MsiMessage>,
    /// What KVM knows the message by, and which events it sends it for.
    bound: Option<(u32, Vec<Arc<EventFd>>)>,
}

impl Vectors {
    /// `count` vectors that lead nowhere yet.
    pub(super) fn new(vm: Arc<Vm>, count: u16) -> Self {
        let vectors = (0..count).map(|_| Vector::default()).collect();
        Self {
            vm,
            vectors: Mutex::new(vectors),
        }
    }
}

impl MsiVectors for Vectors {
    fn route(&self, vector: u16, message: Option<MsiMessage>) -> io::Result<()> {
        let mut vectors = self.vectors.lock();
        let vector = vectors.get_mut(usize::from(vector));
        let vector = vector.ok_or(io::ErrorKind::NotFound)?;
        vector.message = message;
        vector.unbind(&self.vm)
    }

    fn trigger(&self, vector: u16) -> io::Result<()> {
        let vectors = self.vectors.lock();
        let message = vectors.get(usize::from(vector)).and_then(|v| v.message);
        drop(vectors);
        match message {
            Some(message) => self.vm.signal_msi(message),
            None => Ok(()),
        }
    }

    fn bind(&self, vector: u16, event: &Arc<EventFd>) -> io::Result<()> {
        let mut vectors = self.vectors.lock();
        let vector = vectors.get_mut(usize::from(vector));
        vector.ok_or(io::ErrorKind::NotFound)?.bind(&self.vm, event)
    }
}

impl Vector {
    fn bind(&mut self, vm: &Vm, event: &Arc<EventFd>) -> io::Result<()> {
        let Some(message) = self.message else {
            return Ok(());
        };
        let (gsi, events) = match &mut self.bound {
            Some(bound) => bound,
            none => none.insert((vm.route_msi(message)?, Vec::new())),
        };
        if !events.iter().any(|known| Arc::ptr_eq(known, event)) {
            vm.bind_event(event, *gsi)?;
            events.push(Arc::clone(event));
        }
        Ok(())
    }

    fn unbind(&mut self, vm: &Vm) -> io::Result<()> {
        let Some((gsi, events)) = self.bound.take() else {
            return Ok(());
        };
        let unbound = events.iter().map(|event| vm.unbind_event(event, gsi));
        let unbound = unbound.collect::<Vec<_>>().into_iter().collect();
        vm.forget_msi(gsi);
        unbound
    }
}

impl Drop for Vectors {
    fn drop(&mut self) {
        for vector in self.vectors.get_mut() {
            if let Err(error) = vector.unbind(&self.vm) {
                host_warn!(%error, "an interrupt stays bound to an event");
            }
        }
    }
}

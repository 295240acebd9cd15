//! Network interfaces from their descriptions: who moves the frames, over how many queue pairs.

use std::os::fd::OwnedFd;

use vmm_api::NetSpec;
use vmm_api::machine_spec::FdIndex;
use vmm_devices::virtio::VirtioDevice;
use vmm_devices::virtio::net::{Interface, Net, NetBackend, Tap, Vhost, VhostNet};

use super::AttachError;
use crate::files::{FileError, Files};

/// Most queue pairs of an interface. Each takes two interrupt vectors and, with vhost-net, a kernel thread.
pub(super) const MAX_PAIRS: usize = 16;

/// Makes the interface that `spec` describes.
pub(super) fn net(spec: &NetSpec, files: &Files) -> Result<Box<dyn VirtioDevice>, AttachError> {
    let (queues, vhost) = (spec.queues.len(), spec.vhost.len());
    if !(1..=MAX_PAIRS).contains(&queues) {
        return Err(AttachError::Queues(queues));
    }
    if vhost != 0 && vhost != queues {
        return Err(AttachError::VhostQueues { vhost, queues });
    }
    let interface = interface(spec)?;
    let taps = descriptors(files, "interfaces.queues", &spec.queues)?.into_iter();
    let taps: Vec<_> = taps.map(Tap::open).collect::<Result<_, _>>()?;
    if vhost == 0 {
        let backends = taps.into_iter();
        let backends = backends.map(|tap| Box::new(tap) as Box<dyn NetBackend>);
        return Ok(Box::new(Net::new(interface, backends.collect())?));
    }
    let kernel = descriptors(files, "interfaces.vhost", &spec.vhost)?.into_iter();
    let kernel: Vec<_> = kernel.map(Vhost::open).collect::<Result<_, _>>()?;
    let queues = taps.into_iter().zip(kernel).collect();
    Ok(Box::new(VhostNet::new(interface, queues)?))
}

fn interface(spec: &NetSpec) -> Result<Interface, AttachError> {
    // RFC 791: every module must be able to forward 68 octets.
    let mtu = u16::try_from(spec.mtu).ok().filter(|mtu| *mtu >= 68);
    Ok(Interface {
        mac: spec.mac,
        mtu: mtu.ok_or(AttachError::Mtu(spec.mtu))?,
    })
}

fn descriptors(
    files: &Files,
    field: &'static str,
    indices: &[FdIndex],
) -> Result<Vec<OwnedFd>, FileError> {
    indices
        .iter()
        .map(|index| files.fd(field, *index))
        .collect()
}

//! Who moves a machine's frames between its TAP devices and its memory: the node's kernel, or the VMM.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::vm::VhostNet;
use crate::{Error, Kind, Result};

const DEVICE: &str = "/dev/vhost-net";

/// Who moves a machine's frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::vm) enum Mover {
    /// The kernel, without the VMM: vhost-net.
    Kernel,
    /// The VMM, and why.
    Vmm { because: String },
}

impl Mover {
    /// Who can on this node, of those whom the operator allows.
    pub(in crate::vm) fn choose(wish: VhostNet) -> Result<Self> {
        Self::with(Path::new(DEVICE), wish)
    }

    fn with(device: &Path, wish: VhostNet) -> Result<Self> {
        let vmm = |because: String| Self::Vmm { because };
        match (wish, open(device)) {
            (VhostNet::Off, _) => Ok(vmm("vhost_net = \"off\"".into())),
            (_, Ok(_)) => Ok(Self::Kernel),
            (VhostNet::Auto, Err(error)) => Ok(vmm(format!("{}: {error}", device.display()))),
            (VhostNet::Required, Err(error)) => {
                let doing = format!(
                    "open {}, which vhost_net = \"required\" asks for; load the module vhost_net, or let the \
                     VMM move frames (vhost_net = \"auto\")",
                    device.display()
                );
                Err(Error::caused(Kind::Unavailable, doing, error))
            }
        }
    }

    /// What the VMM is given to let the kernel move the frames of so many queue pairs.
    pub(super) fn open(&self, pairs: usize) -> Result<Vec<OwnedFd>> {
        if *self != Self::Kernel {
            return Ok(Vec::new());
        }
        let opened = (0..pairs).map(|_| open(Path::new(DEVICE)));
        let opened = opened.collect::<io::Result<_>>();
        opened.map_err(|e| Error::io(format!("open {DEVICE}"), e))
    }
}

impl fmt::Display for Mover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel => f.write_str("the kernel (vhost-net)"),
            Self::Vmm { because } => write!(f, "the VMM ({because})"),
        }
    }
}

fn open(device: &Path) -> io::Result<OwnedFd> {
    let opened = OpenOptions::new().read(true).write(true).open(device);
    opened.map(OwnedFd::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_the_device_lets_the_vmm_move_frames_unless_that_is_forbidden() {
        let missing = Path::new("/nonexistent/vhost-net");
        let chosen = Mover::with(missing, VhostNet::Auto).unwrap().to_string();
        assert!(chosen.starts_with("the VMM (/nonexistent/vhost-net: No such file"));
        let error = Mover::with(missing, VhostNet::Required).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(
            error.chain().contains("load the module vhost_net"),
            "{error}"
        );
    }

    #[test]
    fn a_node_with_the_device_uses_it_unless_that_is_forbidden() {
        let device = tempfile::NamedTempFile::new().unwrap();
        for wish in [VhostNet::Auto, VhostNet::Required] {
            assert_eq!(Mover::with(device.path(), wish).unwrap(), Mover::Kernel);
        }
        let off = Mover::with(device.path(), VhostNet::Off).unwrap();
        assert_eq!(off.to_string(), "the VMM (vhost_net = \"off\")");
    }
}

//! Sandboxes made of a virtual machine: one `bulkhead-vmm` per pod, and the agent in its guest.
//!
//! The VMM is told what to do over its control socket and is given descriptors, never paths. The agent
//! in the guest is driven as one on the host would be, over a stream that the VMM passes on; what it
//! answers is the guest's word.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

mod config;
mod cpus;
mod plan;

mod launch;
mod users;

mod control;

mod end;
mod facts;
mod sandbox;
mod saved;

mod console;
mod health;
mod network;

mod assemble;
mod blank_disk;
mod container;
mod disks;
mod files;
mod shares;
mod volumes;

pub use config::{Config, HostVolumes, Machine, VhostNet};

use crate::leftovers::Leftovers;
use crate::{
    Adopted, Error, Features, ImageForm, Kind, Result, Sandbox, SandboxId, SandboxSpec, Sandboxer,
    SavedSandbox, cgroup,
};
use blank_disk::BlankDisks;
use network::Mover;
use plan::Planned;
use sandbox::{Handler, VmSandbox};
use saved::Saved;
use users::Users;

const KVM: &str = "/dev/kvm";
const TUN: &str = "/dev/net/tun";
const MODULES: &str = "/sys/module";

/// Makes sandboxes of virtual machines.
#[derive(Debug)]
pub struct Vm {
    handler: Handler,
}

impl Vm {
    /// Prepares this node for sandboxes of this kind.
    pub fn open(config: Config) -> Result<Self> {
        let records = config.runtime_dir.join("machines");
        std::fs::create_dir_all(&records)
            .map_err(|e| Error::io(format!("make {}", records.display()), e))?;
        let users = config.runtime_dir.join("users");
        let handler = Handler {
            host_cpus: cpus::online()?,
            blank_disks: BlankDisks::open(config.mke2fs.clone(), config.cache_dir.clone())?,
            users: Users::open(users, config.first_uid, config.uid_count)?,
            leftovers: Leftovers::in_dir(records),
            config: Arc::new(config),
        };
        Ok(Self { handler })
    }
}

/// Wires up what is in the network namespace at `path` as for a machine with one CPU, takes the wires out
/// again, and tells how long the former took. For measuring without a machine.
#[cfg(feature = "privileged")]
pub async fn wire_network(path: &Path) -> Result<std::time::Duration> {
    let mover = Mover::choose(VhostNet::Auto)?;
    let network = network::Network::connect(path, 1, mover).await?;
    let took = network.took();
    network.disconnect().await;
    Ok(took)
}

#[async_trait]
impl Sandboxer for Vm {
    fn features(&self) -> Features {
        Features {
            image_form: ImageForm::Extents,
            host_network: false,
            host_namespaces: false,
            recursive_read_only_mounts: true,
            user_namespaces: false,
        }
    }

    fn available(&self) -> Result<(), String> {
        let config = &self.handler.config;
        for (what, path) in [
            ("the VMM", &config.vmm),
            ("the guest kernel", &config.kernel),
            ("the guest's initramfs", &config.initramfs),
            ("mke2fs", &config.mke2fs),
        ] {
            if !path.is_file() {
                return Err(format!("{what} {} is missing", path.display()));
            }
        }
        if config.host_volumes == HostVolumes::Shared && !config.fsd.is_file() {
            return Err(format!(
                "the file server {} is missing",
                config.fsd.display()
            ));
        }
        if config.machine != Machine::Builtin {
            return Err(
                "machines of QEMU are not built yet; choose machine = \"builtin\"".to_owned(),
            );
        }
        check_kvm(Path::new(KVM), Path::new(MODULES))?;
        check_tun(Path::new(TUN))?;
        Mover::choose(config.vhost_net).map_err(|error| error.chain())?;
        cgroup::check_hierarchy()
    }

    async fn create(&self, spec: SandboxSpec) -> Result<Arc<dyn Sandbox>> {
        let Handler {
            config,
            users,
            leftovers,
            host_cpus,
            ..
        } = &self.handler;
        self.available()
            .map_err(|why| Error::new(Kind::Unavailable, format!("make a machine: {why}")))?;
        let id = spec.id.clone();
        let planned = Planned::new(config, *host_cpus, spec)?;
        leftovers.note(&id, &planned.leftover())?;
        let launched = match planned.prepare(config, users) {
            Ok(prepared) => prepared.launch().await,
            Err(error) => Err(error),
        };
        match launched {
            Ok((launched, events)) => Ok(VmSandbox::new(self.handler.clone(), launched, events)),
            Err(error) => {
                if let Err(left) = self.handler.clear(&id).await {
                    tracing::error!(sandbox_id = %id, error = %left.chain(), "a half-made machine is left");
                }
                Err(error)
            }
        }
    }

    async fn adopt(&self, saved: SavedSandbox) -> Result<Adopted> {
        let content = Saved::read(&saved)?;
        match content.find(&saved.id, &self.handler.config).await? {
            Some((launched, events)) => Ok(Adopted::Living(
                VmSandbox::adopted(self.handler.clone(), launched, events).await?,
            )),
            // What ended in it was known to the guest alone.
            None => Ok(Adopted::Ended(Vec::new())),
        }
    }

    async fn discard(&self, id: &SandboxId) -> Result<()> {
        self.handler.clear(id).await
    }

    async fn sweep(&self, keep: &[SandboxId]) -> Result<()> {
        let swept = self.handler.leftovers.sweep(keep).await;
        swept.and(self.handler.users.forget_gone())
    }
}

/// Whether a machine can have a TAP device, or why not.
fn check_tun(device: &Path) -> Result<(), String> {
    let opened = OpenOptions::new().read(true).write(true).open(device);
    opened.map(drop).map_err(|error| {
        let device = device.display();
        format!("{device} can't be used: {error}; load the module tun")
    })
}

/// Whether machines can run on KVM here, or why not.
fn check_kvm(device: &Path, modules: &Path) -> Result<(), String> {
    let remedy = "enable virtualisation in the firmware (or nested virtualisation in the hypervisor \
                  that this node runs on) and load kvm_intel or kvm_amd";
    let opened = OpenOptions::new().read(true).write(true).open(device);
    if let Err(error) = opened {
        return Err(format!(
            "{} can't be used: {error}; {remedy}",
            device.display()
        ));
    }
    // A device without either is some other hypervisor's, and boots no kernel that is not made for it.
    if !["kvm_intel", "kvm_amd"]
        .iter()
        .any(|module| modules.join(module).exists())
    {
        let why = "is there without hardware support behind it";
        return Err(format!("{} {why}; {remedy}", device.display()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_says_what_it_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            vmm: dir.path().join("no-vmm"),
            runtime_dir: dir.path().join("run"),
            cache_dir: dir.path().join("cache"),
            ..config::tests::good()
        };
        let vm = Vm::open(config).unwrap();
        let why = vm.available().unwrap_err();
        assert!(
            why.starts_with("the VMM ") && why.ends_with("no-vmm is missing"),
            "{why}"
        );
    }

    #[test]
    fn a_node_without_kvm_is_told_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let why = check_kvm(Path::new("/nonexistent/kvm"), dir.path()).unwrap_err();
        assert!(why.contains("load kvm_intel or kvm_amd"), "{why}");
    }

    #[test]
    fn a_node_without_tap_devices_is_told_what_it_lacks() {
        let why = check_tun(Path::new("/nonexistent/tun")).unwrap_err();
        assert!(why.ends_with("load the module tun"), "{why}");
        assert_eq!(check_tun(Path::new("/dev/null")), Ok(()));
    }

    #[test]
    fn a_device_alone_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let device = dir.path().join("kvm");
        std::fs::write(&device, "").unwrap();
        let why = check_kvm(&device, dir.path()).unwrap_err();
        assert!(why.contains("without hardware support"), "{why}");
        std::fs::create_dir(dir.path().join("kvm_amd")).unwrap();
        assert_eq!(check_kvm(&device, dir.path()), Ok(()));
    }
}

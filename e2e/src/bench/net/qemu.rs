//! QEMU on the node's KVM, with a TAP on the bridge that pods are on.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use super::guest;
use crate::debian::run;

/// Of the pods' network, and far from what plugins give out.
pub(super) const IP: Ipv4Addr = Ipv4Addr::new(10, 88, 255, 2);

/// Where xtask puts it, with its libraries and firmware beside it.
const QEMU: &str = "/opt/bench/qemu";
const KERNEL: &str = "/usr/share/bulkhead/vmlinux";
const LOG: &str = "/var/log/bench-qemu.log";
const TAP: &str = "bench-tap";
/// The bridge of the node's network.
const BRIDGE: &str = "cni0";

/// Who moves the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vhost {
    /// QEMU itself.
    Off,
    /// The node's kernel.
    On,
}

/// While it runs. Dropped, it is gone with its TAP.
pub(super) struct Qemu {
    process: Child,
}

impl Qemu {
    /// A machine as large as ours is for one container. Not of type `microvm`: Debian's kernel
    /// can't be told of virtio-mmio by parameter, and finds no ACPI tables in such a machine.
    pub(super) fn boot(initramfs: &Path, vhost: Vhost) -> Result<Self> {
        for arguments in [
            format!("tuntap add dev {TAP} mode tap vnet_hdr"),
            format!("link set {TAP} master {BRIDGE} up"),
        ] {
            run(Command::new("ip").args(arguments.split(' ')))?;
        }
        let vhost = if vhost == Vhost::On { "on" } else { "off" };
        let log = File::options().create(true).append(true).open(LOG)?;
        let mut command = Command::new(format!("{QEMU}/bin/qemu-system-x86_64"));
        command.env("LD_LIBRARY_PATH", format!("{QEMU}/lib"));
        command.args(["-L", &format!("{QEMU}/share")]);
        command.args(["-M", "q35", "-accel", "kvm", "-cpu", "host"]);
        command.args(["-smp", "1", "-m", "256", "-no-reboot"]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none"]);
        command.args(["-serial", "stdio", "-kernel", KERNEL, "-initrd"]);
        command.arg(initramfs).arg("-append").arg(format!(
            "console=ttyS0 quiet panic=-1 no_timer_check tsc=reliable cryptomgr.notests \
             net.ifnames=0 rdinit={}",
            guest::INIT
        ));
        command.arg("-netdev").arg(format!(
            "tap,id=net0,ifname={TAP},script=no,downscript=no,vhost={vhost}"
        ));
        command.args(["-device", "virtio-net-pci,netdev=net0,romfile="]);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let process = command.spawn().context("start QEMU")?;
        Ok(Self { process })
    }

    pub(super) fn end(self) -> Result<()> {
        drop(self);
        Ok(())
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Should it stay, the node ends soon, and with it whatever is in it.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = run(Command::new("ip").args(["link", "delete", TAP]));
    }
}

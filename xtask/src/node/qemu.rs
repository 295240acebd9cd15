//! QEMU as the node's machine.

use super::image::Image;
use super::runtime_dir::RuntimeDir;
use anyhow::{Context, Result};
use std::fmt;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

/// Debian packages that this needs on the machine.
pub(crate) const PACKAGES: [&str; 2] = ["qemu-system-x86", "openssh-client"];

/// Who executes the node's instructions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accelerator {
    /// Hardware virtualisation.
    Kvm,
    /// QEMU's emulation of an AMD CPU that has SVM.
    Tcg,
}

impl Accelerator {
    /// Not by /dev/kvm: a paravirtual one is there too, and cannot boot a stock kernel.
    pub(crate) fn of_this_machine() -> Self {
        let hardware = ["kvm_intel", "kvm_amd"]
            .iter()
            .any(|m| Path::new("/sys/module").join(m).exists());
        if hardware
            && File::options()
                .read(true)
                .write(true)
                .open("/dev/kvm")
                .is_ok()
        {
            Self::Kvm
        } else {
            Self::Tcg
        }
    }

    fn args(self) -> Vec<String> {
        match self {
            Self::Kvm => {
                let cpus = std::thread::available_parallelism().map_or(1, |n| n.get().min(4));
                ["-accel", "kvm", "-cpu", "host", "-smp", &cpus.to_string()]
                    .map(str::to_owned)
                    .to_vec()
            }
            // One CPU: with two, nested SVM under multi-threaded TCG corrupts the node's kernel.
            Self::Tcg => [
                "-accel",
                "tcg,tb-size=512",
                "-cpu",
                "max,+svm,+npt",
                "-smp",
                "1",
            ]
            .map(str::to_owned)
            .to_vec(),
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "hardware virtualisation",
            Self::Tcg => "emulated: one CPU, everything is slow",
        })
    }
}

/// Starts the node's machine in the background and leaves it to boot.
pub(crate) fn start(dir: &RuntimeDir, image: &Image, memory_mib: u32) -> Result<()> {
    let port = free_port()?;
    let log = File::create(dir.file("qemu.log")).context("make qemu.log")?;
    // setsid: neither the terminal's Ctrl-C nor its end is meant for the node.
    let mut command = Command::new("setsid");
    command
        .arg("qemu-system-x86_64")
        .args(Accelerator::of_this_machine().args());
    command.args(machine_args(image, memory_mib, port));
    command.current_dir(dir.path()).env("TMPDIR", dir.path());
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    let child = command.spawn().context("start qemu-system-x86_64")?;
    fs::write(dir.file("qemu.pid"), child.id().to_string()).context("write qemu.pid")?;
    fs::write(dir.file("ssh_config"), ssh_config(image, port)).context("write ssh_config")
}

fn machine_args(image: &Image, memory_mib: u32, port: u16) -> Vec<String> {
    let words = [
        "-nodefaults -no-user-config -display none -no-reboot -machine q35 -serial file:console.log",
        "-device virtio-rng-pci -device nvme,serial=root,drive=root",
        "-device virtio-net-pci,netdev=control,romfile=",
    ];
    let mut args: Vec<String> = words.join(" ").split(' ').map(str::to_owned).collect();
    let disk = image.disk();
    args.extend(["-m".to_owned(), format!("{memory_mib}M")]);
    args.extend(["-kernel".to_owned(), image.kernel().display().to_string()]);
    args.extend(["-append".to_owned(), kernel_command_line()]);
    args.extend([
        "-drive".to_owned(),
        format!(
            "if=none,id=root,format=raw,cache=unsafe,snapshot=on,file={}",
            disk.display()
        ),
        "-netdev".to_owned(),
        format!("user,id=control,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"),
    ]);
    args
}

/// An oops ends the node: what a kernel says after one proves nothing.
fn kernel_command_line() -> String {
    "console=ttyS0 root=/dev/nvme0n1 rootfstype=ext4 rw init=/lib/bulkhead-node/init net.ifnames=0 \
     loglevel=4 oops=panic panic=-1 cryptomgr.notests"
        .to_owned()
}

/// Another process may take it before QEMU does; then QEMU ends and says so.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
    Ok(listener.local_addr()?.port())
}

/// The control path is relative, because unix socket paths are short: run ssh in this directory.
fn ssh_config(image: &Image, port: u16) -> String {
    format!(
        "Host node\n  HostName 127.0.0.1\n  Port {port}\n  User root\n  IdentityFile {key}\n  \
         IdentitiesOnly yes\n  HostKeyAlias node\n  UserKnownHostsFile {known_hosts}\n  \
         StrictHostKeyChecking yes\n  BatchMode yes\n  LogLevel ERROR\n  ControlPath ssh.sock\n  \
         ServerAliveInterval 30\n  ServerAliveCountMax 6\n  ConnectTimeout 20\n",
        key = image.client_key().display(),
        known_hosts = image.known_hosts().display(),
    )
}

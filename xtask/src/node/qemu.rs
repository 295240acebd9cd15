//! QEMU as the node's machine.

use super::image::{CLIENT_KEY, Image, KNOWN_HOSTS};
use super::runtime_dir::RuntimeDir;
use anyhow::{Context, Result};
use std::fmt;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

/// Debian packages that this needs on the machine.
pub(crate) const PACKAGES: [&str; 2] = ["qemu-system-x86", "openssh-client"];

/// What is written to it goes to an unlinked file and is gone with QEMU.
const ROOT_DISK: &str = "if=none,id=root,format=raw,cache=unsafe,snapshot=on";

/// NVMe because the kernel has that driver built in, so that no initramfs is needed. The only
/// NVMe disk, because several are numbered in the order in which they happen to answer. An oops ends
/// the node: what a kernel says after one proves nothing.
const KERNEL_COMMAND_LINE: &str = "console=ttyS0 root=/dev/nvme0n1 rootfstype=ext4 rootflags=noinit_itable rw \
     init=/lib/bulkhead-node/init net.ifnames=0 loglevel=4 oops=panic panic=-1 cryptomgr.notests";

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
        let loaded = |module: &str| Path::new("/sys/module").join(module).exists();
        let usable = || {
            File::options()
                .read(true)
                .write(true)
                .open("/dev/kvm")
                .is_ok()
        };
        if (loaded("kvm_intel") || loaded("kvm_amd")) && usable() {
            Self::Kvm
        } else {
            Self::Tcg
        }
    }

    fn args(self) -> String {
        match self {
            Self::Kvm => {
                let cpus = std::thread::available_parallelism().map_or(1, |n| n.get().min(4));
                format!("-accel kvm -cpu host -smp {cpus}")
            }
            // One CPU: with two, nested SVM under multi-threaded TCG corrupts the node's kernel.
            // No ERMS: it makes the kernel copy and clear memory by bytes, which TCG emulates one
            // by one; without, by words, and a machine boots in two thirds of the time.
            // No XSAVE, and so no AVX: to save registers in its layout is emulated slowly, and took a
            // fifth of a machine's time.
            Self::Tcg => "-accel tcg,tb-size=512 -cpu max,+svm,+npt,-erms,-xsave -smp 1".to_owned(),
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

/// When a node ends that nobody switches off.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// Never: `node up` leaves it for the commands to come.
    UntilDown,
    /// With the thread that started it, however that ends.
    WithParent,
}

/// Starts the node's machine in the background and leaves it to boot.
pub(crate) fn start(
    dir: &RuntimeDir,
    image: &Image,
    memory_mib: u32,
    lifetime: Lifetime,
) -> Result<()> {
    let port = free_port()?;
    image.copy_keys(dir.path())?;
    let log = File::create(dir.file("qemu.log")).context("make qemu.log")?;
    // setsid: neither the terminal's Ctrl-C nor its end is meant for the node.
    let mut command = Command::new("setsid");
    if lifetime == Lifetime::WithParent {
        command.args(["setpriv", "--pdeathsig", "KILL"]);
    }
    command
        .arg("qemu-system-x86_64")
        .args(machine_args(memory_mib, port));
    command.arg("-kernel").arg(image.kernel());
    // QEMU wants a comma in a value doubled.
    let disk = image.disk().display().to_string().replace(',', ",,");
    command
        .arg("-drive")
        .arg(format!("{ROOT_DISK},file={disk}"));
    command.args(["-append", KERNEL_COMMAND_LINE]);
    command.current_dir(dir.path()).env("TMPDIR", dir.path());
    command.stdin(Stdio::null());
    command.stdout(log.try_clone()?).stderr(log);
    let child = command.spawn().context("start qemu-system-x86_64")?;
    fs::write(dir.file("qemu.pid"), child.id().to_string()).context("write qemu.pid")?;
    fs::write(dir.file("ssh_config"), ssh_config(port)).context("write ssh_config")
}

/// What has no path of this machine in it, so that it may be split at blanks.
fn machine_args(memory_mib: u32, port: u16) -> Vec<String> {
    let accelerator = Accelerator::of_this_machine().args();
    let text = format!(
        "-nodefaults -no-user-config -display none -no-reboot -machine q35 {accelerator} \
         -m {memory_mib}M -serial file:console.log -device virtio-rng-pci \
         -device nvme,serial=root,drive=root -device virtio-blk-pci,drive=products \
         -drive if=none,id=products,format=raw,readonly=on,file=products.erofs \
         -device virtio-net-pci,netdev=control,romfile= \
         -netdev user,id=control,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"
    );
    text.split_whitespace().map(str::to_owned).collect()
}

/// Another process may take it before QEMU does; then QEMU ends and says so.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
    Ok(listener.local_addr()?.port())
}

/// All paths are relative, and ssh runs in this directory, because unix socket paths are short.
fn ssh_config(port: u16) -> String {
    format!(
        "Host node\n  HostName 127.0.0.1\n  Port {port}\n  User root\n  \
         IdentityFile ./{CLIENT_KEY}\n  IdentitiesOnly yes\n  HostKeyAlias node\n  \
         UserKnownHostsFile ./{KNOWN_HOSTS}\n  StrictHostKeyChecking yes\n  BatchMode yes\n  \
         LogLevel ERROR\n  ControlPath ssh.sock\n  ConnectTimeout 20\n  \
         ServerAliveInterval 30\n  ServerAliveCountMax 6\n"
    )
}

//! QEMU on the node's KVM, in place of a pod's container: it has the pod's network, cgroup and address.

use std::fs::{self, File};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::net::TcpStream;

use super::{ECHOES, guest, wiring::Wiring};
use crate::bench::facts::{facts, text};
use crate::bench::values::progress;
use crate::runtime::{Pod, Runtime, pod_config};

/// Where xtask puts it, with its libraries and firmware beside it.
const QEMU: &str = "/opt/bench/qemu";
const KERNEL: &str = "/usr/share/bulkhead/vmlinux";
const LOG: &str = "/var/log/bench-qemu.log";
/// How long an emulated machine may take to listen.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a guest may crash before it listens: in an emulated node one in dozens does.
const TRIES: u32 = 3;

/// Who moves the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vhost {
    /// QEMU itself.
    Off,
    /// The node's kernel.
    On,
}

/// What all such machines are made of.
pub(super) struct Setup {
    /// A client of our server, whose pods they are in.
    runtime: Runtime,
    initramfs: PathBuf,
}

impl Setup {
    pub(super) fn new(runtime: &Runtime) -> Result<Self> {
        Ok(Self {
            runtime: runtime.clone(),
            initramfs: guest::initramfs(Path::new("/run/bench/guest.cpio"))?,
        })
    }

    /// A machine that serves.
    pub(super) async fn boot(&mut self, vhost: Vhost) -> Result<Qemu> {
        for _ in 0..TRIES {
            let mut machine = self.start(vhost).await?;
            if machine.serves().await? {
                return Ok(machine);
            }
            progress(format!("net: a guest of QEMU's crashed; {LOG} has how"))?;
            machine.end().await?;
        }
        bail!("{TRIES} guests of QEMU's crashed")
    }

    async fn start(&mut self, vhost: Vhost) -> Result<Qemu> {
        let config = pod_config("bench-qemu");
        let pod = self.runtime.run_pod("namespaced", &config).await?;
        let info = facts(&mut self.runtime, &pod.id, "info").await?;
        let explained = facts(&mut self.runtime, &pod.id, "explain").await?;
        let wiring = Wiring::connect(text(&info, "networkNamespace")?)?;
        let process = self.spawn(&wiring, vhost)?;
        let machine = Qemu {
            ip: wiring.ip()?,
            process,
            pod,
        };
        machine.enter_cgroup(text(&explained, "cgroup")?)?;
        Ok(machine)
    }

    /// A machine as large as ours is for one container. Not of type `microvm`: Debian's kernel can't
    /// be told of virtio-mmio by parameter, and finds no ACPI tables in such a machine.
    fn spawn(&self, wiring: &Wiring, vhost: Vhost) -> Result<Child> {
        let vhost = if vhost == Vhost::On { "on" } else { "off" };
        let log = File::options().create(true).append(true).open(LOG)?;
        let mut command = wiring.command(&format!("{QEMU}/bin/qemu-system-x86_64"));
        command.env("LD_LIBRARY_PATH", format!("{QEMU}/lib"));
        command.args(["-L", &format!("{QEMU}/share")]);
        command.args(["-M", "q35", "-accel", "kvm", "-cpu", "host"]);
        command.args(["-smp", "1", "-m", "256", "-no-reboot"]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none"]);
        command.args(["-serial", "stdio", "-kernel", KERNEL, "-initrd"]);
        command.arg(&self.initramfs).arg("-append").arg(format!(
            "console=ttyS0 quiet panic=-1 no_timer_check tsc=reliable cryptomgr.notests \
             net.ifnames=0 rdinit={} {}={}",
            guest::INIT,
            guest::ADDRESS,
            wiring.address
        ));
        let tap = super::wiring::TAP;
        command.arg("-netdev").arg(format!(
            "tap,id=net0,ifname={tap},script=no,downscript=no,vhost={vhost}"
        ));
        command.arg("-device").arg(format!(
            "virtio-net-pci,netdev=net0,romfile=,mac={}",
            wiring.mac
        ));
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        command.spawn().context("start QEMU")
    }
}

/// While it runs. Dropped, it is gone; its pod has to be ended.
pub(super) struct Qemu {
    /// Its main address.
    pub(super) ip: IpAddr,
    process: Child,
    pod: Pod,
}

impl Qemu {
    fn enter_cgroup(&self, pod: &str) -> Result<()> {
        // Beside the supervisor's: a cgroup with children has no processes of its own.
        let cgroup = Path::new("/sys/fs/cgroup").join(pod.trim_start_matches('/'));
        let cgroup = cgroup.join("machine");
        fs::create_dir_all(&cgroup).with_context(|| format!("make {}", cgroup.display()))?;
        let pid = self.process.id().to_string();
        fs::write(cgroup.join("cgroup.procs"), pid).context("move QEMU into its pod's cgroup")
    }

    /// Waits until it listens; false where it crashed before.
    async fn serves(&mut self) -> Result<bool> {
        let deadline = Instant::now() + PATIENCE;
        while self.process.try_wait()?.is_none() {
            let attempt = TcpStream::connect((self.ip, ECHOES[0]));
            match tokio::time::timeout(Duration::from_secs(5), attempt).await {
                Ok(Ok(_)) => return Ok(true),
                _ if Instant::now() > deadline => bail!("QEMU's guest does not listen: {LOG}"),
                _ => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
        Ok(false)
    }

    pub(super) async fn end(mut self) -> Result<()> {
        self.kill();
        self.pod.clone().finish().await
    }

    fn kill(&mut self) {
        // It has ended by itself where that fails.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.kill();
    }
}

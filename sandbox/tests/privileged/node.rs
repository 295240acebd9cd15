//! The node that the checks run on: where things are, and what is left on it.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use sandbox::conformance::Bench;
use sandbox::spec::{Capabilities, PodName, ProcessSpec};
use sandbox::{
    ContainerId, ContainerSpec, Namespaces, Resources, Rootfs, SandboxId, SandboxSpec, Sandboxer,
    namespaced, vm,
};

use super::image;

/// What `cargo xtask node` puts into the node.
const PRODUCTS: &str = "/opt/bulkhead";

/// The series of Debian's kernels that machines run where nothing is said.
pub const KERNEL: &str = "6.12";

const CGROUP: &str = "/bulkhead-test";

/// A kind of sandbox.
#[allow(dead_code, reason = "each test program is of one kind")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Namespaced,
    Vm,
}

/// A node, with a directory on its disk and one in memory.
pub struct Node {
    pub kind: Kind,
    dir: PathBuf,
    run: PathBuf,
    next: AtomicU32,
    made: Mutex<HashSet<PathBuf>>,
}

impl Node {
    pub fn new(kind: Kind) -> Self {
        Self::at(
            kind,
            format!("/var/tmp/bulkhead-test-{}", std::process::id()).into(),
        )
    }

    pub fn at(kind: Kind, dir: PathBuf) -> Self {
        fs::create_dir_all(&dir).unwrap();
        let run = PathBuf::from("/run").join(dir.file_name().unwrap());
        fs::create_dir_all(&run).unwrap();
        // It stays on the node, so it must be there before traces are looked for.
        Self::network_namespace();
        Self {
            kind,
            dir,
            run,
            next: AtomicU32::new(0),
            made: Mutex::default(),
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn namespaced(&self) -> namespaced::Config {
        namespaced::Config {
            agent: Path::new(PRODUCTS).join("bin/bulkhead-agent"),
            runtime_dir: self.run.join("namespaced"),
            cgroup_parent: CGROUP.into(),
            shm_mib: 16,
            start_timeout_s: 60,
        }
    }

    pub fn vm(&self) -> vm::Config {
        self.vm_with_kernel(KERNEL)
    }

    /// With Debian's kernel of this series.
    pub fn vm_with_kernel(&self, series: &str) -> vm::Config {
        let guest = Path::new(PRODUCTS).join("guest").join(series);
        vm::Config {
            vmm: Path::new(PRODUCTS).join("bin/bulkhead-vmm"),
            machine: vm::Machine::Builtin,
            host_volumes: vm::HostVolumes::Shared,
            fsd: Path::new(PRODUCTS).join("bin/bulkhead-fsd"),
            vhost_net: vm::VhostNet::Auto,
            kernel: guest.join("vmlinux"),
            initramfs: guest.join("initramfs.cpio"),
            kernel_params: vec!["quiet".into()],
            runtime_dir: self.run.join("vm"),
            cache_dir: self.dir.join("cache"),
            cgroup_parent: CGROUP.into(),
            first_uid: 700_000,
            uid_count: 100,
            default_container_memory_mib: 128,
            system_memory_mib: 128,
            minimum_memory_mib: 96,
            vmm_memory_mib: 64,
            writable_disk_mib: 10 << 10,
            mke2fs: "/sbin/mke2fs".into(),
            console_limit_kib: 256,
            shm_mib: 16,
            boot_timeout_s: 120,
            hang_timeout_s: 120,
        }
    }

    /// The pods' network namespace; nothing is in it but its loopback.
    fn network_namespace() -> PathBuf {
        let path = PathBuf::from("/run/netns/bulkhead-test");
        if !path.exists() {
            for command in ["netns add bulkhead-test", "-n bulkhead-test link set lo up"] {
                let done = Command::new("ip").args(command.split(' ')).status();
                assert!(done.expect("ip is installed").success(), "ip {command}");
            }
        }
        path
    }

    fn image(&self) -> sandbox::spec::ImageFiles {
        match self.kind {
            Kind::Namespaced => image::directory(&self.dir),
            Kind::Vm => image::erofs(&self.dir),
        }
    }
}

impl Bench for Node {
    fn sandboxer(&self) -> Arc<dyn Sandboxer> {
        match self.kind {
            Kind::Namespaced => Arc::new(namespaced::Namespaced::open(self.namespaced()).unwrap()),
            Kind::Vm => Arc::new(vm::Vm::open(self.vm()).unwrap()),
        }
    }

    fn sandbox(&self, name: &str) -> SandboxSpec {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = format!("{name}-{}-{number}", std::process::id());
        let state_dir = self.run.join(&id);
        fs::create_dir_all(&state_dir).unwrap();
        self.made.lock().insert(state_dir.clone());
        SandboxSpec {
            id: SandboxId(id),
            pod: PodName::default(),
            hostname: format!("pod-{name}"),
            network_namespace: Some(Self::network_namespace()),
            host_ipc: false,
            shared_pid: false,
            sysctls: Default::default(),
            cgroup_parent: String::new(),
            resources: Resources::default(),
            overhead: Resources::default(),
            privileged: false,
            state_dir,
        }
    }

    fn container(&self, sandbox: &SandboxSpec, name: &str, script: &str) -> ContainerSpec {
        let id = format!("{name}-of-{}", sandbox.id);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let writable_dir = self.dir.join(format!("{id}-{number}"));
        fs::create_dir_all(&writable_dir).unwrap();
        ContainerSpec {
            log_path: Some(self.dir.join(format!("{id}-{number}.log"))),
            id: ContainerId(id),
            rootfs: Rootfs {
                image: self.image(),
                writable_dir,
                writable_limit_bytes: None,
            },
            readonly_rootfs: false,
            mounts: vec![],
            files: vec![],
            devices: vec![],
            process: ProcessSpec {
                args: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
                env: vec![b"PATH=/bin".to_vec()],
                cwd: "/".into(),
                capabilities: Capabilities {
                    bounding: 0xa804_25fb,
                    permitted: 0xa804_25fb,
                    inheritable: 0,
                    ambient: 0,
                },
                ..ProcessSpec::default()
            },
            namespaces: Namespaces::default(),
            resources: Resources::default(),
            masked_paths: vec![],
            readonly_paths: vec![],
            privileged: false,
            stdin: false,
            stdin_once: false,
        }
    }

    fn traces(&self) -> Vec<String> {
        let mut traces = processes();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        traces.extend(mounts.lines().map(|line| format!("mount {line}")));
        for dir in [
            &self.run.join("namespaced"),
            &self.run.join("vm/machines"),
            &self.run.join("vm/users"),
        ] {
            // They belong to the handler, which makes them when they are first needed.
            traces.extend(files(dir, |name| {
                name != "turn" && name != "bulkhead-agent"
            }));
        }
        for state_dir in self.made.lock().iter() {
            traces.extend(files(state_dir, |_| true));
        }
        traces.extend(cgroups());
        traces
    }

    fn kill_supervisor(&self, explained: &[(String, String)]) {
        let pid = explained.iter().find(|(name, _)| name.ends_with("_pid"));
        let (_, pid) = pid.expect("the explanation names its process");
        let killed = Command::new("kill").args(["-9", pid]).status();
        assert!(killed.unwrap().success());
    }
}

/// Everything that runs on the node but the kernel's own threads and what comes and goes by itself.
fn processes() -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok())
        .filter_map(|entry| {
            let cmdline = fs::read_to_string(entry.path().join("cmdline"))
                .ok()?
                .replace('\0', " ");
            let ours = cmdline.contains("bulkhead-") || cmdline.contains("sleep 1");
            ours.then(|| format!("process {} {cmdline}", entry.file_name().display()))
        })
        .collect()
}

fn cgroups() -> Vec<String> {
    files(
        &Path::new("/sys/fs/cgroup").join(CGROUP.trim_start_matches('/')),
        |name| {
            // The kernel's own files have names with a dot.
            !name.contains('.')
        },
    )
}

fn files(dir: &Path, counts: impl Fn(&str) -> bool) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let names = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .filter(|name| counts(name))
        .map(|name| format!("{}/{name}", dir.display()))
        .collect()
}

impl Drop for Node {
    fn drop(&mut self) {
        for dir in [&self.dir, &self.run] {
            let _ = fs::remove_dir_all(dir);
        }
    }
}

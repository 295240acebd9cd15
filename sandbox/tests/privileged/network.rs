//! Checks of machines on a network: the host on one side, a container in a guest on the other.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sandbox::conformance::Bench;
use sandbox::{SandboxSpec, Sandboxer, vm};

use super::machines::{Pod, ok};
use super::node::{KERNEL, Node};

const HOST: [&str; 2] = ["10.111.0.1", "fd11::1"];
const POD: &str = "10.111.0.2";

/// Where the guest listens.
const PORT: u16 = 7000;

/// Bytes of each transfer.
const LENGTH: usize = 1 << 20;

/// Who moves frames into what memory, and how many CPUs the node seems to have for the machine.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    vhost_net: vm::VhostNet,
    /// Whether others can map the machine's memory.
    host_volumes: vm::HostVolumes,
    cpus: usize,
    /// The series of the guest's kernel.
    kernel: &'static str,
    /// How the machine tells of it.
    told: &'static str,
}

pub const BY_KERNEL: Case = Case {
    vhost_net: vm::VhostNet::Required,
    host_volumes: vm::HostVolumes::Shared,
    cpus: 1,
    kernel: KERNEL,
    told: "; the kernel (vhost-net) moves frames, over 1 queue pair each",
};
pub const BY_KERNEL_WITH_CPUS: Case = Case {
    host_volumes: vm::HostVolumes::Refused,
    cpus: 2,
    told: "; the kernel (vhost-net) moves frames, over 2 queue pairs each",
    ..BY_KERNEL
};
pub const BY_VMM_TO_OLDER_KERNEL: Case = Case {
    vhost_net: vm::VhostNet::Off,
    host_volumes: vm::HostVolumes::Shared,
    cpus: 1,
    kernel: "6.1",
    told: "; the VMM (vhost_net = \"off\") moves frames, over 1 queue pair each",
};
pub const BY_VMM_WITH_CPUS: Case = Case {
    vhost_net: vm::VhostNet::Off,
    told: "; the VMM (vhost_net = \"off\") moves frames, over 2 queue pairs each",
    ..BY_KERNEL_WITH_CPUS
};

/// A node that says that it has so many CPUs, until this is dropped.
struct Cpus;

impl Cpus {
    const LIST: &str = "/sys/devices/system/cpu/online";

    fn seem(count: usize, node: &Node) -> Self {
        let list = node.dir().join("cpus");
        std::fs::write(&list, format!("0-{}", count - 1)).unwrap();
        shell(&format!("mount --bind {} {}", list.display(), Self::LIST));
        Self
    }
}

impl Drop for Cpus {
    fn drop(&mut self) {
        shell(&format!("umount {}", Self::LIST));
    }
}

/// What tells all of a network, with words that are to be in it: a pod's way out over a gateway that is in
/// no network of its own, as Calico makes it, metrics and MTUs of routes, other tables.
const TOLD: [(&str, &[&str]); 7] = [
    (
        "ip route",
        &[
            "default via 10.111.0.1 dev eth0",
            "169.254.1.1 dev net1 scope link",
            "10.200.0.0/16 via 169.254.1.1 dev net1 metric 77 mtu 1300 advmss 1200",
            "10.202.0.0/16 via 169.254.2.2 dev net1 src 10.112.0.2 onlink",
            "10.203.0.0/16 dev net1 proto static scope link",
        ],
    ),
    (
        "ip -6 route",
        &[
            "default via fd11::1 dev eth0",
            "fd13::/64 via fe80::1 dev net1 metric 55 mtu 1290",
        ],
    ),
    (
        "ip route show table 100",
        &["10.201.0.0/16 via 10.111.0.1 dev eth0"],
    ),
    (
        "ip -6 route show table 200",
        &["fd12::/64 via fd11::1 dev eth0"],
    ),
    ("ip rule", &["from 10.111.0.2 lookup 100"]),
    ("ip -6 rule", &["from all to fd12::/64 lookup 200"]),
    (
        "ip neigh show nud permanent",
        &[
            "169.254.1.1 dev net1 lladdr ee:ee:ee:ee:ee:ee PERMANENT",
            "fe80::1 dev net1 lladdr ee:ee:ee:ee:ee:ee PERMANENT",
        ],
    ),
];

/// A network namespace with two interfaces, as plugins would make it. Gone when dropped.
struct Lan {
    name: String,
}

impl Lan {
    fn new(name: &str) -> Self {
        let lan = Self {
            name: format!("bulkhead-{name}"),
        };
        lan.remove();
        let setup = "ip netns add NS; \
             ip link add lan0 mtu 1400 type veth peer name eth0 netns NS; \
             ip link add lan1 type veth peer name net1 netns NS; \
             ip addr add 10.111.0.1/24 dev lan0; \
             ip addr add fd11::1/64 dev lan0 nodad; \
             ip link set lan0 up; ip link set lan1 up; \
             ip -n NS link set eth0 mtu 1400; \
             ip -n NS link set eth0 up; ip -n NS link set net1 up; ip -n NS link set lo up; \
             ip -n NS addr add 10.111.0.2/24 broadcast 10.111.0.255 dev eth0; \
             ip -n NS addr add fd11::2/64 dev eth0 nodad; \
             ip -n NS addr add 10.112.0.2/32 dev net1; \
             ip -n NS route add 169.254.1.1 dev net1 scope link; \
             ip -n NS route add 10.200.0.0/16 via 169.254.1.1 dev net1 metric 77 mtu 1300 advmss 1200; \
             ip -n NS route add 10.202.0.0/16 via 169.254.2.2 dev net1 onlink src 10.112.0.2; \
             ip -n NS route add 10.203.0.0/16 dev net1 scope link proto static; \
             ip -n NS -6 route add fd13::/64 via fe80::1 dev net1 metric 55 mtu 1290; \
             ip -n NS route add default via 10.111.0.1; \
             ip -n NS -6 route add default via fd11::1; \
             ip -n NS route add 10.201.0.0/16 via 10.111.0.1 table 100; \
             ip -n NS rule add from 10.111.0.2 lookup 100 priority 500; \
             ip -n NS -6 route add fd12::/64 via fd11::1 table 200; \
             ip -n NS -6 rule add to fd12::/64 lookup 200; \
             ip -n NS neigh add 169.254.1.1 lladdr ee:ee:ee:ee:ee:ee dev net1 nud permanent; \
             ip -n NS neigh add fe80::1 lladdr ee:ee:ee:ee:ee:ee dev net1 nud permanent";
        shell(&format!("set -e; {}", setup.replace("NS", &lan.name)));
        lan
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// What a command says in the namespace.
    fn says(&self, command: &str) -> String {
        shell(&format!("ip netns exec {} {command}", self.name))
    }

    fn remove(&self) {
        let script = format!(
            "ip link del lan0; ip link del lan1; ip netns del {}",
            self.name
        );
        let _ = Command::new("sh").args(["-c", &script]).output();
    }

    fn pod(&self, node: &Node) -> SandboxSpec {
        SandboxSpec {
            network_namespace: Some(self.path()),
            ..node.sandbox("network")
        }
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        self.remove();
    }
}

#[track_caller]
fn shell(script: &str) -> String {
    let ran = Command::new("sh").args(["-c", script]).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    let complained = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{script}: {said}{complained}");
    said
}

/// Bytes without a pattern that an error could hide in.
fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let words = std::iter::repeat_with(next).take(LENGTH / 8);
    words.flatten().collect()
}

/// Gives the bytes to whoever connects first, and takes them back from whoever does then.
fn serve(host: &str) -> (u16, JoinHandle<bool>) {
    let host: IpAddr = host.parse().unwrap();
    let listener = TcpListener::bind(SocketAddr::new(host, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = std::thread::spawn(move || {
        let (mut out, _) = listener.accept().unwrap();
        out.write_all(&noise()).unwrap();
        drop(out);
        let (mut back, _) = listener.accept().unwrap();
        let mut got = Vec::new();
        back.read_to_end(&mut got).unwrap();
        got == noise()
    });
    (port, served)
}

/// What `command` said in the guest, sorted: the kernel promises no order.
fn said<'a>(log: &'a str, command: &str) -> Vec<&'a str> {
    let lines = log.lines().filter_map(|line| line.split_once(" stdout F "));
    let begin = format!("begin {command}");
    let after = lines
        .map(|(_, line)| line)
        .skip_while(|line| *line != begin);
    sorted(after.skip(1).take_while(|line| *line != "end"))
}

fn sorted<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut lines: Vec<_> = lines.map(str::trim_end).collect();
    lines.sort_unstable();
    lines
}

/// That the guest's kernel tells of its network what that of the node tells of the pod's namespace.
#[track_caller]
fn is_the_same(lan: &Lan, log: &str) {
    for (command, expected) in TOLD {
        let (on_node, in_guest) = (lan.says(command), said(log, command));
        assert_eq!(in_guest, sorted(on_node.lines()), "{command}");
        for line in expected {
            let told = in_guest.iter().any(|told| told.contains(line));
            assert!(told, "{command}: {line:?} is not in {in_guest:#?}");
        }
    }
}

/// What whoever listens in the pod gives.
fn fetch() -> Vec<u8> {
    let begin = Instant::now();
    loop {
        match TcpStream::connect((POD, PORT)) {
            Ok(mut stream) => {
                let mut got = Vec::new();
                stream.read_to_end(&mut got).unwrap();
                return got;
            }
            Err(error) => assert!(begin.elapsed() < Duration::from_secs(120), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

async fn fact(pod: &Pod, name: &str) -> String {
    let facts = pod.sandbox.explain().await;
    let (_, fact) = facts.into_iter().find(|(known, _)| known == name).unwrap();
    fact
}

/// Of the network devices' queues, as the guest's kernel has counted them.
fn interrupts(log: &str) -> u64 {
    let of_queues = |line: &&str| line.contains("-input.") || line.contains("-output.");
    let counts = |line: &str| -> u64 {
        let (_, line) = line.split_once(": ").unwrap();
        let numbers = line
            .split_whitespace()
            .map_while(|word| word.parse::<u64>().ok());
        numbers.sum()
    };
    log.lines().filter(of_queues).map(counts).sum()
}

/// Those that vhost-net left to the VMM.
fn passed_on(counters: &str) -> u64 {
    let (_, rest) = counters.split_once("net_vhost_interrupts ").unwrap();
    rest.split(',').next().unwrap().parse().unwrap()
}

pub async fn carries(node: Arc<Node>, case: Case) {
    let lan = Lan::new("lan");
    let spec = lan.pod(&node);
    let sandboxer = {
        let _cpus = Cpus::seem(case.cpus, &node);
        vm::Vm::open(vm::Config {
            vhost_net: case.vhost_net,
            host_volumes: case.host_volumes,
            ..node.vm_with_kernel(case.kernel)
        })
    };
    let sandbox = ok(sandboxer.unwrap().create(spec.clone())).await;
    let pod = Pod { spec, sandbox };
    let network = fact(&pod, "network").await;
    assert!(network.contains("mtu 1400 10.111.0.2/24"), "{network}");
    assert!(network.ends_with(case.told), "{network}");
    let [(v4, served4), (v6, served6)] = HOST.map(serve);
    let [host4, host6] = HOST;
    let tell =
        TOLD.map(|(command, _)| format!("echo begin {command}; /sbin/{command}; echo end; "));
    let tell = tell.concat();
    let script = format!(
        "set -e; uname -r; ls /sys/class/net/eth0/queues; ip addr; {tell}\
         ping -c 1 -W 20 {host4}; ping -6 -c 1 -W 20 {host6}; \
         nc {host4} {v4} </dev/null >/root/a; nc {host4} {v4} </root/a >/dev/null; \
         nc {host6} {v6} </dev/null >/root/b; nc {host6} {v6} </root/b >/dev/null; \
         cmp /root/a /root/b; nc -l -p {PORT} </root/a >/dev/null; cat /proc/interrupts"
    );
    let spec = node.container(&pod.spec, "c", &script);
    let log = spec.log_path.clone().unwrap();
    let container = pod.run(spec).await;
    let fetched = tokio::task::spawn_blocking(fetch);
    let exit = tokio::time::timeout(Duration::from_secs(150), container.wait()).await;
    let log = std::fs::read_to_string(log).unwrap();
    assert_eq!(exit.map(|exit| exit.code), Ok(0), "{log}");
    assert!(served4.join().unwrap() && served6.join().unwrap());
    assert!(fetched.await.unwrap() == noise());
    let kernel = format!(" stdout F {}.", case.kernel);
    for line in [
        &kernel,
        "inet 10.111.0.2/24 brd 10.111.0.255",
        "inet6 fd11::2/64",
        "inet 10.112.0.2/32",
    ] {
        assert!(log.contains(line), "{line:?} is not in {log}");
    }
    is_the_same(&lan, &log);
    let queues = log.matches(" stdout F rx-").count();
    assert_eq!(queues, case.cpus, "{log}");
    if case.vhost_net == vm::VhostNet::Required {
        let (all, passed_on) = (interrupts(&log), passed_on(&fact(&pod, "counters").await));
        assert!(all > 100, "{log}");
        assert!(
            passed_on < all / 10,
            "{passed_on} of {all} interrupts went through the VMM"
        );
    }
    ok(container.remove()).await;
    ok(pod.sandbox.stop(Duration::ZERO)).await;
    pod.over().await;
}

pub async fn is_left_alone_after_a_failure(node: Arc<Node>) {
    let lan = Lan::new("failing");
    let mut config = node.vm();
    config.initramfs = node.dir().join("none.cpio");
    std::fs::write(&config.initramfs, vec![0; 4096]).unwrap();
    let sandboxer = vm::Vm::open(config).unwrap();
    let made = sandboxer.create(lan.pod(&node)).await;
    assert!(made.is_err(), "it has no agent");
    let disciplines = lan.says("tc qdisc show");
    assert!(!disciplines.contains("ingress"), "{disciplines}");
    let links = lan.says("ip -o link");
    assert!(!links.contains(sandbox::OWN_LINKS), "{links}");
}

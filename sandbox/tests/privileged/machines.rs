//! Checks of what only sandboxes made of machines have: kernels that panic and hang, disks, copies.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sandbox::conformance::{Bench, Outcome};
use sandbox::spec::{MountSource, Principal, Propagation};
use sandbox::{
    Container, ContainerSpec, Kind, Mount, Sandbox, SandboxExit, SandboxSpec, Sandboxer, vm,
};

use super::node::Node;
use super::{image, network, shares};

pub type Check = fn(Arc<Node>) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Nothing here takes longer, however slow the node.
const PATIENCE: Duration = Duration::from_secs(180);

pub const CHECKS: [(&str, Check); 12] = [
    (
        "a_guest_that_panics_costs_its_own_pod_and_says_why",
        |node| Box::pin(panics(node)),
    ),
    ("a_guest_that_hangs_is_ended_and_says_so", |node| {
        Box::pin(hangs(node))
    }),
    (
        "a_guest_that_does_not_boot_is_an_error_that_quotes_its_console",
        |node| Box::pin(does_not_boot(node)),
    ),
    (
        "secrets_are_copied_images_mounted_and_last_words_told",
        |node| Box::pin(has_volumes(node)),
    ),
    (
        "files_of_the_node_are_shared_with_machines_both_ways",
        |node| Box::pin(shares::shares(node)),
    ),
    (
        "a_machine_whose_file_server_dies_ends_and_says_why",
        |node| Box::pin(shares::server_dies(node)),
    ),
    ("what_a_machine_can_not_have_is_refused_by_name", |node| {
        Box::pin(refuses(node))
    }),
    ("a_machine_is_on_its_pods_network", |node| {
        Box::pin(network::carries(node, network::BY_KERNEL))
    }),
    ("a_network_reaches_several_cpus_of_a_machine", |node| {
        Box::pin(network::carries(node, network::BY_KERNEL_WITH_CPUS))
    }),
    (
        "the_vmm_carries_a_network_to_debians_older_kernel",
        |node| Box::pin(network::carries(node, network::BY_VMM_TO_OLDER_KERNEL)),
    ),
    ("the_vmm_carries_a_network_itself_to_several_cpus", |node| {
        Box::pin(network::carries(node, network::BY_VMM_WITH_CPUS))
    }),
    ("a_network_is_left_alone_by_a_machine_that_failed", |node| {
        Box::pin(network::is_left_alone_after_a_failure(node))
    }),
];

/// Runs those of `checks` that are wanted, one after the other.
pub async fn check_each(
    checks: &[(&str, Check)],
    node: &Arc<Node>,
    wanted: impl Fn(&str) -> bool,
    report: impl Fn(&Outcome),
) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (name, check) in checks.iter().filter(|(name, _)| wanted(name)) {
        let start = Instant::now();
        let before = node.traces();
        let ran = tokio::spawn(tokio::time::timeout(PATIENCE, check(node.clone()))).await;
        let after = node.traces();
        let left = after.iter().find(|trace| !before.contains(trace));
        let outcome = Outcome {
            check: (*name).to_owned(),
            failure: match (ran, left) {
                (Err(panic), _) => Some(panic.to_string()),
                (Ok(Err(_)), _) => Some("it took too long".to_owned()),
                (_, Some(left)) => Some(format!("left behind: {left}")),
                _ => None,
            },
            took: start.elapsed(),
        };
        report(&outcome);
        outcomes.push(outcome);
    }
    outcomes
}

pub struct Pod {
    pub spec: SandboxSpec,
    pub sandbox: Arc<dyn Sandbox>,
}

impl Pod {
    pub async fn new(node: &Node, sandboxer: Arc<dyn Sandboxer>, name: &str) -> Self {
        let spec = node.sandbox(name);
        let sandbox = ok(sandboxer.create(spec.clone())).await;
        Self { spec, sandbox }
    }

    pub async fn run(&self, spec: ContainerSpec) -> Arc<dyn Container> {
        let container = ok(self.sandbox.create_container(spec)).await;
        ok(container.start()).await;
        container
    }

    pub async fn over(&self) -> SandboxExit {
        let ended = self.sandbox.wait().await;
        ok(self.sandbox.remove()).await;
        ended
    }
}

pub async fn ok<T>(step: impl Future<Output = sandbox::Result<T>>) -> T {
    step.await
        .unwrap_or_else(|error| panic!("{}", error.chain()))
}

async fn panics(node: Arc<Node>) {
    let pod = Pod::new(&node, node.sandboxer(), "panics").await;
    let other = Pod::new(&node, node.sandboxer(), "other").await;
    let bystander = other
        .run(node.container(&other.spec, "c", "sleep 5; exit 0"))
        .await;
    let script = "echo c > /proc/sysrq-trigger; sleep 1000";
    let container = pod.run(node.container(&pod.spec, "c", script)).await;
    let ended = pod.over().await;
    assert!(
        !ended.asked && ended.message.contains("Kernel panic"),
        "{ended:?}"
    );
    let exit = container.wait().await;
    assert_eq!(exit.code, 255, "{exit:?}");
    assert_eq!(exit.message, ended.message);
    assert_eq!(bystander.wait().await.code, 0);
    ok(other.sandbox.stop(Duration::ZERO)).await;
    other.over().await;
}

async fn hangs(node: Arc<Node>) {
    let mut config = node.vm();
    config.hang_timeout_s = 15;
    let sandboxer = Arc::new(vm::Vm::open(config).unwrap());
    let pod = Pod::new(&node, sandboxer, "hangs").await;
    let explained = pod.sandbox.explain().await;
    let (_, pid) = explained
        .iter()
        .find(|(name, _)| name == "vmm_pid")
        .unwrap();
    assert!(
        Command::new("kill")
            .args(["-STOP", pid])
            .status()
            .unwrap()
            .success()
    );
    let ended = pod.over().await;
    assert!(
        !ended.asked && ended.message.contains("the guest hung"),
        "{ended:?}"
    );
}

async fn does_not_boot(node: Arc<Node>) {
    let mut config = node.vm();
    config.initramfs = node.dir().join("no.cpio");
    std::fs::write(&config.initramfs, vec![0; 4096]).unwrap();
    let sandboxer = vm::Vm::open(config).unwrap();
    let spec = node.sandbox("unbootable");
    let error = sandboxer.create(spec).await.err().expect("it has no agent");
    assert!(error.chain().contains("Kernel panic"), "{}", error.chain());
}

fn mount(destination: &str, source: MountSource) -> Mount {
    Mount {
        destination: destination.into(),
        source,
        readonly: true,
        recursive_readonly: false,
        propagation: Propagation::Private,
    }
}

/// A Secret volume as the kubelet lays it out.
fn secret(node: &Node) -> PathBuf {
    let dir = node.dir().join("volumes/kubernetes.io~secret/login");
    std::fs::create_dir_all(dir.join("..1")).unwrap();
    std::fs::write(dir.join("..1/user"), "alice\n").unwrap();
    symlink("..1", dir.join("..data")).unwrap();
    symlink("..data/user", dir.join("user")).unwrap();
    dir
}

async fn has_volumes(node: Arc<Node>) {
    let pod = Pod::new(&node, node.sandboxer(), "volumes").await;
    let script = "cat /secret/user; echo x 2>/dev/null > /secret/user && exit 1; \
                  grep -c tmpfs.*/secret /proc/mounts; \
                  cat /image/passwd; touch /image/x 2>/dev/null && exit 2; \
                  head -c 5000 /dev/zero > /dev/termination-log; echo why it ended >> /dev/termination-log; \
                  exit 0";
    let mut spec = node.container(&pod.spec, "c", script);
    spec.mounts
        .push(mount("/secret", MountSource::Host(secret(&node))));
    let image = MountSource::Image {
        files: image::erofs(node.dir()),
        sub_path: "etc".into(),
    };
    spec.mounts.push(mount("/image", image));
    let words = node.dir().join("last-words");
    std::fs::write(&words, "").unwrap();
    spec.mounts.push(Mount {
        readonly: false,
        ..mount("/dev/termination-log", MountSource::Host(words.clone()))
    });
    // Whoever it runs as.
    spec.process.user.user = Some(Principal::Id(1000));
    let log = spec.log_path.clone().unwrap();
    let container = pod.run(spec).await;
    let exit = container.wait().await;
    let log = std::fs::read_to_string(log).unwrap();
    assert_eq!(exit.code, 0, "{log}");
    let words = std::fs::read(words).unwrap();
    assert_eq!(words.len(), 4096, "as much as the kubelet reads");
    assert!(words.ends_with(b"\0why it ended\n"));
    assert!(log.contains("alice") && log.contains("root:x:0:0"), "{log}");
    ok(container.remove()).await;
    ok(pod.sandbox.stop(Duration::ZERO)).await;
    pod.over().await;
}

async fn refuses(node: Arc<Node>) {
    let host_network = SandboxSpec {
        network_namespace: None,
        ..node.sandbox("refused")
    };
    let error = node.sandboxer().create(host_network).await.err().unwrap();
    assert_eq!(error.kind(), Kind::Unsupported, "{}", error.chain());

    let pod = Pod::new(&node, node.sandboxer(), "refuses").await;
    let mut shared = node.container(&pod.spec, "c", "true");
    shared.mounts.push(Mount {
        propagation: Propagation::Bidirectional,
        ..mount("/data", MountSource::Host("/var".into()))
    });
    let mut large = node.container(&pod.spec, "d", "true");
    large.resources.memory_bytes = Some(4 << 30);
    for (spec, kind) in [(shared, Kind::Unsupported), (large, Kind::NoSpace)] {
        let error = pod.sandbox.create_container(spec).await.err().unwrap();
        assert_eq!(error.kind(), kind, "{}", error.chain());
    }
    refuses_streams_for_logs(&node, &pod).await;
    ok(pod.sandbox.stop(Duration::ZERO)).await;
    pod.over().await;
}

/// A container without a seccomp profile may open vsock sockets; its words are not taken for the agent's.
async fn refuses_streams_for_logs(node: &Node, pod: &Pod) {
    let script = "for port in 1025 1026; do socat -u /dev/null VSOCK-CONNECT:2:$port 2>&1; done";
    let spec = node.container(&pod.spec, "e", script);
    let log = spec.log_path.clone().unwrap();
    let container = pod.run(spec).await;
    assert_ne!(container.wait().await.code, 0);
    let log = std::fs::read_to_string(log).unwrap();
    assert_eq!(log.matches("reset by peer").count(), 2, "{log}");
}

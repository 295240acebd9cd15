//! Checks of files of the node in machines.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sandbox::conformance::Bench;
use sandbox::spec::{MountSource, Propagation};
use sandbox::{ContainerSpec, Mount};

use super::machines::{Pod, ok};
use super::node::Node;

/// Files that a guest looks at and does not use any more.
const MANY: usize = 150;

/// Directories and files of the node, as a pod may want them.
struct Volumes {
    /// A directory, and a link that leads to it.
    data: PathBuf,
    link: PathBuf,
    /// A directory that is only to be read.
    readonly: PathBuf,
    /// What two containers share.
    empty: PathBuf,
    /// Below which the node mounts something later.
    tree: PathBuf,
    /// Below which something is mounted from the start.
    layered: PathBuf,
    file: PathBuf,
    /// A single file that is only to be read, as the kubelet mounts them.
    single: PathBuf,
}

impl Volumes {
    fn new(node: &Node) -> Self {
        let dir = node.dir().join("shares");
        let volumes = Self {
            data: dir.join("data"),
            link: dir.join("link"),
            readonly: dir.join("readonly"),
            empty: dir.join("empty"),
            tree: dir.join("tree"),
            layered: dir.join("layered"),
            file: dir.join("file"),
            single: dir.join("volume-subpaths/config/reader/0"),
        };
        for dir in [
            &volumes.data,
            &volumes.readonly,
            &volumes.empty,
            &volumes.tree.join("sub"),
            &volumes.layered.join("sub"),
        ] {
            fs::create_dir_all(dir).unwrap();
        }
        let tree = volumes.tree.to_str().unwrap();
        command("mount", &["--bind", tree, tree]);
        command("mount", &["--make-shared", tree]);
        let layer = volumes.layered.join("sub");
        command("mount", &["-t", "tmpfs", "none", layer.to_str().unwrap()]);
        symlink("data", &volumes.link).unwrap();
        fs::write(volumes.readonly.join("here"), "readable\n").unwrap();
        fs::write(&volumes.file, "first\n").unwrap();
        let many = volumes.readonly.join("many");
        fs::create_dir_all(&many).unwrap();
        for number in 0..MANY {
            fs::write(many.join(number.to_string()), "").unwrap();
        }
        fs::create_dir_all(volumes.single.parent().unwrap()).unwrap();
        fs::write(&volumes.single, "as it was\n").unwrap();
        let told = volumes.data.join("from-node");
        fs::write(&told, "told by the node\n").unwrap();
        std::os::unix::fs::chown(&told, Some(1234), Some(4321)).unwrap();
        fs::set_permissions(&told, fs::Permissions::from_mode(0o640)).unwrap();
        volumes
    }
}

fn command(program: &str, args: &[&str]) {
    let done = Command::new(program).args(args).status().unwrap();
    assert!(done.success(), "{program} {args:?}");
}

pub fn mount(destination: &str, source: &Path, readonly: bool) -> Mount {
    Mount {
        destination: destination.into(),
        source: MountSource::Host(source.to_owned()),
        readonly,
        recursive_readonly: false,
        propagation: Propagation::Private,
    }
}

fn log_of(spec: &ContainerSpec) -> PathBuf {
    spec.log_path.clone().unwrap()
}

/// Runs to its end, which must be a good one.
#[track_caller]
fn check_ended(code: u8, log: &Path) -> String {
    let log = fs::read_to_string(log).unwrap_or_default();
    assert_eq!(code, 0, "{log}");
    log
}

const WRITER: &str = "set -e
stat -c 'owner %u:%g %a' /data/from-node
cat /data/from-node
echo hello > /data/from-guest; chown 7:8 /data/from-guest; chmod 604 /data/from-guest
mkdir /data/dir; ln -s ../from-guest /data/dir/link; mv /data/dir /data/moved; cat /data/moved/link
ln -s /etc/passwd /data/passwd; cat /data/passwd
cat /readonly/here
ls -l /readonly/many | wc -l
if touch /readonly/x 2>/dev/null; then exit 3; fi
echo second >> /file
ls /data/.. | grep -q etc
yes 'a machine writes to the node' | head -c 1048576 > /tmp/m
cat /tmp/m /tmp/m /tmp/m /tmp/m /tmp/m /tmp/m /tmp/m /tmp/m > /tmp/part
for at in 0 8 16 24 32 40 48 56; do dd if=/tmp/part of=/data/big bs=1M seek=$at conv=notrunc; done
md5sum < /data/big > /data/sum
echo ready > /empty/ready
while [ ! -e /data/later ]; do sleep 0.2; done
cat /data/later /empty/answer
";

const READER: &str = "set -e
cat /single
while [ ! -e /empty/ready ]; do sleep 0.2; done
cat /link/from-guest
if touch /link/x 2>/dev/null; then exit 4; fi
if touch /layered/x 2>/dev/null; then exit 6; fi
echo below > /layered/sub/x
if touch /whole/x /whole/sub/y 2>/dev/null; then exit 7; fi
if [ -e /whole/sub/y ]; then exit 8; fi
cat /whole/sub/x
echo answered > /empty/answer
while [ ! -e /empty/mounted ]; do sleep 0.2; done
cat /followed/sub/file
if [ -e /still/sub/file ]; then exit 5; fi
cat /single
if echo x 2>/dev/null >> /single; then exit 9; fi
echo now > /data-of-the-writer/later
";

pub async fn shares(node: Arc<Node>) {
    let volumes = Volumes::new(&node);
    let pod = Pod::new(&node, node.sandboxer(), "shares").await;
    let mut writer = node.container(&pod.spec, "writer", WRITER);
    writer.mounts = vec![
        mount("/data", &volumes.link, false),
        mount("/readonly", &volumes.readonly, true),
        mount("/empty", &volumes.empty, false),
        mount("/file", &volumes.file, false),
    ];
    let mut reader = node.container(&pod.spec, "reader", READER);
    reader.mounts = vec![
        mount("/link", &volumes.data, true),
        mount("/empty", &volumes.empty, false),
        mount("/data-of-the-writer", &volumes.data, false),
        mount("/still", &volumes.tree, false),
        mount("/layered", &volumes.layered, true),
        mount("/single", &volumes.single, true),
        Mount {
            recursive_readonly: true,
            ..mount("/whole", &volumes.layered, true)
        },
        Mount {
            propagation: Propagation::HostToContainer,
            ..mount("/followed", &volumes.tree, true)
        },
    ];
    let (writer_log, reader_log) = (log_of(&writer), log_of(&reader));
    let writer = pod.run(writer).await;
    let reader = pod.run(reader).await;
    volumes.mount_more().await;
    let log = check_ended(reader.wait().await.code, &reader_log);
    assert!(log.contains("from a later mount"), "{log}");
    assert!(log.contains("below"), "{log}");
    let single = log.contains("as it was") && log.contains("as it became");
    assert!(single, "a single file follows the node: {log}");
    let log = check_ended(writer.wait().await.code, &writer_log);
    for words in [
        "owner 1234:4321 640",
        "told by the node",
        "hello",
        "root:x:0:0",
        "151",
        "now",
        "answered",
    ] {
        assert!(log.contains(words), "{words}: {log}");
    }
    volumes.check_written();
    for container in [writer, reader] {
        ok(container.remove()).await;
    }
    let server = server_pid(&pod).await;
    check_forgotten(&server).await;
    ok(pod.sandbox.stop(Duration::ZERO)).await;
    pod.over().await;
    gone(&server).await;
    volumes.remove();
}

/// The process that serves the pod's volumes.
async fn server_pid(pod: &Pod) -> String {
    let explained = pod.sandbox.explain().await;
    let mut pids = explained.into_iter().filter(|(name, _)| name == "fsd_pid");
    pids.next().unwrap().1
}

/// The guest holds no files that nobody uses there.
async fn check_forgotten(server: &str) {
    let descriptors = PathBuf::from("/proc").join(server).join("fd");
    let begin = Instant::now();
    loop {
        let open = fs::read_dir(&descriptors).unwrap().count();
        if open < MANY {
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(5), "{open} are open");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Not even a zombie stays of a process.
async fn gone(pid: &str) {
    let process = PathBuf::from("/proc").join(pid);
    let begin = Instant::now();
    while process.exists() {
        let status = fs::read_to_string(process.join("status"));
        assert!(begin.elapsed() < Duration::from_secs(20), "{status:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl Volumes {
    /// Mounts something in the tree once both containers run.
    async fn mount_more(&self) {
        while !self.empty.join("answer").exists() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        // In place: it is the file that is mounted, not its name.
        fs::write(&self.single, "as it became\n").unwrap();
        let place = self.tree.join("sub");
        command("mount", &["-t", "tmpfs", "none", place.to_str().unwrap()]);
        fs::write(place.join("file"), "from a later mount\n").unwrap();
        fs::write(self.empty.join("mounted"), "").unwrap();
    }

    fn remove(self) {
        let layers = [&self.tree, &self.layered].map(|tree| tree.join("sub"));
        for place in layers.iter().chain([&self.tree]) {
            command("umount", &[place.to_str().unwrap()]);
        }
        fs::remove_dir_all(self.tree.parent().unwrap()).unwrap();
    }

    /// What the guest wrote is on the node, whole and with its owners.
    fn check_written(&self) {
        let written = fs::metadata(self.data.join("from-guest")).unwrap();
        let owner = (written.uid(), written.gid(), written.mode() & 0o7777);
        assert_eq!(owner, (7, 8, 0o604));
        assert_eq!(fs::metadata(self.data.join("big")).unwrap().len(), 64 << 20);
        let big = fs::File::open(self.data.join("big")).unwrap();
        let sum = Command::new("md5sum").stdin(big).output().unwrap().stdout;
        let sum = String::from_utf8(sum).unwrap();
        assert_eq!(fs::read_to_string(self.data.join("sum")).unwrap(), sum);
        assert_eq!(fs::read_to_string(&self.file).unwrap(), "first\nsecond\n");
        assert!(!self.readonly.join("x").exists() && !self.data.join("x").exists());
        // A link of the guest's leads somewhere in the guest.
        let link = fs::read_link(self.data.join("passwd")).unwrap();
        assert_eq!(link, Path::new("/etc/passwd"));
    }
}

pub async fn server_dies(node: Arc<Node>) {
    let dir = node.dir().join("orphan");
    fs::create_dir_all(&dir).unwrap();
    let pod = Pod::new(&node, node.sandboxer(), "orphan").await;
    let mut spec = node.container(&pod.spec, "c", "sleep 1000");
    spec.mounts = vec![mount("/data", &dir, false)];
    pod.run(spec).await;
    let pid = server_pid(&pod).await;
    check_jail(&pid);
    command("kill", &["-9", &pid]);
    let ended = pod.over().await;
    let expected = "the process that serves files to the guest is gone";
    assert!(
        !ended.asked && ended.message.contains(expected),
        "{ended:?}"
    );
    gone(&pid).await;
    fs::remove_dir_all(dir).unwrap();
}

/// It has the power over files that it needs, and nothing to use it on but the volume.
fn check_jail(pid: &str) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for line in [
        "CapEff:\t00000000080000db",
        "CapPrm:\t00000000080000db",
        "CapBnd:\t00000000080000db",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(status.contains(line), "{line}: {status}");
    }
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    let places: Vec<_> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .collect();
    assert_eq!(places, ["/", "/v0"]);
}

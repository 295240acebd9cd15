//! A pod with its agent, made and unmade by each test, and a root file system of busybox.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use agent_api::client::{EXEC_SYNC_CAP, ExecOutput};
use agent_api::{Address, Client, v1};

/// Everything that a test makes is below this.
const PLACE: &str = "/var/lib/bulkhead-agent-test";

/// The agent as it is shipped, where `cargo xtask node` puts it into the node. One that is not optimised takes
/// an emulated node twice the time: it starts itself again for every process.
const AGENT: &str = "/opt/bulkhead/bin/bulkhead-agent";

const CGROUPS: &str = "/sys/fs/cgroup";

/// The capabilities that container engines give by default.
const DEFAULT_CAPABILITIES: u64 = 0xa804_25fb;

/// A pod and its agent.
pub(crate) struct Pod {
    pub(crate) client: Client,
    pub(crate) agent: Child,
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
    mounts_before: usize,
}

impl Pod {
    /// A pod with namespaces of its own.
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// The same, after `change`.
    pub(crate) async fn with(change: impl FnOnce(&mut v1::ConfigureSandboxRequest)) -> Self {
        let pod = Self::unconfigured().await;
        let mut request = pod.request();
        change(&mut request);
        pod.client.configure_sandbox(request).await.unwrap();
        pod
    }

    /// What [`Pod::new`] configures it with.
    pub(crate) fn request(&self) -> v1::ConfigureSandboxRequest {
        v1::ConfigureSandboxRequest {
            sandbox_id: self.name.clone(),
            hostname: "test-pod".into(),
            network_namespace: format!("/run/netns/{}", self.name),
            cgroup: self.name.clone(),
            state_dir: self.directory.join("state").display().to_string(),
            ..v1::ConfigureSandboxRequest::default()
        }
    }

    /// An agent that knows nothing yet.
    pub(crate) async fn unconfigured() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests need root: run them in the node"
        );
        assert!(
            Path::new(CGROUPS).join("cgroup.controllers").exists(),
            "these tests need cgroup v2: run them in the node"
        );
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("agent-test-{}-{number}", std::process::id());
        let directory = Path::new(PLACE).join(&name);
        fs::create_dir_all(directory.join("state")).unwrap();
        run("ip", &["netns", "add", &name]);
        run("ip", &["-n", &name, "link", "set", "lo", "up"]);
        let mounts_before = mounts();
        let agent = start_agent(&name, &directory);
        let client = connect(&directory.join("agent.sock")).await;
        Self {
            client,
            agent,
            name,
            directory,
            mounts_before,
        }
    }

    /// A request for a container that runs `script` with busybox's shell.
    pub(crate) fn shell(&self, id: &str, script: &str) -> v1::CreateContainerRequest {
        self.container(id, &["sh", "-c", script])
    }

    /// A request for a container that runs `args`.
    pub(crate) fn container(&self, id: &str, args: &[&str]) -> v1::CreateContainerRequest {
        let layer = self.directory.join(id);
        let (upper, work) = (layer.join("upper"), layer.join("work"));
        fs::create_dir_all(&upper).unwrap();
        fs::create_dir_all(&work).unwrap();
        let overlay = v1::OverlayRootfs {
            lower: image().display().to_string(),
            upper: upper.display().to_string(),
            work: work.display().to_string(),
        };
        let capabilities = v1::Capabilities {
            bounding: DEFAULT_CAPABILITIES,
            effective: DEFAULT_CAPABILITIES,
            permitted: DEFAULT_CAPABILITIES,
            ..v1::Capabilities::default()
        };
        v1::CreateContainerRequest {
            container_id: id.to_owned(),
            rootfs: Some(v1::Rootfs {
                kind: Some(v1::rootfs::Kind::Overlay(overlay)),
            }),
            process: Some(v1::Process {
                args: args.iter().map(|arg| (*arg).to_owned()).collect(),
                env: vec![b"PATH=/bin".to_vec()],
                cwd: "/".into(),
                capabilities: Some(capabilities),
                ..v1::Process::default()
            }),
            log_path: self.log_path(id).display().to_string(),
            ..v1::CreateContainerRequest::default()
        }
    }

    pub(crate) fn log_path(&self, id: &str) -> PathBuf {
        self.directory.join("logs").join(id).join("0.log")
    }

    /// Creates and starts it.
    pub(crate) async fn start(&self, request: v1::CreateContainerRequest) {
        let id = request.container_id.clone();
        self.client.create_container(request).await.unwrap();
        self.client.start_container(&id).await.unwrap();
    }

    /// Runs it to its end, and returns what it wrote and how it ended.
    pub(crate) async fn run(
        &self,
        request: v1::CreateContainerRequest,
    ) -> (String, v1::ContainerExit) {
        let id = request.container_id.clone();
        self.start(request).await;
        let exit = self.exit_of(&id).await;
        (self.log(&id), exit)
    }

    /// Runs `script` to its end and returns what it wrote; it must end well.
    pub(crate) async fn output_of(&self, request: v1::CreateContainerRequest) -> String {
        let (output, exit) = self.run(request).await;
        assert_eq!(exit.code, 0, "{output}");
        output
    }

    /// Waits for the event that says how it ended.
    pub(crate) async fn exit_of(&self, id: &str) -> v1::ContainerExit {
        let mut events = self.client.events(0).await.unwrap();
        let exited = async {
            loop {
                match events.message().await.unwrap().unwrap().event {
                    Some(v1::event::Event::Exited(exited)) if exited.container_id == id => {
                        return exited.exit.unwrap();
                    }
                    _ => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), exited)
            .await
            .expect("it does not end")
    }

    /// What a container wrote, both streams in the order of the log, as the container wrote it.
    pub(crate) fn log(&self, id: &str) -> String {
        let mut text = String::new();
        for line in fs::read_to_string(self.log_path(id)).unwrap().lines() {
            let mut fields = line.splitn(4, ' ');
            let tag = fields.nth(2).unwrap();
            text += fields.next().unwrap();
            if tag == "F" {
                text.push('\n');
            }
        }
        text
    }

    /// Runs a script in a container that runs.
    pub(crate) async fn exec(&self, id: &str, script: &str) -> ExecOutput {
        let start = exec(id, &["sh", "-c", script]);
        self.client.exec_sync(start, EXEC_SYNC_CAP).await.unwrap()
    }

    /// The same, for its output alone; it must end well.
    pub(crate) async fn exec_output(&self, id: &str, script: &str) -> String {
        let output = self.exec(id, script).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(
            output.code,
            0,
            "{}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    pub(crate) fn cgroup(&self, id: &str) -> PathBuf {
        Path::new(CGROUPS).join(&self.name).join(id)
    }

    /// Ends the pod and looks for what is left of it.
    pub(crate) async fn finish(mut self) {
        self.client.shutdown(Duration::ZERO).await.unwrap();
        wait_for("the agent ends", || {
            self.agent.try_wait().unwrap().is_some()
        });
        let cgroup = Path::new(CGROUPS).join(&self.name);
        let left: Vec<_> = fs::read_dir(&cgroup)
            .unwrap()
            .filter_map(|entry| Some(entry.unwrap()).filter(|e| e.file_type().unwrap().is_dir()))
            .map(|entry| entry.file_name().into_string().unwrap())
            .filter(|name| name != "supervisor")
            .collect();
        assert!(left.is_empty(), "cgroups are left: {left:?}");
        let populated = fs::read_to_string(cgroup.join("cgroup.events")).unwrap();
        assert!(populated.contains("populated 0"), "processes are left");
        assert_eq!(mounts(), self.mounts_before, "mounts are left");
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let cgroup = Path::new(CGROUPS).join(&self.name);
        let _ = fs::write(cgroup.join("cgroup.kill"), "1");
        let _ = self.agent.wait();
        wait_for_quietly(|| remove_cgroups(&cgroup));
        let _ = Command::new("ip")
            .args(["netns", "delete", &self.name])
            .status();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.directory.join("agent.log")).unwrap_or_default();
            eprintln!("--- agent's log\n{log}---");
        } else {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

fn remove_cgroups(path: &Path) -> bool {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroups(&entry.path());
        }
    }
    let _ = fs::remove_dir(path);
    !path.exists()
}

/// A request to exec `args`, both outputs wanted.
pub(crate) fn exec(id: &str, args: &[&str]) -> v1::StreamStart {
    v1::StreamStart {
        container_id: id.to_owned(),
        process: Some(v1::Process {
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            ..v1::Process::default()
        }),
        stdout: true,
        stderr: true,
        ..v1::StreamStart::default()
    }
}

/// The request's process.
pub(crate) fn process(request: &mut v1::CreateContainerRequest) -> &mut v1::Process {
    request.process.as_mut().unwrap()
}

/// A bind mount.
pub(crate) fn bind(source: &Path, destination: &str) -> v1::Mount {
    v1::Mount {
        r#type: "bind".into(),
        source: source.display().to_string(),
        destination: destination.into(),
        ..v1::Mount::default()
    }
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn wait_for(what: &str, condition: impl FnMut() -> bool) {
    assert!(wait_for_quietly(condition), "not so after 20 s: {what}");
}

fn wait_for_quietly(mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !condition() {
        if start.elapsed() > Duration::from_secs(20) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

fn start_agent(name: &str, directory: &Path) -> Child {
    let supervisor = Path::new(CGROUPS).join(name).join("supervisor");
    let controllers = fs::read_to_string(Path::new(CGROUPS).join("cgroup.controllers")).unwrap();
    for controller in controllers.split_whitespace() {
        fs::write(
            Path::new(CGROUPS).join("cgroup.subtree_control"),
            format!("+{controller}"),
        )
        .unwrap();
    }
    fs::create_dir_all(&supervisor).unwrap();
    let log = fs::File::create(directory.join("agent.log")).unwrap();
    let agent = Command::new(AGENT)
        .args(["host", "--socket"])
        .arg(directory.join("agent.sock"))
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    fs::write(supervisor.join("cgroup.procs"), agent.id().to_string()).unwrap();
    agent
}

async fn connect(socket: &Path) -> Client {
    wait_for("the agent listens", || socket.exists());
    // A socket is there a moment before somebody listens on it.
    std::thread::sleep(Duration::from_millis(50));
    Client::connect(&Address::Unix(socket.to_owned()), Duration::from_secs(20))
        .await
        .unwrap()
}

fn mounts() -> usize {
    fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .lines()
        .count()
}

pub(crate) fn run(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).status().unwrap();
    assert!(status.success(), "{program} {args:?}: {status}");
}

/// An image: busybox under all its names, the libraries it needs, some users.
fn image() -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let image = Path::new(PLACE).join("image");
        let _ = fs::remove_dir_all(&image);
        for directory in ["bin", "etc", "tmp", "lib64", "root"] {
            fs::create_dir_all(image.join(directory)).unwrap();
        }
        let busybox = "/bin/busybox";
        fs::copy(busybox, image.join("bin/busybox")).unwrap();
        copy_libraries(busybox, &image);
        let list = Command::new(busybox).arg("--list").output().unwrap();
        for name in String::from_utf8(list.stdout)
            .unwrap()
            .lines()
            .filter(|name| *name != "busybox")
        {
            // Links, not symlinks: masking one program must not mask them all.
            fs::hard_link(image.join("bin/busybox"), image.join("bin").join(name)).unwrap();
        }
        fs::write(
            image.join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n\
             user:x:1000:1000::/home/user:/bin/sh\n",
        )
        .unwrap();
        fs::write(
            image.join("etc/group"),
            "root:x:0:\nuser:x:1000:\nimage-group:x:50000:user\nnogroup:x:65534:\n",
        )
        .unwrap();
        symlink("/etc/nowhere/resolv.conf", image.join("etc/resolv.conf")).unwrap();
        run("chmod", &["1777", &image.join("tmp").display().to_string()]);
        image
    })
}

/// What the dynamic linker would load for `program`; nothing for a static one.
fn copy_libraries(program: &str, image: &Path) {
    let list = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(list.stdout).unwrap();
    for path in text.split_whitespace().filter(|word| word.starts_with('/')) {
        let target = image.join(path.trim_start_matches('/'));
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(path, target).unwrap();
    }
}

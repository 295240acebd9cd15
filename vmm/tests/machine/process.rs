//! A `bulkhead-vmm` process, started and spoken to as a sandbox does it.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};
use vmm_api::event::Stop;
use vmm_api::{
    Channel, Event, MachineKind, MachineSpec, MemorySharing, PROTOCOL, Reply, Request, VsockSpec,
};

use crate::guest::Code;

/// Who the process becomes.
pub(crate) const UID: u32 = 123_456;

/// The process, and a connection for requests and one for events. Killed when dropped.
pub(crate) struct Process {
    dir: tempfile::TempDir,
    child: Child,
    requests: Option<Channel>,
    events: Option<Channel>,
}

/// A small machine. Descriptors: kernel, initramfs, console, vsock.
pub(crate) fn spec() -> MachineSpec {
    MachineSpec {
        kind: MachineKind::Builtin,
        vcpus: 1,
        memory_mib: 96,
        memory_sharing: MemorySharing::Private,
        kernel: 0,
        initramfs: 1,
        cmdline: String::new(),
        console: 2,
        console_limit_bytes: 1 << 20,
        vsock: VsockSpec { listener: 3 },
        devices: Vec::new(),
        interfaces: Vec::new(),
    }
}

impl Process {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        bind(
            &socket,
            &SocketAddrUnix::new(dir.path().join("control")).unwrap(),
        )
        .unwrap();
        listen(&socket, 8).unwrap();
        let child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 </dev/null"])
            .arg(env!("CARGO_BIN_EXE_bulkhead-vmm"))
            .args([format!("--uid={UID}"), format!("--gid={UID}")])
            .stdin(socket)
            .spawn()
            .unwrap();
        let mut process = Self {
            dir,
            child,
            requests: None,
            events: None,
        };
        process.connect();
        process
    }

    /// Connects both connections anew.
    pub(crate) fn connect(&mut self) {
        let connected = || {
            let channel = Channel::connect(&self.dir.path().join("control")).unwrap();
            let hello = Request::Hello {
                min: PROTOCOL,
                max: PROTOCOL,
            };
            let reply = ask(&channel, &hello, &[]);
            assert!(matches!(reply, Reply::Hello { .. }), "{reply:?}");
            channel
        };
        let events = connected();
        assert_eq!(ask(&events, &Request::Subscribe, &[]), Reply::Done);
        (self.requests, self.events) = (Some(connected()), Some(events));
    }

    /// Closes both, as a server that dies.
    pub(crate) fn hang_up(&mut self) {
        (self.requests, self.events) = (None, None);
    }

    /// Closes the one for events.
    pub(crate) fn stop_listening(&mut self) {
        self.events = None;
    }

    pub(crate) fn ask(&self, request: &Request, files: &[&File]) -> Reply {
        let fds: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        ask(self.requests.as_ref().unwrap(), request, &fds)
    }

    /// Asks for a machine that runs `code`.
    pub(crate) fn try_boot(&self, spec: MachineSpec, code: &Code) -> Reply {
        let vsock = self.dir.path().join("vsock");
        let _ = std::fs::remove_file(&vsock);
        let console = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.console_path());
        let files: [OwnedFd; 4] = [
            file(&code.elf()).into(),
            file(b"initramfs").into(),
            console.unwrap().into(),
            UnixListener::bind(vsock).unwrap().into(),
        ];
        let fds = files.each_ref().map(AsFd::as_fd);
        let request = Request::Boot(Box::new(spec));
        ask(self.requests.as_ref().unwrap(), &request, &fds)
    }

    /// Boots a machine that runs `code` and differs by `change` from the small one.
    #[track_caller]
    pub(crate) fn boot(&mut self, code: &Code, change: impl FnOnce(&mut MachineSpec)) {
        let mut spec = spec();
        change(&mut spec);
        assert_eq!(self.try_boot(spec, code), Reply::Done);
        assert_eq!(self.event(), Event::Running);
    }

    pub(crate) fn event(&self) -> Event {
        self.events.as_ref().unwrap().receive().unwrap().0
    }

    /// How the machine ended, and why. Hangs up after that, so that the process may go.
    #[track_caller]
    pub(crate) fn stopped(&mut self) -> (Stop, String) {
        let Event::Stopped { how, why } = self.event() else {
            panic!("the machine did not stop");
        };
        self.hang_up();
        (how, why)
    }

    /// The exit code, once the process has ended.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(20) {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the process does not end");
    }

    fn console_path(&self) -> PathBuf {
        self.dir.path().join("console")
    }

    pub(crate) fn console(&self) -> String {
        std::fs::read_to_string(self.console_path()).unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let kill = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(kill.unwrap().success());
    }

    fn proc(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.child.id()))
    }

    /// `/proc/<pid>/task/<tid>/status` of every thread, but for those that KVM adds.
    pub(crate) fn threads(&self) -> Vec<String> {
        let tasks = std::fs::read_dir(self.proc("task")).unwrap();
        tasks
            .map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).unwrap())
            .filter(|status| !status.starts_with("Name:\tkvm-"))
            .collect()
    }

    /// Bytes of the largest mapping.
    pub(crate) fn largest_mapping(&self) -> u64 {
        let maps = std::fs::read_to_string(self.proc("maps")).unwrap();
        let length = |line: &str| {
            let (start, rest) = line.split_once('-').unwrap();
            let end = rest.split_once(' ').unwrap().0;
            let address = |digits| u64::from_str_radix(digits, 16).unwrap();
            // A guard or a reservation costs nothing.
            if rest.contains(" ---p ") {
                0
            } else {
                address(end) - address(start)
            }
        };
        maps.lines().map(length).max().unwrap()
    }

    /// Whether a descriptor leads to something of this name.
    pub(crate) fn has_open(&self, name: &str) -> bool {
        let fds = std::fs::read_dir(self.proc("fd")).unwrap();
        fds.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok())
            .any(|target| target.to_string_lossy() == name)
    }

    pub(crate) fn root_entries(&self) -> usize {
        std::fs::read_dir(self.proc("root")).unwrap().count()
    }

    /// Whether it is in a namespace of this kind of its own.
    pub(crate) fn has_own(&self, namespace: &str) -> bool {
        let of = |path: PathBuf| std::fs::read_link(path).unwrap();
        let ours = of(PathBuf::from(format!("/proc/self/ns/{namespace}")));
        of(self.proc(&format!("ns/{namespace}"))) != ours
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ask(channel: &Channel, request: &Request, fds: &[BorrowedFd<'_>]) -> Reply {
    channel.send(request, fds).unwrap();
    channel.receive().unwrap().0
}

fn file(content: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file
}

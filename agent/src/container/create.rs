//! Makes a container, up to the point before its first instruction.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use agent_api::v1;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::cgroup::Cgroup;
use super::devices::Devices;
use super::state::State;
use super::{Container, Streams, supervise};
use crate::agent::Agent;
use crate::events::now_ns;
use crate::guest::disks::ContainerDisks;
use crate::log::{FileLog, GuestLog, Log};
use crate::sandbox::Sandbox;
use crate::spawn::{self, Waiting};
use crate::stage1::spec::{InitJob, Job, Role};
use crate::stdio::fan_out::FanOut;
use crate::stdio::{End, Pump, Stream, input_pipe, output_pipe};
use crate::{Error, oom};

/// How long killed processes may take to leave their cgroup.
const CLEAN_UP: Duration = Duration::from_secs(10);

/// Makes the container that `request` describes, and has it supervised. On failure nothing is left.
pub(crate) async fn create(
    agent: &Arc<Agent>,
    sandbox: &Sandbox,
    request: v1::CreateContainerRequest,
) -> Result<Arc<Container>, Error> {
    let id = request.container_id.clone();
    let process = request.process.clone().ok_or(Error::Missing("a process"))?;
    let devices = Devices::of(&request)?;
    let log = open_log(agent, &request)?;
    // From here on there is something to give back.
    let (request, disks) = agent.disks.mount_for(agent.mode, request).await?;
    let cgroup = match make_cgroup(sandbox, &request, &devices) {
        Ok(cgroup) => cgroup,
        Err(error) => {
            give_back_disks(disks).await;
            return Err(error);
        }
    };
    let writable = writable(&request);
    let error = match spawn_first(agent, sandbox, request, devices, &cgroup).await {
        Ok((waiting, ends)) => {
            let (container, pumps) = assemble(Parts {
                id,
                process,
                cgroup,
                waiting,
                ends,
                log,
                disks,
                writable,
            });
            supervise::start(agent, Arc::clone(&container), pumps);
            return Ok(container);
        }
        Err(error) => error,
    };
    clean_up(&cgroup).await;
    give_back_disks(disks).await;
    Err(error)
}

/// Kills what is left in the cgroup and removes it.
pub(crate) async fn clean_up(cgroup: &Cgroup) {
    // Without processes there is nothing to kill; a failure shows when it can't be removed.
    let _ = cgroup.kill();
    if let Err(error) = cgroup.remove(CLEAN_UP).await {
        tracing::error!(error = crate::chain(&error), "a cgroup is left behind");
    }
}

async fn give_back_disks(disks: Option<ContainerDisks>) {
    let Some(mut disks) = disks else { return };
    if let Err(error) = disks.release().await {
        tracing::error!(error = crate::chain(&error), "a disk is left mounted");
    }
}

fn open_log(agent: &Agent, request: &v1::CreateContainerRequest) -> Result<Log, Error> {
    Ok(match &agent.log_writer {
        Some(writer) => Log::Guest(GuestLog::new(writer, &request.container_id)?),
        None if request.log_path.is_empty() => Log::Nowhere,
        None => Log::File(FileLog::open(Path::new(&request.log_path))?),
    })
}

fn make_cgroup(
    sandbox: &Sandbox,
    request: &v1::CreateContainerRequest,
    devices: &Devices,
) -> Result<Cgroup, Error> {
    let name = match request.cgroup_name.as_str() {
        "" => &request.container_id,
        name => name,
    };
    let cgroup = Cgroup::create(&sandbox.cgroup, name)?;
    let limits = request.resources.clone().unwrap_or_default();
    let limited = cgroup.limit(&limits).and_then(|()| {
        devices
            .filter()
            .map_or(Ok(()), |filter| cgroup.restrict_devices(&filter))
    });
    match limited {
        Ok(()) => Ok(cgroup),
        Err(error) => {
            // It is empty, so it goes at once.
            let _ = cgroup.remove_now();
            Err(error.into())
        }
    }
}

/// Our ends of a first process's streams.
struct Ends {
    stdin: Option<End>,
    stdout: Option<End>,
    stderr: Option<End>,
    stdin_once: bool,
}

async fn spawn_first(
    agent: &Agent,
    sandbox: &Sandbox,
    request: v1::CreateContainerRequest,
    devices: Devices,
    cgroup: &Cgroup,
) -> Result<(Waiting, Ends), Error> {
    let terminal = request
        .process
        .as_ref()
        .is_some_and(|process| process.terminal);
    let mut ends = Ends {
        stdin: None,
        stdout: None,
        stderr: None,
        stdin_once: request.stdin_once,
    };
    let mut theirs: Vec<(Role, OwnedFd)> = Vec::new();
    if !terminal {
        let error = |source| Error::Io {
            doing: "make the container's pipes",
            source,
        };
        let (stdout, their_stdout) = output_pipe().map_err(error)?;
        let (stderr, their_stderr) = output_pipe().map_err(error)?;
        ends.stdout = Some(stdout);
        ends.stderr = Some(stderr);
        theirs.extend([(Role::Stdout, their_stdout), (Role::Stderr, their_stderr)]);
        if request.stdin {
            let (their_stdin, stdin) = input_pipe().map_err(error)?;
            ends.stdin = Some(stdin);
            theirs.push((Role::Stdin, their_stdin));
        }
    }
    let wanted = request.namespaces.clone().unwrap_or_default();
    let join = agent.pid_namespace(sandbox, &wanted).await?;
    let mut fds: Vec<(Role, BorrowedFd<'_>)> = sandbox.namespaces();
    fds.push((Role::Cgroup, cgroup.as_fd()));
    fds.extend(theirs.iter().map(|(role, fd)| (*role, fd.as_fd())));
    fds.extend(
        join.as_ref()
            .map(|process| (Role::PidNamespaceOf, process.as_fd())),
    );
    let job = Job::Init(Box::new(InitJob {
        new_pid_namespace: wanted.pid() == v1::PidNamespace::PidContainer,
        host_ipc: sandbox.host_ipc(),
        nodes: devices.nodes,
        container: Some(request),
    }));
    let waiting = spawn::process(&agent.reaper, job, &fds).await?;
    Ok((waiting, ends))
}

/// What a container is put together from.
struct Parts {
    id: String,
    process: v1::Process,
    cgroup: Cgroup,
    waiting: Waiting,
    ends: Ends,
    log: Log,
    disks: Option<ContainerDisks>,
    writable: Option<std::path::PathBuf>,
}

fn assemble(parts: Parts) -> (Arc<Container>, supervise::Running) {
    let Parts {
        id,
        process,
        cgroup,
        waiting,
        ends,
        log,
        disks,
        writable,
    } = parts;
    let terminal = waiting
        .terminal
        .and_then(|fd| End::new(fd).ok())
        .map(Arc::new);
    let stdin = ends.stdin.map(Arc::new).or_else(|| terminal.clone());
    let streams = Arc::new(Streams {
        log,
        fan_out: FanOut::default(),
        input: Arc::new(tokio::sync::Mutex::new(stdin)),
        terminal: terminal.clone(),
        stdin_once: ends.stdin_once,
    });
    let outputs = [
        (Stream::Stdout, terminal.or(ends.stdout.map(Arc::new))),
        (Stream::Stderr, ends.stderr.map(Arc::new)),
    ];
    let pumps = outputs
        .into_iter()
        .filter_map(|(stream, end)| {
            let sink = crate::log::ContainerOutput {
                container: Arc::clone(&streams),
                stream,
            };
            Some(Pump::start(end?, sink))
        })
        .collect();
    let running = supervise::Running {
        exit: waiting.exit,
        pumps,
        kills: oom::Kills::of(&cgroup),
    };
    let container = Arc::new(Container {
        id,
        pid: waiting.pid,
        pidfd: waiting.pidfd,
        identity: waiting.identity,
        process,
        cgroup,
        devpts: waiting.devpts,
        streams,
        created_at_ns: now_ns(),
        gate: Mutex::new(Some(waiting.gate)),
        state: watch::Sender::new(State::Created),
        next_exec: AtomicU64::new(0),
        writable,
        disk_usage: Arc::default(),
        disks: Mutex::new(disks),
        last_words: OnceLock::new(),
    });
    (container, running)
}

fn writable(request: &v1::CreateContainerRequest) -> Option<std::path::PathBuf> {
    match request.rootfs.as_ref()?.kind.as_ref()? {
        v1::rootfs::Kind::Overlay(overlay) => Some(overlay.upper.clone().into()),
        v1::rootfs::Kind::Disk(_) => None,
    }
}

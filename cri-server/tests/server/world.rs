//! Sandboxes in memory. They outlive the server under test, as real ones do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use parking_lot::Mutex;
use sandbox::process::ExecExit;
use sandbox::{
    Adopted, Connection, Container, ContainerExit, ContainerId, ContainerSpec, ContainerStats,
    ContainerStatus, Error, ExecSpec, Features, ImageForm, Kind, Process, Resources, Result,
    RunState, Sandbox, SandboxExit, SandboxId, SandboxSpec, SandboxStats, Sandboxer, SavedSandbox,
    Signal,
};
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, oneshot, watch};

/// How those end that are killed along with their sandbox.
const KILLED: u8 = 137;

/// Everything that exists, and what is to go wrong next.
#[derive(Clone, Default)]
pub(crate) struct World(Arc<Inner>);

struct Inner {
    things: Mutex<Things>,
    /// Nothing is made while it is closed.
    gate: watch::Sender<bool>,
    /// No sandbox stops while it is closed.
    exit: watch::Sender<bool>,
    /// How often a sandbox began to be stopped.
    stops: AtomicU32,
}

#[derive(Default)]
struct Things {
    sandboxes: BTreeMap<SandboxId, Arc<Room>>,
    failing: BTreeSet<&'static str>,
    unavailable: Option<String>,
    sandboxes_made: u32,
    sandbox_specs: Vec<SandboxSpec>,
    container_specs: Vec<ContainerSpec>,
    ending_when_seen: BTreeMap<ContainerId, u8>,
}

/// A sandbox.
struct Room {
    id: SandboxId,
    exit: watch::Sender<Option<SandboxExit>>,
    workloads: Mutex<BTreeMap<ContainerId, Arc<Workload>>>,
}

/// A container.
struct Workload {
    id: ContainerId,
    stubborn: bool,
    signals: Mutex<Vec<u32>>,
    status: watch::Sender<ContainerStatus>,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            things: Mutex::default(),
            gate: watch::Sender::new(true),
            exit: watch::Sender::new(true),
            stops: AtomicU32::new(0),
        }
    }
}

impl World {
    /// From here on nothing gets made until [`World::open_gate`].
    pub(crate) fn close_gate(&self) {
        self.0.gate.send_replace(false);
    }

    pub(crate) fn open_gate(&self) {
        self.0.gate.send_replace(true);
    }

    /// `create`, `create_container`, `start`, `adopt`, `remove`: fails until told otherwise. `answer`: what is
    /// started runs, and nobody hears of it.
    pub(crate) fn fail(&self, what: &'static str) {
        self.0.things.lock().failing.insert(what);
    }

    pub(crate) fn mend(&self, what: &'static str) {
        self.0.things.lock().failing.remove(what);
    }

    pub(crate) fn make_unavailable(&self, why: &str) {
        self.0.things.lock().unavailable = Some(why.into());
    }

    /// How many sandboxes there are.
    pub(crate) fn sandboxes(&self) -> usize {
        self.0.things.lock().sandboxes.len()
    }

    /// How many were ever made.
    pub(crate) fn sandboxes_made(&self) -> u32 {
        self.0.things.lock().sandboxes_made
    }

    /// From here on no sandbox stops until [`World::open_exit`].
    pub(crate) fn close_exit(&self) {
        self.0.exit.send_replace(false);
    }

    pub(crate) fn open_exit(&self) {
        self.0.exit.send_replace(true);
    }

    /// How often a sandbox began to be stopped.
    pub(crate) fn stops(&self) -> u32 {
        self.0.stops.load(Ordering::Relaxed)
    }

    /// How many containers there are.
    pub(crate) fn containers(&self) -> usize {
        let things = self.0.things.lock();
        things
            .sandboxes
            .values()
            .map(|room| room.workloads.lock().len())
            .sum()
    }

    pub(crate) fn last_sandbox(&self) -> SandboxSpec {
        self.0.things.lock().sandbox_specs.last().unwrap().clone()
    }

    pub(crate) fn last_container(&self) -> ContainerSpec {
        self.0.things.lock().container_specs.last().unwrap().clone()
    }

    /// Its first process ends by itself.
    pub(crate) fn end(&self, container: &str, code: u8) {
        self.workload(container).end(code, false);
    }

    /// Its first process ends by itself right after somebody was told that it runs.
    pub(crate) fn end_once_seen(&self, container: &str, code: u8) {
        let mut things = self.0.things.lock();
        things
            .ending_when_seen
            .insert(ContainerId(container.into()), code);
    }

    /// The kernel kills it for want of memory.
    pub(crate) fn run_out_of_memory(&self, container: &str) {
        self.workload(container).end(137, true);
    }

    /// The sandbox dies by itself, with all in it.
    pub(crate) fn kill_sandbox(&self, pod: &str, why: &str) {
        let room = self.0.things.lock().sandboxes[&SandboxId(pod.into())].clone();
        room.end(false, why);
    }

    /// The signals that a container has had.
    pub(crate) fn signals(&self, container: &str) -> Vec<u32> {
        self.workload(container).signals.lock().clone()
    }

    /// Everything is lost, as by a reboot.
    pub(crate) fn reboot(&self) {
        self.0.things.lock().sandboxes.clear();
    }

    fn workload(&self, id: &str) -> Arc<Workload> {
        let id = ContainerId(id.into());
        let things = self.0.things.lock();
        let found = things
            .sandboxes
            .values()
            .find_map(|room| room.workloads.lock().get(&id).cloned());
        found.expect("there is such a container")
    }

    async fn pass(&self, what: &'static str) -> Result<()> {
        self.0
            .gate
            .subscribe()
            .wait_for(|open| *open)
            .await
            .unwrap();
        self.check(what)
    }

    fn check(&self, what: &'static str) -> Result<()> {
        match self.0.things.lock().failing.contains(what) {
            true => Err(Error::new(Kind::Internal, format!("{what} fails as told"))),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Sandboxer for World {
    fn features(&self) -> Features {
        Features {
            image_form: ImageForm::Extents,
            host_network: true,
            host_namespaces: false,
            recursive_read_only_mounts: true,
            user_namespaces: false,
        }
    }

    fn available(&self) -> std::result::Result<(), String> {
        self.0.things.lock().unavailable.clone().map_or(Ok(()), Err)
    }

    async fn create(&self, spec: SandboxSpec) -> Result<Arc<dyn Sandbox>> {
        self.pass("create").await?;
        let room = Arc::new(Room {
            id: spec.id.clone(),
            exit: watch::Sender::new(None),
            workloads: Mutex::default(),
        });
        let mut things = self.0.things.lock();
        things.sandboxes_made += 1;
        things.sandboxes.insert(spec.id.clone(), room.clone());
        things.sandbox_specs.push(spec);
        Ok(Arc::new(Handle {
            world: self.clone(),
            room,
        }))
    }

    async fn adopt(&self, saved: SavedSandbox) -> Result<Adopted> {
        self.check("adopt")?;
        let room = self.0.things.lock().sandboxes.get(&saved.id).cloned();
        let Some(room) = room else {
            return Ok(Adopted::Ended(Vec::new()));
        };
        if room.exit.borrow().is_some() {
            return Ok(Adopted::Ended(room.exits()));
        }
        Ok(Adopted::Living(Arc::new(Handle {
            world: self.clone(),
            room,
        })))
    }

    async fn discard(&self, id: &SandboxId) -> Result<()> {
        self.check("discard")?;
        self.0.things.lock().sandboxes.remove(id);
        Ok(())
    }

    async fn sweep(&self, keep: &[SandboxId]) -> Result<()> {
        self.0
            .things
            .lock()
            .sandboxes
            .retain(|id, _| keep.contains(id));
        Ok(())
    }
}

/// A sandbox as the server holds it.
struct Handle {
    world: World,
    room: Arc<Room>,
}

#[async_trait]
impl Sandbox for Handle {
    fn id(&self) -> &SandboxId {
        &self.room.id
    }

    async fn create_container(&self, spec: ContainerSpec) -> Result<Arc<dyn Container>> {
        self.world.pass("create_container").await?;
        let workload = Arc::new(Workload {
            id: spec.id.clone(),
            stubborn: spec.process.args.contains(&"stubborn".to_string()),
            signals: Mutex::default(),
            status: watch::Sender::new(ContainerStatus {
                state: RunState::Created,
                pid: Some(42),
                started_at: None,
                user: (1000, 1001, vec![1001]),
                exit: None,
            }),
        });
        self.room
            .workloads
            .lock()
            .insert(spec.id.clone(), workload.clone());
        self.world.0.things.lock().container_specs.push(spec);
        Ok(self.container(workload))
    }

    async fn dial(&self, port: u16) -> Result<Connection> {
        let doing = format!("connect to port {port}");
        Err(Error::new(Kind::Unavailable, doing))
    }

    async fn adopt_container(&self, id: &ContainerId) -> Result<Arc<dyn Container>> {
        match self.room.workloads.lock().get(id) {
            Some(workload) => Ok(self.container(workload.clone())),
            None => Err(Error::new(Kind::NotFound, "adopt container")),
        }
    }

    async fn update(&self, _: Resources) -> Result<()> {
        Ok(())
    }

    async fn stats(&self) -> Result<SandboxStats> {
        Ok(SandboxStats {
            at: SystemTime::now(),
            cpu_usage_ns: 1,
            memory_usage_bytes: 2,
            memory_working_set_bytes: 3,
            pids: 4,
        })
    }

    async fn stop(&self, _: Duration) -> Result<()> {
        self.world.0.stops.fetch_add(1, Ordering::Relaxed);
        let mut exit = self.world.0.exit.subscribe();
        exit.wait_for(|open| *open).await.unwrap();
        self.world.check("stop")?;
        self.room.end(true, "");
        Ok(())
    }

    async fn remove(&self) -> Result<()> {
        self.world.0.things.lock().sandboxes.remove(&self.room.id);
        Ok(())
    }

    async fn wait(&self) -> SandboxExit {
        let mut exit = self.room.exit.subscribe();
        exit.wait_for(Option::is_some)
            .await
            .unwrap()
            .clone()
            .unwrap()
    }

    fn save(&self) -> SavedSandbox {
        SavedSandbox {
            id: self.room.id.clone(),
            version: 1,
            content: String::new(),
        }
    }

    fn network_setup(&self) -> Option<Duration> {
        Some(Duration::from_millis(1))
    }

    async fn explain(&self) -> Vec<(String, String)> {
        vec![("size".into(), "128 + 128 = 256".into())]
    }
}

impl Handle {
    fn container(&self, workload: Arc<Workload>) -> Arc<dyn Container> {
        Arc::new(Held {
            world: self.world.clone(),
            room: self.room.clone(),
            workload,
        })
    }
}

impl Room {
    /// How those ended that did so by themselves.
    fn exits(&self) -> Vec<(ContainerId, ContainerExit)> {
        let workloads = self.workloads.lock();
        let exits = workloads.values().filter_map(|workload| {
            let exit = workload.status.borrow().exit.clone()?;
            (exit.code != KILLED).then(|| (workload.id.clone(), exit))
        });
        exits.collect()
    }

    fn end(&self, asked: bool, why: &str) {
        for workload in self.workloads.lock().values() {
            workload.end(KILLED, false);
        }
        self.exit.send_if_modified(|exit| {
            let first = exit.is_none();
            exit.get_or_insert(SandboxExit {
                asked,
                message: why.into(),
                at: SystemTime::now(),
            });
            first
        });
    }
}

impl Workload {
    fn end(&self, code: u8, oom_killed: bool) {
        self.status.send_if_modified(|status| {
            let first = status.exit.is_none();
            status.state = RunState::Exited;
            status.exit.get_or_insert(ContainerExit {
                code,
                oom_killed,
                finished_at: SystemTime::now(),
                message: String::new(),
            });
            first
        });
    }
}

/// A container as the server holds it.
struct Held {
    world: World,
    room: Arc<Room>,
    workload: Arc<Workload>,
}

#[async_trait]
impl Container for Held {
    fn id(&self) -> &ContainerId {
        &self.workload.id
    }

    async fn start(&self) -> Result<()> {
        self.world.pass("start").await?;
        self.workload.status.send_modify(|status| {
            status.state = RunState::Running;
            status.started_at = Some(SystemTime::now());
        });
        if self.world.check("answer").is_err() {
            return Err(Error::new(Kind::TimedOut, "start: no answer in time"));
        }
        Ok(())
    }

    async fn exec(&self, spec: ExecSpec) -> Result<Process> {
        match spec.args[0].as_str() {
            "stuck" => std::future::pending().await,
            _ => Ok(exec(spec)),
        }
    }

    async fn attach(&self, _: ExecSpec) -> Result<Process> {
        Err(Error::new(Kind::Unsupported, "attach"))
    }

    async fn signal(&self, signal: Signal) -> Result<()> {
        self.workload.signals.lock().push(signal.0);
        match signal {
            Signal::KILL => self.workload.end(137, false),
            Signal(number) if !self.workload.stubborn => {
                self.workload
                    .end(128 + u8::try_from(number).unwrap(), false);
            }
            _ => {}
        }
        Ok(())
    }

    async fn update(&self, _: Resources) -> Result<()> {
        self.world.check("update")
    }

    async fn stats(&self) -> Result<ContainerStats> {
        Ok(ContainerStats {
            at: SystemTime::now(),
            cpu_usage_ns: 1,
            memory_usage_bytes: 2,
            memory_working_set_bytes: 3,
            memory_rss_bytes: 4,
            page_faults: 5,
            major_page_faults: 6,
            swap_usage_bytes: 7,
            pids: 8,
            writable_bytes: 9,
            writable_inodes: 10,
        })
    }

    async fn status(&self) -> Result<ContainerStatus> {
        let status = self.workload.status.borrow().clone();
        let mut things = self.world.0.things.lock();
        if let Some(code) = things.ending_when_seen.remove(&self.workload.id) {
            self.workload.end(code, false);
        }
        Ok(status)
    }

    async fn wait(&self) -> ContainerExit {
        let mut status = self.workload.status.subscribe();
        let ended = status
            .wait_for(|status| status.exit.is_some())
            .await
            .unwrap();
        ended.exit.clone().unwrap()
    }

    async fn reopen_log(&self) -> Result<()> {
        Ok(())
    }

    async fn remove(&self) -> Result<()> {
        self.world.check("remove")?;
        self.room.workloads.lock().remove(&self.workload.id);
        Ok(())
    }
}

/// `echo …` prints, `flood` prints much, `hang` goes on until its time is over, `die` loses its pod. `stuck`
/// never gets here.
fn exec(spec: ExecSpec) -> Process {
    let (mut out, stdout) = tokio::io::duplex(1024);
    let (err, stderr) = tokio::io::duplex(1024);
    let (resize, _) = mpsc::channel(1);
    let (ended, exit) = oneshot::channel();
    tokio::spawn(async move {
        let _err = err;
        let (code, timed_out) = match spec.args[0].as_str() {
            "echo" => {
                out.write_all(spec.args[1..].join(" ").as_bytes())
                    .await
                    .unwrap();
                (3, false)
            }
            "flood" => {
                let piece = vec![b'x'; 1 << 20];
                for _ in 0..20 {
                    out.write_all(&piece).await.unwrap();
                }
                (0, false)
            }
            "hang" => {
                tokio::time::sleep(spec.timeout.unwrap()).await;
                (137, true)
            }
            _ => return,
        };
        drop(out);
        ended.send(ExecExit { code, timed_out }).ok();
    });
    Process {
        stdin: None,
        stdout: Some(Box::pin(stdout)),
        stderr: Some(Box::pin(stderr)),
        resize,
        exit,
    }
}

//! The checks that every kind of sandbox must pass, each named by the sentence that it proves.
//!
//! They need a node and the rights of its root; whoever runs them is a [`Bench`].

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;

use crate::{Container, ContainerExit, ContainerSpec, ExecSpec, Process, SandboxSpec, Sandboxer};

mod life;
mod limits;
mod pod;
mod restart;
mod shared;
mod stop;
mod streams;

use pod::Pod;

/// No step of a check takes longer than this on a healthy node, however slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the checks need from whoever runs them.
pub trait Bench: Send + Sync + 'static {
    /// The kind under test, as a server that has just started opens it.
    fn sandboxer(&self) -> Arc<dyn Sandboxer>;

    /// A pod of this name, with a directory of its own.
    fn sandbox(&self, name: &str) -> SandboxSpec;

    /// A container that runs `script` in the shell of an image that has the usual programs. Its log is
    /// a file of its own.
    fn container(&self, sandbox: &SandboxSpec, name: &str, script: &str) -> ContainerSpec;

    /// What of ours is on the node: processes, mounts, cgroups, files.
    fn traces(&self) -> Vec<String>;

    /// Kills the process that supervises the sandbox, as its own mistake would.
    fn kill_supervisor(&self, explained: &[(String, String)]);
}

type Checked = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A check of what it is given.
type Check<T> = fn(T) -> Checked;

macro_rules! checks {
    ($given:ty, $($module:ident: $($check:ident),+;)+) => {
        [$($((stringify!($check), (|given| Box::pin($module::$check(given))) as Check<$given>)),+),+]
    };
}

/// Checks of containers, which leave their sandbox as it was. They share one: a machine takes long to boot.
const OF_CONTAINERS: &[(&str, Check<Pod>)] = &checks! {
    Pod,
    life:
        an_exit_code_arrives,
        a_signal_that_kills_arrives_as_128_and_its_number,
        a_container_that_was_never_started_can_be_removed,
        removing_a_container_kills_it_and_can_be_repeated,
        a_program_that_is_not_there_is_an_error_that_names_it,
        containers_of_a_pod_share_its_name_and_not_their_files,
        files_that_are_given_are_there,
        a_read_only_root_can_not_be_written;
    streams:
        all_output_is_in_the_log_when_the_end_is_known,
        a_reopened_log_gets_what_comes_later,
        exec_has_streams_and_a_code,
        exec_hands_on_more_than_any_buffer_holds,
        a_port_inside_is_reached_and_a_closed_one_is_refused,
        exec_that_takes_too_long_is_killed_alone,
        exec_that_nobody_waits_for_is_killed,
        attach_sees_what_comes_and_can_write;
    limits:
        a_container_that_takes_too_much_memory_is_killed_and_says_so,
        limits_can_be_changed,
        stats_tell_what_is_used;
};

/// Checks of sandboxes, with ones of their own.
const OF_SANDBOXES: &[(&str, Check<Arc<dyn Bench>>)] = &checks! {
    Arc<dyn Bench>,
    stop:
        stopping_twice_is_fine,
        stopping_kills_a_child_that_ignores_the_request;
    restart:
        a_sandbox_is_adopted_with_its_containers,
        an_end_that_came_meanwhile_is_told,
        a_sandbox_that_ended_meanwhile_is_said_to_have_ended,
        the_end_of_the_supervisor_ends_the_sandbox_and_says_so,
        what_nobody_knows_any_more_is_swept;
};

/// How a check went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its name, which is what it proves.
    pub check: String,
    /// Why it does not hold.
    pub failure: Option<String>,
    /// How long it took.
    pub took: Duration,
}

/// Runs the checks that are `wanted` by name, one after the other, and tells each to `report`.
pub async fn check_all(
    bench: Arc<dyn Bench>,
    wanted: impl Fn(&str) -> bool,
    report: impl Fn(&Outcome),
) -> Vec<Outcome> {
    let mut outcomes = shared::check_all(&bench, &wanted, &report).await;
    for (name, check) in OF_SANDBOXES.iter().filter(|(name, _)| wanted(name)) {
        let outcome = run(&bench, name, check(bench.clone())).await;
        report(&outcome);
        outcomes.push(outcome);
    }
    outcomes
}

async fn run(bench: &Arc<dyn Bench>, check: &str, body: Checked) -> Outcome {
    let before = bench.traces();
    let start = Instant::now();
    let ran = tokio::spawn(body).await;
    let took = start.elapsed();
    let failure = match ran {
        Err(error) => Some(panic_text(error)),
        Ok(()) => left_behind(&before, &bench.traces()),
    };
    Outcome {
        check: check.to_owned(),
        failure,
        took,
    }
}

fn panic_text(error: tokio::task::JoinError) -> String {
    let Ok(payload) = error.try_into_panic() else {
        return "cancelled".to_owned();
    };
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| {
        payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
    })
    .unwrap_or_else(|| "panicked".to_owned())
}

fn left_behind(before: &[String], after: &[String]) -> Option<String> {
    let left: Vec<_> = after
        .iter()
        .filter(|trace| !before.contains(trace))
        .cloned()
        .collect();
    (!left.is_empty()).then(|| format!("left behind: {}", left.join(", ")))
}

/// Waits, but not for ever.
async fn within<T>(step: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, step)
        .await
        .expect("it took too long")
}

/// Waits for what has to succeed.
async fn ok<T>(step: impl Future<Output = crate::Result<T>>) -> T {
    within(step)
        .await
        .unwrap_or_else(|error| panic!("{}", error.chain()))
}

async fn exit(container: &Arc<dyn Container>) -> ContainerExit {
    within(container.wait()).await
}

/// An exec of `script` with all its output, and its exit code.
async fn sh(container: &Arc<dyn Container>, script: &str) -> (String, u8) {
    let process = ok(container.exec(exec_spec(script))).await;
    let (stdout, code, _) = finish(process).await;
    (stdout, code)
}

fn exec_spec(script: &str) -> ExecSpec {
    ExecSpec {
        args: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        stdout: true,
        stderr: true,
        ..ExecSpec::default()
    }
}

/// Reads both outputs to their end; answers the first, the code, and whether its time was over.
async fn finish(mut process: Process) -> (String, u8, bool) {
    let mut stdout = String::new();
    let mut stderr = String::new();
    let (out, err) = (process.stdout.take(), process.stderr.take());
    let read = async {
        tokio::join!(
            async { out.unwrap().read_to_string(&mut stdout).await.unwrap() },
            async { err.unwrap().read_to_string(&mut stderr).await.unwrap() },
        )
    };
    within(read).await;
    let exit = within(process.exit).await.expect("the sandbox is there");
    (stdout, exit.code, exit.timed_out)
}

/// The contents of the lines of a log, without time and tags.
fn log_lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| line.splitn(4, ' ').nth(3).unwrap_or_default().to_owned())
        .collect()
}

/// Waits until `condition` holds.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "it never came: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

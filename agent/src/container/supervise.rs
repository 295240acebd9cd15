//! Watches over a container from its making to its end, and tells when and how it ended.
//!
//! The order at the end is what nothing is lost by: the first process has ended; the others are killed;
//! the pipes are read to their end; the log is complete; its last words are read; the record is on disk; then it
//! is told.

use std::sync::Arc;
use std::time::Duration;

use agent_api::v1;
use tokio::sync::oneshot;

use super::Container;
use super::state::Event;
use crate::agent::Agent;
use crate::events::now_ns;
use crate::oom;
use crate::reaper::Ended;
use crate::stdio::Pump;

/// How long killed processes may take to be gone. One in an uninterruptible sleep may take for ever.
const KILLED_WITHIN: Duration = Duration::from_secs(10);

/// How long a stranger who holds the container's pipes open is listened to.
const DRAINED_WITHIN: Duration = Duration::from_secs(2);

/// What is known of a container only while it runs.
pub(crate) struct Running {
    pub(crate) exit: oneshot::Receiver<Ended>,
    pub(crate) pumps: Vec<Pump>,
    pub(crate) kills: oom::Kills,
}

/// Begins to watch over `container`.
pub(crate) fn start(agent: &Arc<Agent>, container: Arc<Container>, running: Running) {
    let agent = Arc::clone(agent);
    tokio::spawn(async move { watch_over(&agent, &container, running).await });
}

async fn watch_over(agent: &Agent, container: &Container, running: Running) {
    let Running {
        exit,
        pumps,
        mut kills,
    } = running;
    let ended = {
        let watch = kills.watch(&container.cgroup, |kills| {
            tracing::warn!(container_id = container.id, kills, "out of memory");
            let container_id = container.id.clone();
            agent
                .events
                .publish(v1::event::Event::Oom(v1::ContainerOom { container_id }));
        });
        tokio::select! {
            ended = exit => ended.unwrap_or(Ended::UNKNOWN),
            never = watch => match never {},
        }
    };
    let finished_at_ns = now_ns();
    let oom_killed = kills.end(&container.cgroup) && ended.code != 0;
    end_the_rest(container).await;
    for pump in pumps {
        pump.finish(DRAINED_WITHIN).await;
    }
    *container.streams.input.lock().await = None;
    container.streams.log.finish(&container.id).await;
    container.keep_last_words().await;
    let exit = v1::ContainerExit {
        code: ended.code,
        signal: ended.signal,
        oom_killed,
        finished_at_ns,
    };
    agent.record(container, &exit);
    announce(agent, container, exit);
}

/// What a container's first process leaves behind goes with it, as it would with a PID namespace.
async fn end_the_rest(container: &Container) {
    if let Err(error) = container.cgroup.kill() {
        tracing::error!(
            container_id = container.id,
            error = crate::chain(&error),
            "kill container"
        );
    }
    if !container.cgroup.wait_until_empty(KILLED_WITHIN).await {
        tracing::error!(container_id = container.id, "killed processes do not end");
    }
}

fn announce(agent: &Agent, container: &Container, exit: v1::ContainerExit) {
    let (code, signal, oom_killed) = (exit.code, exit.signal, exit.oom_killed);
    tracing::info!(
        container_id = container.id,
        code,
        signal,
        oom_killed,
        "container exited"
    );
    container
        .apply(Event::Exit(exit))
        .expect("a container ends once");
    container.streams.fan_out.finish();
    let container_id = container.id.clone();
    let exited = v1::ContainerExited {
        container_id,
        exit: Some(exit),
        last_words: container.last_words(),
    };
    agent.events.publish(v1::event::Event::Exited(exited));
}

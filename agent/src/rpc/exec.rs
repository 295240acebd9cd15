//! `Exec`: a further process in a container.

use std::sync::Arc;
use std::time::Duration;

use agent_api::v1::stream_output::Output;
use agent_api::v1::{ExecExit, StreamInput, StreamOutput, StreamStart};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::stream::{ClientSink, Inward, QUEUE, ToClient, message, start, started};
use super::{Outgoing, whole};
use crate::agent::Agent;
use crate::container::Container;
use crate::container::exec::Exec;
use crate::reaper::Ended;
use crate::stdio::{Pump, Stream};

/// How long the output of what the process left in the background is waited for.
const DRAINED_WITHIN: Duration = Duration::from_secs(2);

/// What an exec'd process that was killed for taking too long is said to have ended with.
const TIMED_OUT: u32 = 137;

pub(super) async fn exec(
    agent: &Arc<Agent>,
    mut input: Streaming<StreamInput>,
) -> Result<Outgoing<StreamOutput>, Status> {
    let start = start(&mut input).await?;
    let container = agent.container(&start.container_id)?;
    let (client, receiver) = mpsc::channel(QUEUE);
    let agent = Arc::clone(agent);
    whole(async move {
        let exec = container.exec(&agent, &start).await?;
        // In the same breath, so that nobody can go away between the two and leave it unattended.
        tokio::spawn(async move { attend(&container, exec, start, input, client).await });
        Ok(())
    })
    .await?;
    Ok(Outgoing::new(receiver))
}

/// Serves the process until it has ended, its time is up, or nobody is interested any more.
async fn attend(
    container: &Container,
    mut exec: Exec,
    start: StreamStart,
    input: Streaming<StreamInput>,
    client: ToClient,
) {
    started(&client).await;
    let pumps = pumps(&mut exec, &client);
    let inward = inward(&mut exec);
    let outcome = {
        let passing = async {
            inward.pass_on(input).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            outcome = end_of(&mut exec, start.timeout_ms, &client) => outcome,
            () = passing => unreachable!("it never ends"),
        }
    };
    let exit = match outcome {
        Outcome::Ended(ended) => ExecExit {
            code: ended.code,
            timed_out: false,
        },
        Outcome::TimedOut => {
            exec.kill_and_wait().await;
            ExecExit {
                code: TIMED_OUT,
                timed_out: true,
            }
        }
        Outcome::Abandoned => {
            exec.kill_and_wait().await;
            exec.release(container).await;
            return;
        }
    };
    drop(inward);
    let finished = async {
        for pump in pumps {
            pump.finish(DRAINED_WITHIN).await;
        }
        // A client that is gone needs no answer.
        let _ = client.send(Ok(message(Output::Exit(exit)))).await;
    };
    tokio::select! {
        () = finished => {}
        () = client.closed() => {}
    }
    exec.release(container).await;
}

/// How serving a process came to its end.
enum Outcome {
    Ended(Ended),
    TimedOut,
    /// The client is gone.
    Abandoned,
}

async fn end_of(exec: &mut Exec, timeout_ms: u64, client: &ToClient) -> Outcome {
    let time_is_up = async {
        match timeout_ms {
            0 => std::future::pending().await,
            limit => tokio::time::sleep(Duration::from_millis(limit)).await,
        }
    };
    tokio::select! {
        // A process that ended in time did so even if nobody looked in time.
        biased;
        ended = &mut exec.exit => Outcome::Ended(ended.unwrap_or(Ended::UNKNOWN)),
        () = client.closed() => Outcome::Abandoned,
        () = time_is_up => Outcome::TimedOut,
    }
}

fn pumps(exec: &mut Exec, client: &ToClient) -> Vec<Pump> {
    let terminal = exec.terminal.clone();
    let outputs = [
        (
            Stream::Stdout,
            terminal.or_else(|| exec.stdout.take().map(Arc::new)),
        ),
        (Stream::Stderr, exec.stderr.take().map(Arc::new)),
    ];
    outputs
        .into_iter()
        .filter_map(|(stream, end)| {
            Some(Pump::start(
                end?,
                ClientSink {
                    client: client.clone(),
                    stream,
                },
            ))
        })
        .collect()
}

fn inward(exec: &mut Exec) -> Inward {
    let terminal = exec.terminal.clone();
    let stdin = exec.stdin.take().map(Arc::new).or_else(|| terminal.clone());
    Inward {
        stdin: Arc::new(tokio::sync::Mutex::new(stdin)),
        terminal,
        close: true,
    }
}

//! `Attach`: the streams of a container's first process.

use std::sync::Arc;

use agent_api::v1::stream_output::Output;
use agent_api::v1::{ExecExit, StreamInput, StreamOutput};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::Outgoing;
use super::stream::{Inward, QUEUE, ToClient, message, piece, start, started};
use crate::Error;
use crate::agent::Agent;
use crate::container::Container;
use crate::container::state::State;
use crate::stdio::fan_out::{End, Subscription};

pub(super) async fn attach(
    agent: &Agent,
    mut input: Streaming<StreamInput>,
) -> Result<Outgoing<StreamOutput>, Status> {
    let start = start(&mut input).await?;
    let container = agent.container(&start.container_id)?;
    let state = container.state();
    if matches!(state, State::Exited { .. }) {
        let source = state.must_run().expect_err("it has exited");
        return Err(Error::Denied {
            id: start.container_id,
            source,
        }
        .into());
    }
    let output = container
        .streams
        .fan_out
        .subscribe(start.stdout, start.stderr);
    let (client, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        started(&client).await;
        let passing = async {
            if start.stdin {
                inward(&container).pass_on(input).await;
            } else {
                let none = Arc::new(tokio::sync::Mutex::new(None));
                let terminal = container.streams.terminal.clone();
                Inward {
                    stdin: none,
                    terminal,
                    close: false,
                }
                .pass_on(input)
                .await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = pass_out(&container, output, &client) => {}
            () = passing => unreachable!("it never ends"),
            () = client.closed() => {
                if start.stdin {
                    inward(&container).close().await;
                }
            }
        }
    });
    Ok(Outgoing::new(receiver))
}

fn inward(container: &Container) -> Inward {
    let streams = &container.streams;
    Inward {
        stdin: Arc::clone(&streams.input),
        terminal: streams.terminal.clone(),
        close: streams.stdin_once,
    }
}

/// Passes on what the container writes, and then how it ended.
async fn pass_out(container: &Container, mut output: Subscription, client: &ToClient) {
    let end = loop {
        match output.next().await {
            Ok((stream, bytes)) => {
                if client.send(Ok(piece(stream, bytes))).await.is_err() {
                    return;
                }
            }
            Err(end) => break end,
        }
    };
    let last = match end {
        End::Lagged => Err(Error::Lagged.into()),
        End::Over => {
            let code = container.exited().await.code;
            Ok(message(Output::Exit(ExecExit {
                code,
                timed_out: false,
            })))
        }
    };
    // A client that is gone needs no answer.
    let _ = client.send(last).await;
}

//! `Events`: what happened, then what happens.

use std::sync::Arc;

use agent_api::v1::Event;
use tokio::sync::mpsc;
use tonic::Status;

use super::Outgoing;
use crate::Error;
use crate::agent::Agent;

/// Events on their way to one client. One that reads slowly asks again later, by number.
const QUEUE: usize = 16;

pub(super) fn events(agent: Arc<Agent>, after: u64) -> Outgoing<Event> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        tokio::select! {
            () = send_all(&agent, after, &sender) => {}
            () = sender.closed() => {}
        }
    });
    Outgoing::new(receiver)
}

async fn send_all(agent: &Agent, mut after: u64, sender: &mpsc::Sender<Result<Event, Status>>) {
    loop {
        match agent.events.after(after).await {
            Ok(events) => {
                for event in events {
                    after = event.number;
                    if sender.send(Ok(event)).await.is_err() {
                        return;
                    }
                }
            }
            Err(forgotten) => {
                // The client lists the containers instead, if it is still there.
                let _ = sender.send(Err(Error::from(forgotten).into())).await;
                return;
            }
        }
    }
}

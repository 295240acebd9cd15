//! `GetContainerEvents`: what happens to pods and containers from now on.

use std::sync::Arc;

use cri_api::v1::{ContainerEventResponse, GetEventsRequest};
use futures::StreamExt;
use futures::future::ready;
use tokio::sync::broadcast::Receiver;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError::{self, Lagged};

use crate::CriServer;
use crate::error::{Error, Kind, Result};
use crate::grpc_status;
use crate::runtime::Streamed;

pub(super) async fn get_container_events(
    server: Arc<CriServer>,
    _: GetEventsRequest,
) -> Result<Streamed<ContainerEventResponse>> {
    let ending = || Error::new(Kind::Unavailable, "the server is about to end");
    let events = server.events.subscribe().ok_or_else(ending)?;
    Ok(stream(events))
}

/// Who missed something has to list anew, so nothing comes after that.
fn stream(events: Receiver<ContainerEventResponse>) -> Streamed<ContainerEventResponse> {
    let told = BroadcastStream::new(events).scan(false, |is_over, event| {
        let go_on = !std::mem::replace(is_over, event.is_err());
        ready(go_on.then_some(event))
    });
    told.map(|event| event.map_err(missed)).boxed()
}

fn missed(Lagged(count): BroadcastStreamRecvError) -> tonic::Status {
    let message = format!("{count} events were missed by reading too slowly; list, and ask again");
    grpc_status::status(&Error::new(Kind::Unavailable, message))
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::Sender;

    use super::*;

    #[tokio::test]
    async fn a_client_that_reads_too_slowly_is_told_so_and_nothing_else() {
        let events = Sender::new(4);
        let mut slow = stream(events.subscribe());
        for _ in 0..6 {
            events.send(ContainerEventResponse::default()).unwrap();
        }
        let missed = slow.next().await.unwrap().unwrap_err();
        assert!(
            missed.message().contains("2 events were missed"),
            "{missed}"
        );
        assert!(slow.next().await.is_none());
    }
}

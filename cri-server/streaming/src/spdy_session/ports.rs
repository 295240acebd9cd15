//! Port-forward over SPDY: any number of connections, each a pair of streams.

use std::sync::Arc;
use std::time::Duration;

use cri_api::v1::PortForwardRequest;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::debug;

use super::pairs::{Label, Pair, Pairs};
use crate::executor::Executor;
use crate::limits::Limits;
use crate::output::Output;
use crate::port_forward::{PortStreams, forward};
use crate::spdy::{Offer, Stream};

/// How often halves are looked for that have waited too long.
const LOOK: Duration = Duration::from_secs(1);

/// Serves connections for as long as the client opens them; it ends only with the client.
pub(super) async fn serve(
    mut offers: mpsc::Receiver<Offer>,
    request: &PortForwardRequest,
    executor: Arc<dyn Executor>,
    limits: &Limits,
) {
    let request = Arc::new(request.clone());
    let mut pairs = Pairs::new();
    // Dropped with the session, which ends them all.
    let mut connections = JoinSet::new();
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            offer = offers.recv() => {
                let Some(offer) = offer else { return };
                if let Some(streams) = take(&mut pairs, offer) {
                    let (request, executor) = (request.clone(), executor.clone());
                    connections.spawn(async move {
                        forward(&request, executor.as_ref(), streams).await;
                    });
                }
            }
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "forwarding a connection failed badly");
                }
            }
            _ = look.tick() => {
                for stream in pairs.expired(Instant::now(), limits.stream_creation) {
                    debug!("gave up on half a connection");
                    let _ = stream.outlet.reset().await;
                }
            }
        }
    }
}

/// Takes a stream, and answers with the connection that it completes.
fn take(pairs: &mut Pairs<Stream>, offer: Offer) -> Option<PortStreams> {
    let Some(Label {
        half,
        port,
        request,
    }) = Label::read(&offer)
    else {
        debug!("refused a stream without type or port");
        offer.refuse();
        return None;
    };
    if pairs.has(&request, half) {
        debug!(request, "refused a second stream of the same kind");
        offer.refuse();
        return None;
    }
    let stream = offer.accept().ok()?;
    let Pair { data, error } = pairs.add(request, half, stream, Instant::now())?;
    Some(PortStreams {
        port,
        inbox: data.inbox,
        data: Output::Spdy(data.outlet),
        error: Output::Spdy(error.outlet),
        was_reset: Some(data.was_reset),
    })
}

//! Accepting connections, each in a task of its own that ends with the server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, error, warn};

use crate::activity::Activity;
use crate::http;
use crate::server::Shared;
use crate::socket::ClientSocket;

/// Connections that have not shown a token yet; more of them wait in the kernel.
const STRANGERS: usize = 256;
/// After an accept that failed, for want of descriptors for example.
const PAUSE: Duration = Duration::from_millis(200);

/// Accepts connections until it is dropped, and with it all of them.
pub(crate) async fn run(listener: TcpListener, acceptor: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let strangers = Arc::new(Semaphore::new(STRANGERS));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            (permit, stream, client) = accept(&listener, &strangers) => {
                let serve = serve(stream, client, acceptor.clone(), shared.clone(), permit);
                connections.spawn(serve);
            }
            Some(Err(error)) = connections.join_next() => {
                error!(%error, "serving a streaming client failed badly");
            }
        }
    }
}

async fn accept(
    listener: &TcpListener,
    strangers: &Arc<Semaphore>,
) -> (OwnedSemaphorePermit, TcpStream, SocketAddr) {
    let permit = strangers.clone().acquire_owned().await;
    let permit = permit.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, client)) => return (permit, stream, client),
            Err(error) => {
                warn!(%error, "accept a streaming client");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// One client: its request, and the session that comes of it.
async fn serve(
    stream: TcpStream,
    client: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    stranger: OwnedSemaphorePermit,
) {
    let socket = match ClientSocket::new(stream) {
        Ok(socket) => socket,
        Err(error) => return debug!(%client, %error, "set up a client's socket"),
    };
    let activity = Arc::new(Activity::new(Some(socket.watch())));
    let limit = shared.limits.request;
    let greeting = async {
        match acceptor {
            None => http::serve(socket, &shared).await,
            Some(acceptor) => match acceptor.accept(socket).await {
                Ok(stream) => http::serve(stream, &shared).await,
                Err(error) => {
                    debug!(%client, %error, "no TLS with a client");
                    None
                }
            },
        }
    };
    let session = tokio::time::timeout(limit, greeting).await.ok().flatten();
    drop(stranger);
    if let Some(session) = session {
        session.run(client, activity, &shared).await;
    }
}

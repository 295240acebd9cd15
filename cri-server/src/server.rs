//! The unix socket: who listens, when it is ready, how it ends.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use cri_api::MAX_MESSAGE;
use cri_api::v1::image_service_server::ImageServiceServer;
use cri_api::v1::runtime_service_server::RuntimeServiceServer;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;
use tonic::transport::Server;
use tower::Service;

use crate::CriServer;
use crate::grpc_status::unimplemented;
use crate::image::ImageRpcs;
use crate::runtime::Runtime;

/// How long calls under way may take once the server is to end.
const LAST_CALLS: Duration = Duration::from_secs(10);

/// Nobody can be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket can't be made.
    #[error("listen on {path}")]
    Listen {
        /// Where it was to be.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something else than a socket of ours is in the way.
    #[error(
        "{0} exists and is no socket that nobody listens on; remove it, or set another `socket`"
    )]
    InTheWay(PathBuf),
    /// Serving broke off.
    #[error("serve")]
    Serve(#[from] tonic::transport::Error),
}

/// A socket that is listened on and that nobody is served from yet.
pub struct Listening {
    listener: UnixListener,
    path: PathBuf,
}

impl Listening {
    /// Listens; a socket that is left from a server that is gone is replaced.
    pub fn on(path: &Path) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Listen {
            path: path.to_path_buf(),
            source,
        };
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(failed)?;
        }
        remove_stale(path)?;
        let listener = UnixListener::bind(path).map_err(failed)?;
        // Whoever may connect is root on this node.
        let only_root = std::fs::Permissions::from_mode(0o660);
        std::fs::set_permissions(path, only_root).map_err(failed)?;
        Ok(Self {
            listener,
            path: path.to_path_buf(),
        })
    }

    /// Serves until `stop`; calls under way are answered before it returns.
    pub async fn serve(
        self,
        server: Arc<CriServer>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let runtime = RuntimeServiceServer::new(Runtime(server.clone()))
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        let images = ImageServiceServer::new(ImageRpcs(server.clone()))
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        let incoming = UnixListenerStream::new(self.listener);
        let (told, stopped) = tokio::sync::oneshot::channel();
        let stop = async {
            stop.await;
            // These calls have no end of their own.
            server.events.end();
            told.send(()).ok();
        };
        let serving = Server::builder().serve_with_incoming_shutdown(
            Both { runtime, images },
            incoming,
            stop,
        );
        let patience_ends = async {
            // Without an answer, serving broke off by itself.
            stopped.await.ok();
            tokio::time::sleep(LAST_CALLS).await;
        };
        let done = tokio::select! {
            done = serving => done,
            // Calls that wait for others, such as a pull, are begun anew with the next server.
            () = patience_ends => Ok(()),
        };
        // It stays ours until here: who connects meanwhile waits, and is answered by the next server.
        std::fs::remove_file(&self.path).ok();
        Ok(done?)
    }
}

/// Removes a socket that nobody listens on.
fn remove_stale(path: &Path) -> Result<(), ServeError> {
    let in_the_way = || ServeError::InTheWay(path.to_path_buf());
    let Ok(found) = path.symlink_metadata() else {
        return Ok(());
    };
    let nobody_listens = || {
        let tried = std::os::unix::net::UnixStream::connect(path);
        tried.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    if !found.file_type().is_socket() || !nobody_listens() {
        return Err(in_the_way());
    }
    std::fs::remove_file(path).map_err(|_| in_the_way())
}

/// Both services on one socket, told apart by the path of the call.
#[derive(Clone)]
struct Both {
    runtime: RuntimeServiceServer<Runtime>,
    images: ImageServiceServer<ImageRpcs>,
}

impl Service<Request<Body>> for Both {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let path = request.uri().path().trim_start_matches('/');
        match path.split('/').next() {
            Some(RuntimeServiceServer::<Runtime>::NAME) => self.runtime.call(request),
            Some(ImageServiceServer::<ImageRpcs>::NAME) => self.images.call(request),
            _ => {
                let status = unimplemented(path);
                Box::pin(async move { Ok(status.into_http()) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/x.sock");
        let first = Listening::on(&path).unwrap();
        assert!(matches!(Listening::on(&path), Err(ServeError::InTheWay(_))));
        drop(first);
        Listening::on(&path).unwrap();
    }

    #[tokio::test]
    async fn a_file_in_the_way_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sock");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(Listening::on(&path), Err(ServeError::InTheWay(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }
}

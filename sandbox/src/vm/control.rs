//! The control socket of a VMM, without blocking: requests and their replies, and its events.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use vmm_api::{Channel, ChannelError, ErrorCode, Event, Failure, Reply, Request, version};

use crate::readiness::Readiness;
use crate::{Error, Kind, Result};

/// A VMM has nothing that takes long to do, but on a node with too little CPU it may be slow.
const LIMIT: Duration = Duration::from_secs(30);

/// A VMM, as reached through its control socket.
#[derive(Debug)]
pub(super) struct Control {
    socket: PathBuf,
    connection: Mutex<Option<Connection>>,
}

impl Control {
    /// The VMM that listens on `socket`.
    pub(super) fn at(socket: PathBuf) -> Self {
        Self {
            socket,
            connection: Mutex::new(None),
        }
    }

    /// Asks, and waits for the answer.
    pub(super) async fn ask(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<Reply> {
        let doing = verb(request);
        let mut connection = self.connection.lock().await;
        // Taken out while in use: should anything fail, or this be abandoned half-way, the next
        // request begins on a fresh connection and can't read the reply to this one.
        let mut open = match connection.take() {
            Some(open) => open,
            None => Connection::open(&self.socket).await?,
        };
        let reply = open.ask(request, fds).await.map_err(|e| broken(doing, e))?;
        *connection = Some(open);
        match reply {
            Reply::Failed(failure) => Err(refused(doing, failure)),
            reply => Ok(reply),
        }
    }

    /// Asks for something that has no answer but that it was done.
    pub(super) async fn tell(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<()> {
        match self.ask(request, fds).await? {
            Reply::Done => Ok(()),
            other => Err(unexpected(verb(request), &other)),
        }
    }

    /// What the VMM tells from now on, beginning with the present state.
    pub(super) async fn subscribe(&self) -> Result<Events> {
        let mut open = Connection::open(&self.socket).await?;
        let asked = open.ask(&Request::Subscribe, &[]).await;
        match asked.map_err(|e| broken("watch", e))? {
            Reply::Done => Ok(Events { connection: open }),
            Reply::Failed(failure) => Err(refused("watch", failure)),
            other => Err(unexpected("watch", &other)),
        }
    }
}

/// What a VMM tells without being asked.
#[derive(Debug)]
pub(super) struct Events {
    connection: Connection,
}

impl Events {
    /// The next event; `None` once the VMM is gone.
    pub(super) async fn next(&mut self) -> Option<Event> {
        self.connection.receive().await.ok()
    }
}

#[derive(Debug)]
struct Connection {
    channel: Channel,
    readiness: Readiness,
}

impl Connection {
    /// Connects, and agrees on a protocol.
    async fn open(path: &Path) -> Result<Self> {
        let mut connection = Self::connect(path).map_err(|error| {
            let doing = format!("reach the VMM at {}", path.display());
            Error::caused(Kind::Unavailable, doing, error)
        })?;
        let hello = Request::Hello {
            min: version::OLDEST,
            max: version::PROTOCOL,
        };
        match connection.ask(&hello, &[]).await {
            Ok(Reply::Hello { .. }) => Ok(connection),
            Ok(Reply::Failed(failure)) => Err(refused("greet", failure)),
            Ok(other) => Err(unexpected("greet", &other)),
            Err(error) => Err(broken("greet", error)),
        }
    }

    fn connect(path: &Path) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        let watched: OwnedFd = socket.try_clone()?;
        Ok(Self {
            channel: socket.into(),
            readiness: Readiness::of(watched)?,
        })
    }

    async fn ask(
        &mut self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<Reply, ChannelError> {
        self.channel.send(request, fds)?;
        within(LIMIT, self.receive()).await
    }

    async fn receive<M: DeserializeOwned>(&mut self) -> Result<M, ChannelError> {
        loop {
            let mut ready = self.readiness.readable().await.map_err(ChannelError::Io)?;
            match self.channel.receive() {
                Err(ChannelError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready.clear_ready();
                }
                received => return received.map(|(message, _fds)| message),
            }
        }
    }
}

async fn within<T>(
    limit: Duration,
    reply: impl Future<Output = Result<T, ChannelError>>,
) -> Result<T, ChannelError> {
    tokio::time::timeout(limit, reply)
        .await
        .unwrap_or_else(|_| Err(ChannelError::Io(io::ErrorKind::TimedOut.into())))
}

fn verb(request: &Request) -> &'static str {
    match request {
        Request::Hello { .. } => "greet",
        Request::Boot(_) => "boot",
        Request::Attach(_) => "attach a disk",
        Request::Detach(_) => "detach a disk",
        Request::OpenLog { .. } => "take a log file",
        Request::CloseLog { .. } => "close a log file",
        Request::Status => "tell its state",
        Request::Subscribe => "watch",
        Request::Kill => "end",
    }
}

fn broken(doing: &str, error: ChannelError) -> Error {
    let kind = match &error {
        ChannelError::Io(io) if io.kind() == io::ErrorKind::TimedOut => Kind::TimedOut,
        ChannelError::Io(_) => Kind::Unavailable,
        ChannelError::Malformed(_) | ChannelError::TooLarge { .. } => Kind::Internal,
    };
    Error::caused(kind, format!("ask the VMM to {doing}"), error)
}

fn refused(doing: &str, failure: Failure) -> Error {
    let kind = match failure.code {
        ErrorCode::Invalid => Kind::Invalid,
        ErrorCode::WrongState => Kind::WrongState,
        ErrorCode::Unsupported => Kind::Unsupported,
        ErrorCode::NotFound => Kind::NotFound,
        ErrorCode::NoSpace => Kind::NoSpace,
        ErrorCode::Unavailable => Kind::Unavailable,
        ErrorCode::Internal | ErrorCode::Other => Kind::Internal,
    };
    Error::caused(kind, format!("ask the VMM to {doing}"), failure)
}

fn unexpected(doing: &str, reply: &Reply) -> Error {
    let doing = format!("ask the VMM to {doing}: it answered {reply:?}");
    Error::new(Kind::Internal, doing)
}

/// A listening control socket for a VMM that is still to be started.
pub(super) fn listen(path: &Path) -> Result<OwnedFd> {
    let listening = || -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        rustix::net::listen(socket.as_fd(), 16)?;
        Ok(socket)
    };
    listening().map_err(|e| Error::io(format!("listen on {}", path.display()), e))
}

#[cfg(test)]
mod tests;

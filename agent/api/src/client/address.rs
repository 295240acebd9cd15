//! Where an agent listens, and the first bytes on the way there.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Longest answer to `CONNECT` that we read: `OK 4294967295\n` and some room.
const MAX_ANSWER: usize = 32;

/// A guest whose agent does not accept is given up after this long; the next call tries again.
const OPEN_LIMIT: Duration = Duration::from_secs(10);

/// Where an agent listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A unix socket of the agent itself: an agent on the host.
    Unix(PathBuf),
    /// A port in a guest, reached through the unix socket of its VMM (`CONNECT <port>`).
    Vsock {
        /// The VMM's socket.
        socket: PathBuf,
        /// [`crate::version::AGENT_PORT`], but in tests.
        port: u32,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Vsock { socket, port } => write!(f, "{} port {port}", socket.display()),
        }
    }
}

impl Address {
    /// A byte stream to whatever listens there.
    pub async fn open(&self) -> io::Result<UnixStream> {
        let opening = async {
            match self {
                Self::Unix(path) => UnixStream::connect(path).await,
                Self::Vsock { socket, port } => {
                    let mut stream = UnixStream::connect(socket).await?;
                    shake_hands(&mut stream, *port).await?;
                    Ok(stream)
                }
            }
        };
        tokio::time::timeout(OPEN_LIMIT, opening)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// `CONNECT <port>\n`, answered by `OK <number>\n`. Read byte by byte: what follows is not ours.
async fn shake_hands(stream: &mut UnixStream, port: u32) -> io::Result<()> {
    stream
        .write_all(format!("CONNECT {port}\n").as_bytes())
        .await?;
    let mut answer = Vec::with_capacity(MAX_ANSWER);
    while answer.last() != Some(&b'\n') {
        if answer.len() == MAX_ANSWER {
            return Err(refused("the answer to CONNECT is no line"));
        }
        match stream.read_u8().await {
            Ok(byte) => answer.push(byte),
            // The multiplexer closes where nothing listens in the guest.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(refused("nothing listens on that port of the guest"));
            }
            Err(error) => return Err(error),
        }
    }
    if answer.starts_with(b"OK ") {
        Ok(())
    } else {
        Err(refused("the answer to CONNECT is not OK"))
    }
}

fn refused(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, why)
}

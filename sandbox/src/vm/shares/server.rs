//! The process that serves a machine's volumes: started, and made known to the VMM.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use vmm_api::{DeviceSpec, FsSpec, Reply, Request};

use crate::cgroup::PodCgroup;
use crate::supervisor::{self, LogFile, Supervisor};
use crate::vm::control::Control;
use crate::vm::plan::Places;
use crate::{Error, Kind, Result};

/// How long the VMM waits for an answer of the server. A server has nothing to do that takes long, but on a
/// node with too little CPU it may be slow.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Bytes of the server's last words in an error.
const LAST_WORDS: usize = 1000;

/// What is started, and where.
pub(super) struct Launch<'a> {
    pub(super) program: &'a Path,
    pub(super) cgroup: &'a PodCgroup,
    pub(super) places: &'a Places,
    pub(super) oom_score_adj: i32,
}

/// A server, and the end of its socket that the VMM is to have. It ends when nobody has that end.
pub(super) struct Started {
    pub(super) supervisor: Supervisor,
    pub(super) socket: UnixStream,
}

impl Launch<'_> {
    pub(super) fn start(&self) -> Result<Started> {
        let places = self.places;
        std::fs::create_dir_all(&places.share)
            .map_err(|e| Error::io(format!("make {}", places.share.display()), e))?;
        let lock = supervisor::take(&places.fsd_lock)?.ok_or_else(|| {
            let doing = format!("take lock {}: it is held", places.fsd_lock.display());
            Error::new(Kind::AlreadyExists, doing)
        })?;
        let (listener, socket) = connection(&places.fsd_socket)
            .map_err(|e| Error::io(format!("listen on {}", places.fsd_socket.display()), e))?;
        let output = LogFile::at(places.fsd_log.clone());
        let output = output
            .open()
            .map_err(|e| Error::io(format!("open {}", places.fsd_log.display()), e))?;
        let launch = supervisor::Launch {
            program: self.program,
            args: vec!["--root".into(), places.share.clone().into()],
            descriptors: vec![listener.as_fd(), lock.as_fd()],
            output: output.as_fd(),
            cgroup: self.cgroup,
            oom_score_adj: self.oom_score_adj,
        };
        let supervisor = Supervisor::start(&launch, places.fsd_lock.clone())?;
        Ok(Started { supervisor, socket })
    }

    /// What the server said last.
    pub(super) fn last_words(&self) -> String {
        LogFile::at(self.places.fsd_log.clone()).tail(LAST_WORDS)
    }
}

/// A listening socket and a connection to it, of which no name remains.
fn connection(path: &Path) -> std::io::Result<(UnixListener, UnixStream)> {
    let listener = UnixListener::bind(path)?;
    let socket = UnixStream::connect(path);
    std::fs::remove_file(path)?;
    let socket = socket?;
    socket.set_read_timeout(Some(ANSWER_LIMIT))?;
    socket.set_write_timeout(Some(ANSWER_LIMIT))?;
    Ok((listener, socket))
}

/// Makes the VMM attach a device with files that are served at the other end of `socket`.
pub(super) async fn attach(control: &Control, tag: &str, socket: &UnixStream) -> Result<()> {
    let request = Request::Attach(DeviceSpec::Fs(FsSpec {
        tag: tag.to_owned(),
        socket: 0,
    }));
    let fds: [BorrowedFd<'_>; 1] = [socket.as_fd()];
    match control.ask(&request, &fds).await? {
        Reply::Attached(_) => Ok(()),
        other => {
            let doing = format!("attach a file system: the VMM answered {other:?}");
            Err(Error::new(Kind::Internal, doing))
        }
    }
}

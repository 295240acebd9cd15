//! Makes a network namespace without forking: a thread of its own moves into a new one, and a bind
//! mount keeps it when the thread is gone.
// UNSAFETY: unshare(2) is unsafe in rustix, because with CLONE_FILES it splits the table of file
// descriptors between threads.
#![expect(unsafe_code, reason = "unshare(2) has no safe form")]

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::mount_bind;
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::network::NetworkError;

/// A new network namespace, to be found at `path`. On failure nothing is left.
pub(super) async fn create(path: PathBuf) -> Result<(), NetworkError> {
    let (sender, done) = tokio::sync::oneshot::channel();
    let work = {
        let path = path.clone();
        // Not a thread of the runtime's pool: it can't go back to the node's namespace for sure.
        move || drop(sender.send(create_here(&path)))
    };
    std::thread::Builder::new()
        .name("netns".into())
        .spawn(work)
        .map_err(|source| failed("start a thread", &path, source))?;
    done.await.expect("the thread sends before it ends")
}

fn create_here(path: &Path) -> Result<(), NetworkError> {
    File::create_new(path).map_err(|source| failed("make a mount point", path, source))?;
    let made = enter_new()
        .map_err(|source| failed("unshare", path, source))
        .and_then(|()| {
            bring_up_loopback().map_err(|source| failed("bring up loopback", path, source))
        })
        .and_then(|()| {
            mount_bind("/proc/thread-self/ns/net", path)
                .map_err(|errno| failed("bind-mount", path, errno.into()))
        });
    if made.is_err() {
        // The file is ours alone; should it stay, the sweep at the next start takes it.
        std::fs::remove_file(path).ok();
    }
    made
}

/// In the calling thread's network namespace.
fn bring_up_loopback() -> io::Result<()> {
    // The first link of every namespace.
    const LOOPBACK: u32 = 1;
    netlink::Socket::open()?.set_up(LOOPBACK)
}

fn enter_new() -> io::Result<()> {
    // SAFETY: only the network namespace is unshared; the table of file descriptors stays shared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.map_err(io::Error::from)
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> NetworkError {
    NetworkError::Create {
        doing,
        path: path.to_path_buf(),
        source,
    }
}

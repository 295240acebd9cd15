//! The file system that the guest sees, and serving it.

use std::fs::File;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use vhost::vhost_user;
use vhost_user_backend::{Error, VhostUserDaemon};
use virtiofsd::passthrough::{
    CachePolicy, Config, InodeFileHandlesMode, NegotiationMode, PassthroughFs,
};
use virtiofsd::vhost_user::VhostUserFsBackendBuilder;
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

/// Threads that carry out requests, so that a volume whose storage hangs does not hold up the others.
const THREADS: usize = 4;

/// After this, whoever has a file open sees what the node wrote to it since.
const OPEN_FILES_TIMEOUT: Duration = Duration::from_secs(1);

/// Descriptors that are not for the guest: memory regions, queues, and what threads open before it counts.
const OWN_DESCRIPTORS: u64 = 700;

/// The files below `root`. `process` is the directory of our descriptors, of which there may be
/// `descriptors`.
pub(crate) fn open(root: &Path, process: File, descriptors: u64) -> anyhow::Result<PassthroughFs> {
    let config = Config {
        root_dir: root
            .to_str()
            .context("the root directory's name is not UTF-8")?
            .to_owned(),
        proc_sfd_rawfd: Some(process),
        // The node changes files, too: names are asked for each time, which brings attributes, and what
        // the guest has of a file's content goes when its times have changed. So whoever opens a file sees
        // what was written before. Content is cached, because without that files can't be mapped, and
        // attributes of open files for a while, because each read asks for them.
        cache_policy: CachePolicy::Auto,
        entry_timeout: Duration::ZERO,
        attr_timeout: OPEN_FILES_TIMEOUT,
        readdirplus: false,
        writeback: false,
        xattr: true,
        posix_acl: NegotiationMode::Auto,
        // Saves the guest a question for an attribute with each write.
        killpriv_v2: true,
        // Each volume is a mount, and numbers of files are unique within one only.
        announce_submounts: true,
        // Handles would take a capability that opens every file of the node.
        inode_file_handles: InodeFileHandlesMode::Never,
        guest_fd_limit: descriptors
            .checked_sub(OWN_DESCRIPTORS)
            .context("the limit of open files is too low")?,
        ..Config::default()
    };
    PassthroughFs::new(config).context("open the root directory")
}

/// Serves `files` to the first that connects, until it hangs up.
pub(crate) fn serve(files: PassthroughFs, listener: UnixListener) -> anyhow::Result<()> {
    let backend = VhostUserFsBackendBuilder::default()
        .set_thread_pool_size(THREADS)
        .build(files)
        .context("start threads")?;
    let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
    let mut daemon = VhostUserDaemon::new("fs".to_owned(), Arc::new(backend), memory)
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    daemon
        .start(&mut listener.into())
        .map_err(|error| anyhow::anyhow!("take the machine's connection: {error}"))?;
    match daemon.wait() {
        // A VMM that ends closes its socket, at whatever point.
        Ok(())
        | Err(Error::HandleRequest(
            vhost_user::Error::Disconnected | vhost_user::Error::PartialMessage,
        )) => {
            tracing::info!("the machine hung up");
            Ok(())
        }
        Err(error) => Err(anyhow::anyhow!("serve the machine: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use virtiofsd::filesystem::{Context, FileSystem, FsOptions};
    use virtiofsd::fuse::ROOT_ID;
    use virtiofsd::soft_idmap::{GuestGid, GuestUid};

    use super::*;

    /// A directory of so many files, for a guest that may have `descriptors`.
    fn files(count: u32, descriptors: u64) -> (tempfile::TempDir, PassthroughFs) {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..count {
            std::fs::write(dir.path().join(number.to_string()), "").unwrap();
        }
        let process = crate::jail::open_descriptors().unwrap();
        let files = open(dir.path(), process, OWN_DESCRIPTORS + descriptors).unwrap();
        files.init(FsOptions::all()).unwrap();
        (dir, files)
    }

    fn context() -> Context {
        Context {
            uid: GuestUid::from(0),
            gid: GuestGid::from(0),
            pid: 1,
        }
    }

    /// The number by which a guest knows a file from now on, or the error that it gets.
    fn look_up(files: &PassthroughFs, name: u32) -> Result<u64, i32> {
        let name = CString::new(name.to_string()).unwrap();
        let found = files.lookup(context(), ROOT_ID, &name);
        found
            .map(|entry| entry.inode)
            .map_err(|error| error.raw_os_error().unwrap())
    }

    #[test]
    fn a_guest_that_knows_too_many_files_gets_an_error_until_it_forgets_some() {
        let (_dir, files) = files(10, 6);
        // The root is one.
        let known: Vec<_> = (0..5).map(|name| look_up(&files, name).unwrap()).collect();
        assert_eq!(look_up(&files, 5), Err(libc::ENFILE));
        look_up(&files, 0).unwrap();
        files.forget(context(), known[1], 1);
        look_up(&files, 5).unwrap();
        assert_eq!(look_up(&files, 6), Err(libc::ENFILE));
    }
}

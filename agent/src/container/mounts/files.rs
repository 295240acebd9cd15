//! Files whose content we are given.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;

use agent_api::v1;
use rustix::fs::{FileType, Gid, Mode, Uid, fchmod, fchown, fstat};
use rustix::io::Errno;

use super::MountError;
use crate::container::root::{Missing, Root};

/// When a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// Before anything is mounted: into the container's own writable layer.
    Rootfs,
    /// After: into file systems that exist only for this container.
    Mounts,
}

/// Writes those of `files` that belong into `pass`. A file below a bind mount is not written at all:
/// the mount hides it, and writing through would change the host's files.
pub(super) fn write(
    root: Root<'_>,
    files: &[v1::File],
    mounts: &[v1::Mount],
    pass: Pass,
) -> Result<(), MountError> {
    files
        .iter()
        .filter(|file| pass_of(&file.path, mounts) == Some(pass))
        .try_for_each(|file| {
            write_one(root, file).map_err(|source| MountError::File {
                path: file.path.clone(),
                source,
            })
        })
}

fn pass_of(path: &str, mounts: &[v1::Mount]) -> Option<Pass> {
    match mounts
        .iter()
        .rev()
        .find(|mount| covers(&mount.destination, path))
    {
        None => Some(Pass::Rootfs),
        Some(mount) if mount.r#type == "tmpfs" => Some(Pass::Mounts),
        Some(_) => None,
    }
}

fn covers(directory: &str, path: &str) -> bool {
    let mut path = names(path);
    names(directory).all(|name| path.next() == Some(name))
}

fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter(|name| !name.is_empty() && *name != ".")
}

fn write_one(root: Root<'_>, file: &v1::File) -> std::io::Result<()> {
    let place = root.resolve_or_create(&file.path, Missing::File)?;
    if FileType::from_raw_mode(fstat(&place)?.st_mode) != FileType::RegularFile {
        return Err(Errno::EXIST.into());
    }
    // Our own /proc is still in sight: through it the place is opened again, for writing this time.
    let again = format!("/proc/self/fd/{}", place.as_raw_fd());
    let mut out = File::options().write(true).truncate(true).open(again)?;
    out.write_all(&file.content)?;
    fchown(
        &out,
        Some(Uid::from_raw(file.uid)),
        Some(Gid::from_raw(file.gid)),
    )?;
    fchmod(&out, Mode::from_raw_mode(file.mode & 0o7777))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mount(kind: &str, destination: &str) -> v1::Mount {
        v1::Mount {
            r#type: kind.into(),
            destination: destination.into(),
            ..v1::Mount::default()
        }
    }

    #[track_caller]
    fn check(path: &str, expected: Option<Pass>) {
        let mounts = [
            mount("bind", "/etc"),
            mount("tmpfs", "/run/secrets"),
            mount("bind", "/data/"),
        ];
        assert_eq!(pass_of(path, &mounts), expected);
    }

    #[test]
    fn files_are_never_written_through_a_bind_mount() {
        check("/etc/hosts", None);
        check("/data//x", None);
        check("/etcetera/x", Some(Pass::Rootfs));
        check("/run/secrets/token", Some(Pass::Mounts));
        check("/run/x", Some(Pass::Rootfs));
    }

    #[test]
    fn a_file_gets_its_content_and_mode() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("etc")).unwrap();
        symlink("/target", directory.path().join("etc/hosts")).unwrap();
        let root = File::open(directory.path()).unwrap();
        let me = (
            rustix::process::getuid().as_raw(),
            rustix::process::getgid().as_raw(),
        );
        let file = v1::File {
            path: "/etc/hosts".into(),
            content: b"127.0.0.1 localhost\n".to_vec(),
            mode: 0o640,
            uid: me.0,
            gid: me.1,
        };
        write(Root::at(root.as_fd()), &[file], &[], Pass::Rootfs).unwrap();
        let written = directory.path().join("target");
        assert_eq!(std::fs::read(&written).unwrap(), b"127.0.0.1 localhost\n");
        assert_eq!(
            written.metadata().unwrap().permissions().mode() & 0o777,
            0o640
        );
    }
}

//! Whether the node has mounted something below a directory.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Looks for mounts below the directory `place`, which lies on the mount with the number `mount`.
pub(super) fn is_any_mounted_below(place: BorrowedFd<'_>, mount: u64) -> io::Result<bool> {
    let path = fs::read_link(format!("/proc/self/fd/{}", place.as_raw_fd()))?;
    let mounts = fs::read("/proc/self/mountinfo")?;
    Ok(is_any_below(&mounts, &path, mount))
}

/// proc_pid_mountinfo(5): the second field is the mount that it is mounted on, the fifth where.
fn is_any_below(mounts: &[u8], path: &Path, mount: u64) -> bool {
    let mut prefix = escape(path.as_os_str().as_bytes());
    if !prefix.ends_with(b"/") {
        prefix.push(b'/');
    }
    let on = mount.to_string();
    mounts.split(|byte| *byte == b'\n').any(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        fields.nth(1) == Some(on.as_bytes())
            && fields.nth(2).is_some_and(|at| at.starts_with(&prefix))
    })
}

/// White space and backslashes are written as three octal digits.
fn escape(path: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(path.len() + 1);
    for byte in path {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => {
                escaped.extend_from_slice(format!("\\{byte:03o}").as_bytes());
            }
            byte => escaped.push(*byte),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn only_mounts_below_and_on_the_same_mount_count() {
        let mounts = b"20 1 8:1 / / rw - ext4 /dev/root rw\n\
            21 20 0:5 / /run/a\\040b/c rw - tmpfs none rw\n\
            22 20 0:6 / /data rw - tmpfs none rw\n\
            23 22 0:7 / /data/sub rw - tmpfs none rw\n";
        let below = |path: &str, mount| is_any_below(mounts, Path::new(path), mount);
        assert!(below("/run/a b", 20));
        assert!(!below("/run/a b/c", 21));
        assert!(!below("/run/a", 20));
        assert!(below("/data", 22));
        // Hidden under what was mounted over it.
        assert!(!below("/data", 20));
        assert!(below("/", 20));
    }

    #[test]
    fn the_kernel_is_asked() {
        let root = fs::File::open("/").unwrap();
        // Every Linux has /proc mounted where tests run.
        let number = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let on = number
            .lines()
            .find(|line| line.split(' ').nth(4) == Some("/proc"));
        let on: u64 = on.unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        assert!(is_any_mounted_below(root.as_fd(), on).unwrap());
    }
}

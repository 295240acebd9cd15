//! What is mounted, as the kernel tells it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Mount points directly below `dir`.
pub(super) fn mount_points_below(dir: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let text = fs::read("/proc/self/mountinfo")?;
    Ok(parse(&text)
        .filter(|path| path.parent() == Some(dir))
        .collect())
}

/// proc_pid_mountinfo(5): the fifth field is the mount point.
fn parse(text: &[u8]) -> impl Iterator<Item = PathBuf> + '_ {
    let lines = text.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(unescape)
}

/// White space and backslashes are written as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).and_then(|digits| str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_odd_characters() {
        let text =
            b"36 35 98:0 /mnt1 /run/a\\040b/c\\134d rw,noatime master:1 - ext4 /dev/root rw\n\
            37 35 0:5 / / rw - erofs /x ro\n";
        let found: Vec<_> = parse(text).collect();
        assert_eq!(found, [PathBuf::from("/run/a b/c\\d"), PathBuf::from("/")]);
    }
}

//! Reading small trees of the node, to be written again in a guest.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use agent_api::v1;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use crate::{Error, Kind, Result};

/// As much as a Secret or ConfigMap can hold, with room for a projected volume of several.
const MOST_BYTES: usize = 2 << 20;

/// More files than this nobody projects.
const MOST_FILES: usize = 1000;

/// Room for names and partly used pages in the file system that holds a copy.
const PAGE: usize = 4096;

/// What the copies of one container may still take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    bytes: usize,
    files: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            bytes: MOST_BYTES,
            files: MOST_FILES,
        }
    }
}

/// One file, to be written at `at`.
pub(super) fn file(source: &Path, at: &str, budget: &mut Budget) -> Result<v1::File> {
    let copying = || format!("copy {} into the guest", source.display());
    File::open(source)
        .and_then(|open| read(open, at, budget))
        .map_err(|e| failed(copying(), e))
}

/// All files below `source`, to be written below `at`. Symbolic links are followed as long as they stay
/// inside; the kubelet's `..data` and its like are only the way to what has a name.
pub(super) fn tree(source: &Path, at: &str, budget: &mut Budget) -> Result<Vec<v1::File>> {
    let copying = || format!("copy {} into the guest", source.display());
    read_tree(source, at, budget).map_err(|e| failed(copying(), e))
}

/// The file system that holds the copy of a tree: memory of the guest, as on the node.
pub(super) fn holder(at: &str, tree: &[v1::File]) -> v1::Mount {
    let bytes: usize = tree.iter().map(|file| file.content.len() + 2 * PAGE).sum();
    v1::Mount {
        destination: at.to_owned(),
        source: "tmpfs".to_owned(),
        r#type: "tmpfs".to_owned(),
        nosuid: true,
        nodev: true,
        data: format!(
            "mode=755,size={}",
            (bytes + 16 * PAGE).next_multiple_of(PAGE)
        ),
        ..v1::Mount::default()
    }
}

fn read_tree(source: &Path, at: &str, budget: &mut Budget) -> io::Result<Vec<v1::File>> {
    let root = File::open(source)?;
    let mut files = Vec::new();
    let mut ahead = VecDeque::from([PathBuf::new()]);
    // Every directory costs a file's share, so that links in a circle come to an end.
    while let Some(dir) = ahead.pop_front() {
        budget.take(0)?;
        for entry in std::fs::read_dir(source.join(&dir))? {
            let name = entry?.file_name();
            if name.as_encoded_bytes().starts_with(b"..") {
                continue;
            }
            let path = dir.join(name);
            let open = open_beneath(&root, &path)?;
            let kind = open.metadata()?.file_type();
            if kind.is_dir() {
                ahead.push_back(path);
            } else if kind.is_file() {
                let text = path.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
                let at = format!("{}/{text}", at.trim_end_matches('/'));
                files.push(read(open, &at, budget)?);
            }
        }
    }
    Ok(files)
}

fn open_beneath(root: &File, path: &Path) -> io::Result<File> {
    // A pipe must not block us; it is then left out as neither file nor directory.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = openat2(root, path, flags, Mode::empty(), ResolveFlags::BENEATH)?;
    Ok(opened.into())
}

fn read(open: File, at: &str, budget: &mut Budget) -> io::Result<v1::File> {
    let metadata = open.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    let mut content = Vec::new();
    // One byte more than there is room for, to see that there is more.
    open.take(budget.bytes as u64 + 1)
        .read_to_end(&mut content)?;
    budget.take(content.len())?;
    Ok(v1::File {
        path: at.to_owned(),
        content,
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
    })
}

impl Budget {
    fn take(&mut self, bytes: usize) -> io::Result<()> {
        let too_much = |what: String| io::Error::new(io::ErrorKind::FileTooLarge, what);
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(|| {
            too_much(format!(
                "the copies of a container may hold {MOST_BYTES} bytes"
            ))
        })?;
        self.files = self.files.checked_sub(1).ok_or_else(|| {
            too_much(format!(
                "the copies of a container may be {MOST_FILES} files and directories"
            ))
        })?;
        Ok(())
    }
}

fn failed(doing: String, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::FileTooLarge => Kind::Unsupported,
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename => Kind::Invalid,
        _ => Kind::Internal,
    };
    Error::caused(kind, doing, error)
}

//! Empty ext4 disks for writable layers: formatted once per size, then copied, holes and all.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{SeekFrom, copy_file_range, ioctl_ficlone, seek};
use rustix::io::Errno;
use tokio::sync::Mutex;

use crate::leftovers::remove_path;
use crate::{Error, Kind, Result};

/// The smallest disk that is worth a file system.
const LEAST_MIB: u64 = 16;

const MIB: u64 = 1 << 20;

/// Makes empty disks.
#[derive(Clone, Debug)]
pub(super) struct BlankDisks {
    mke2fs: PathBuf,
    dir: PathBuf,
    /// One formats, the others wait and find it done.
    formatting: Arc<Mutex<()>>,
}

/// A disk that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlankDisk {
    /// Its size as the guest sees it.
    pub(super) bytes: u64,
    /// What its file takes on the node while nothing is written to it.
    pub(super) used_bytes: u64,
}

impl BlankDisks {
    /// Keeps formatted disks in `dir`.
    pub(super) fn open(mke2fs: PathBuf, dir: PathBuf) -> Result<Self> {
        fs::create_dir_all(&dir).map_err(|e| Error::io(format!("make {}", dir.display()), e))?;
        Ok(Self {
            mke2fs,
            dir,
            formatting: Arc::default(),
        })
    }

    /// Makes an empty disk of at least `bytes` at `path`, where nothing may be yet.
    pub(super) async fn make(&self, path: &Path, bytes: u64) -> Result<BlankDisk> {
        let mib = bytes.div_ceil(MIB).max(LEAST_MIB);
        let template = self.template(mib).await?;
        let to = path.to_owned();
        let copied = tokio::task::spawn_blocking(move || copy(&template, &to)).await;
        let used_bytes = copied
            .map_err(io::Error::other)
            .and_then(|copied| copied)
            .map_err(|e| Error::io(format!("make disk {}", path.display()), e))?;
        Ok(BlankDisk {
            bytes: mib * MIB,
            used_bytes,
        })
    }

    async fn template(&self, mib: u64) -> Result<PathBuf> {
        let template = self.dir.join(format!("blank-{mib}M.ext4"));
        let _turn = self.formatting.lock().await;
        if template.exists() {
            return Ok(template);
        }
        let (mke2fs, made) = (self.mke2fs.clone(), template.clone());
        tokio::task::spawn_blocking(move || format(&mke2fs, &made, mib))
            .await
            .map_err(|e| Error::caused(Kind::Internal, "format a disk", e))??;
        Ok(template)
    }
}

/// Formats a disk at `template`. It appears there complete or not at all.
fn format(mke2fs: &Path, template: &Path, mib: u64) -> Result<()> {
    let scratch = template.with_extension("formatting");
    let compact = template.with_extension("new");
    let made = (|| {
        remove_path(&scratch)?;
        remove_path(&compact)?;
        run_mke2fs(mke2fs, &scratch, mib)?;
        let placed = || -> io::Result<()> {
            // The copy leaves out what mke2fs has allocated without writing to it.
            copy(&scratch, &compact)?;
            File::open(&compact)?.sync_all()?;
            fs::rename(&compact, template)?;
            File::open(template.parent().unwrap_or(Path::new("/")))?.sync_all()
        };
        placed().map_err(|e| Error::io(format!("keep {}", template.display()), e))
    })();
    remove_path(&scratch)?;
    made
}

fn run_mke2fs(mke2fs: &Path, path: &Path, mib: u64) -> Result<()> {
    let doing = || format!("format a disk of {mib} MiB with {}", mke2fs.display());
    File::create_new(path)
        .and_then(|file| file.set_len(mib * MIB))
        .map_err(|e| Error::io(doing(), e))?;
    let output = std::process::Command::new(mke2fs)
        // No journal: nobody needs the files of a container whose machine crashed. All of the space is
        // the container's. The tables are marked as zero already, so no guest fills the holes later.
        .args([
            "-q",
            "-F",
            "-t",
            "ext4",
            "-O",
            "^has_journal,^resize_inode",
            "-m",
            "0",
        ])
        .args(["-E", "lazy_itable_init=0,nodiscard,root_owner=0:0"])
        .arg(path)
        .env_clear()
        .output()
        .map_err(|e| Error::io(doing(), e))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::caused(
        Kind::Internal,
        doing(),
        format!("{}: {said}", output.status),
    ))
}

/// Copies a file with its holes, or shares its blocks where the file system can. Answers what it takes.
fn copy(from: &Path, to: &Path) -> io::Result<u64> {
    let source = File::open(from)?;
    let target = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)?;
    if ioctl_ficlone(&target, &source).is_err() {
        target.set_len(source.metadata()?.len())?;
        copy_data(&source, &target)?;
    }
    Ok(target.metadata()?.blocks() * 512)
}

fn copy_data(source: &File, target: &File) -> io::Result<()> {
    let mut position = 0;
    loop {
        let data = match seek(source, SeekFrom::Data(position)) {
            Ok(data) => data,
            Err(Errno::NXIO) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let hole = seek(source, SeekFrom::Hole(data))?;
        let (mut from, mut to) = (data, data);
        while from < hole {
            let len = usize::try_from(hole - from).unwrap_or(usize::MAX);
            if copy_file_range(source, Some(&mut from), target, Some(&mut to), len)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        position = hole;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mke2fs() -> PathBuf {
        ["/sbin/mke2fs", "/usr/sbin/mke2fs"]
            .map(PathBuf::from)
            .into_iter()
            .find(|path| path.exists())
            .expect("mke2fs, of the package e2fsprogs, is installed")
    }

    #[tokio::test]
    async fn a_disk_is_as_large_as_asked_and_takes_next_to_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let disks = BlankDisks::open(mke2fs(), dir.path().join("cache")).unwrap();
        let path = dir.path().join("c1.ext4");
        let made = disks.make(&path, 10 << 30).await.unwrap();
        assert_eq!(path.metadata().unwrap().len(), 10 << 30);
        assert!(made.used_bytes < 4 << 20, "{} bytes", made.used_bytes);
        let mut superblock = vec![0; 2048];
        std::os::unix::fs::FileExt::read_exact_at(&File::open(&path).unwrap(), &mut superblock, 0)
            .unwrap();
        assert_eq!(superblock[1024 + 56..1024 + 58], [0x53, 0xef], "it is ext4");

        let other = dir.path().join("c2.ext4");
        disks.make(&other, 10 << 30).await.unwrap();
        assert!(
            disks.make(&other, 10 << 30).await.is_err(),
            "it is there already"
        );
        let cached: Vec<_> = fs::read_dir(dir.path().join("cache")).unwrap().collect();
        assert_eq!(cached.len(), 1, "{cached:?}");
    }

    #[tokio::test]
    async fn a_program_that_fails_is_quoted_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        let disks = BlankDisks::open("/bin/false".into(), cache.clone()).unwrap();
        let error = disks
            .make(&dir.path().join("c1.ext4"), 1)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "format a disk of 16 MiB with /bin/false");
        assert_eq!(fs::read_dir(&cache).unwrap().count(), 0);
    }
}

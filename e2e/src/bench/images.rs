//! `images`: pulling an image with several layers while nothing of it is there, and what it takes on disk.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_cri::v1::RemoveImageRequest;

use super::Setup;
use super::servers::Server;
use super::values::{Unit, mebibytes, progress, tell, tell_time};
use crate::large_image;
use crate::runtime::{Runtime, spec};

/// How long bytes of a removed image may stay.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a file system may keep of it, and a database have grown by.
const SLACK: u64 = 4 << 20;

/// Measures all sides in turn.
pub(super) async fn measure(setup: &Setup) -> Result<()> {
    let mut servers = Server::ours(setup).await?;
    servers.push(Server::containerd().await?);
    for round in 1..=setup.samples {
        progress(format!("images: round {round} of {}", setup.samples))?;
        for server in &servers {
            one(server).await?;
        }
    }
    Ok(())
}

async fn one(server: &Server) -> Result<()> {
    let name = server.side("", "").name;
    let mut runtime = server.runtime.clone();
    let before = on_disk(server)?;
    forget_files()?;
    let begin = Instant::now();
    runtime.pull(large_image::NAME).await?;
    tell_time(&name, "PullImage", begin.elapsed())?;
    let taken = on_disk(server)?.saturating_sub(before);
    tell(&name, "on disk", Unit::Mebibytes, mebibytes(taken))?;
    let begin = Instant::now();
    remove(&mut runtime).await?;
    tell_time(&name, "RemoveImage", begin.elapsed())?;
    until_gone(server, before).await
}

async fn remove(runtime: &mut Runtime) -> Result<()> {
    let request = RemoveImageRequest {
        image: Some(spec(large_image::NAME)),
    };
    let done = runtime.images.remove_image(request).await;
    done.context("remove the image")?;
    Ok(())
}

/// The next pull is a cold one only when nothing is left of the last.
async fn until_gone(server: &Server, before: u64) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = on_disk(server)?.saturating_sub(before);
        if left <= SLACK {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{left} bytes stay after a pull");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Bytes that the server's images take now.
fn on_disk(server: &Server) -> Result<u64> {
    rustix::fs::sync();
    taken_below(Path::new(server.image_root))
}

/// Neither side finds in memory what the registry has to read.
fn forget_files() -> Result<()> {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").context("drop the page cache")
}

fn taken_below(path: &Path) -> Result<u64> {
    let metadata =
        fs::symlink_metadata(path).with_context(|| format!("stat {}", path.display()))?;
    let mut bytes = metadata.blocks() * 512;
    if metadata.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("list {}", path.display()))? {
            // A server that works may remove what we have just seen.
            bytes += taken_below(&entry?.path()).unwrap_or(0);
        }
    }
    Ok(bytes)
}

//! A file system without space: a pull says so, leaves nothing, and works once there is space.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::runtime::Runtime;
use k8s_cri::v1::{ListImagesRequest, PullImageRequest};
use tonic::Code;

const PATIENCE: Duration = Duration::from_secs(10);
const DIR: &str = "/run/full-disk";

/// A server of its own whose images are on a small file system; both are gone with the value.
struct SmallServer(Child);

impl SmallServer {
    fn start() -> Result<Self> {
        std::fs::create_dir_all(Path::new(DIR).join("images"))?;
        run(&["mount", "-t", "tmpfs", "-o", "size=2m", "small", &images()])?;
        let config = format!(
            "socket = \"{DIR}/socket\"\nstate_dir = \"{DIR}/state\"\nruntime_dir = \"{DIR}/run\"\n\
             [images]\nroot_dir = \"{}\"\nrun_dir = \"{DIR}/run/images\"\nmin_free_mib = 0\n\
             [handlers.namespaced]\nruntime_dir = \"{DIR}/run/namespaced\"\n\
             [handlers.kvm]\nruntime_dir = \"{DIR}/run/pods\"\ncache_dir = \"{DIR}/cache\"\n",
            images()
        );
        let path = format!("{DIR}/config.toml");
        std::fs::write(&path, config)?;
        let log = std::fs::File::create(format!("{DIR}/log"))?;
        let child = Command::new("/usr/local/bin/bulkhead")
            .args(["serve", "--config", &path])
            .stdout(log.try_clone()?)
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()?;
        Ok(Self(child))
    }
}

impl Drop for SmallServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = run(&["umount", &images()]);
        let _ = std::fs::remove_dir_all(DIR);
    }
}

fn images() -> String {
    format!("{DIR}/images")
}

fn run(command: &[&str]) -> Result<()> {
    let status = Command::new(command[0]).args(&command[1..]).status()?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

#[tokio::test]
async fn a_full_disk_is_named_and_a_pull_works_once_there_is_space() -> Result<()> {
    let _server = SmallServer::start()?;
    let socket = format!("{DIR}/socket");
    let mut runtime = Runtime::connect_to(&socket, PATIENCE).await?;
    let request = PullImageRequest {
        image: Some(e2e::runtime::spec(e2e::images::BUSYBOX)),
        ..Default::default()
    };
    let refused = runtime.images.pull_image(request).await;
    let status = refused.expect_err("2 MiB are too few");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(
        status.message().contains(e2e::images::BUSYBOX),
        "{status:?}"
    );
    let list = runtime
        .images
        .list_images(ListImagesRequest::default())
        .await?;
    assert!(list.into_inner().images.is_empty());

    run(&["mount", "-o", "remount,size=64m", &images()])?;
    runtime
        .pull(e2e::images::BUSYBOX)
        .await
        .with_context(|| std::fs::read_to_string(format!("{DIR}/log")).unwrap_or_default())?;
    Ok(())
}

//! A client of the runtime under test: what a kubelet would send, with short words for it.
//!
//! The types are those of the k8s-cri crate, which is not made from our definitions: a field that we
//! got wrong fails here.

mod shared;
mod urls;

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hyper_util::rt::TokioIo;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::{
    ContainerConfig, ContainerMetadata, ContainerStatus, CreateContainerRequest, ExecSyncRequest,
    ExecSyncResponse, ImageSpec, LinuxContainerConfig, LinuxContainerSecurityContext,
    LinuxPodSandboxConfig, LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption,
    PodSandboxConfig, PodSandboxMetadata, PullImageRequest, RemovePodSandboxRequest,
    RunPodSandboxRequest, StopPodSandboxRequest,
};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

pub use urls::Streams;

/// Where the server under test listens.
pub const SOCKET: &str = "/run/bulkhead/bulkhead.sock";

/// Where pods' logs go.
pub const LOGS: &str = "/var/log/pods";

/// Clients of both services.
#[derive(Clone)]
pub struct Runtime {
    /// Pods and containers.
    pub runtime: RuntimeServiceClient<Channel>,
    /// Images.
    pub images: ImageServiceClient<Channel>,
}

impl Runtime {
    /// Connects to the server on [`SOCKET`], waiting up to `patience` for it to listen.
    pub async fn connect(patience: Duration) -> Result<Self> {
        Self::connect_to(SOCKET, patience).await
    }

    /// The same to the server on `socket`.
    pub async fn connect_to(socket: &str, patience: Duration) -> Result<Self> {
        let deadline = Instant::now() + patience;
        loop {
            let socket_path = socket.to_owned();
            let connector = tower::service_fn(move |_| {
                let path = socket_path.clone();
                async { UnixStream::connect(path).await.map(TokioIo::new) }
            });
            let endpoint = Endpoint::from_static("http://bulkhead");
            match endpoint.connect_with_connector(connector).await {
                Ok(channel) => {
                    return Ok(Self {
                        runtime: RuntimeServiceClient::new(channel.clone()),
                        images: ImageServiceClient::new(channel),
                    });
                }
                Err(error) if Instant::now() > deadline => {
                    return Err(error).with_context(|| format!("connect to {socket}"));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Pulls an image and returns its id.
    pub async fn pull(&mut self, image: &str) -> Result<String> {
        let request = PullImageRequest {
            image: Some(spec(image)),
            ..Default::default()
        };
        let response = self.images.pull_image(request).await;
        Ok(response
            .with_context(|| format!("pull {image}"))?
            .into_inner()
            .image_ref)
    }

    /// Runs a pod under `handler`.
    pub async fn run_pod(&mut self, handler: &str, config: &PodSandboxConfig) -> Result<Pod> {
        let request = RunPodSandboxRequest {
            config: Some(config.clone()),
            runtime_handler: handler.to_owned(),
        };
        let response = self
            .runtime
            .run_pod_sandbox(request)
            .await
            .context("run pod")?;
        let id = response.into_inner().pod_sandbox_id;
        Ok(Pod {
            id,
            config: config.clone(),
            runtime: self.clone(),
        })
    }
}

/// An image by name.
pub fn spec(image: &str) -> ImageSpec {
    ImageSpec {
        image: image.to_owned(),
        ..Default::default()
    }
}

/// The config of a pod nobody had before: own log directory, containers with their own PID namespace.
pub fn pod_config(name: &str) -> PodSandboxConfig {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let uid = format!(
        "{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    let namespaces = NamespaceOption {
        pid: NamespaceMode::Container.into(),
        ..Default::default()
    };
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: name.to_owned(),
            uid: uid.clone(),
            namespace: "e2e".into(),
            attempt: 0,
        }),
        hostname: name.to_owned(),
        log_directory: format!("{LOGS}/e2e_{name}_{uid}"),
        linux: Some(LinuxPodSandboxConfig {
            security_context: Some(LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The config of a container that runs `command` from [`crate::images::BUSYBOX`].
pub fn container_config(name: &str, command: &[&str]) -> ContainerConfig {
    let namespaces = NamespaceOption {
        pid: NamespaceMode::Container.into(),
        ..Default::default()
    };
    ContainerConfig {
        metadata: Some(ContainerMetadata {
            name: name.to_owned(),
            attempt: 0,
        }),
        image: Some(spec(crate::images::BUSYBOX)),
        command: command.iter().map(|&word| word.to_owned()).collect(),
        log_path: format!("{name}.log"),
        linux: Some(LinuxContainerConfig {
            security_context: Some(LinuxContainerSecurityContext {
                namespace_options: Some(namespaces),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A running pod.
#[derive(Clone)]
pub struct Pod {
    /// Its id.
    pub id: String,
    /// What it was asked to be.
    pub config: PodSandboxConfig,
    runtime: Runtime,
}

impl Pod {
    /// Makes and starts a container.
    pub async fn start(&mut self, config: &ContainerConfig) -> Result<Container> {
        let mut container = self.create(config).await?;
        container.start().await?;
        Ok(container)
    }

    /// Makes a container.
    pub async fn create(&mut self, config: &ContainerConfig) -> Result<Container> {
        let image = config.image.as_ref().context("a container has an image")?;
        self.runtime.pull(&image.image).await?;
        let request = CreateContainerRequest {
            pod_sandbox_id: self.id.clone(),
            config: Some(config.clone()),
            sandbox_config: Some(self.config.clone()),
        };
        let response = self.runtime.runtime.create_container(request).await;
        let id = response
            .context("create container")?
            .into_inner()
            .container_id;
        let log = Path::new(&self.config.log_directory).join(&config.log_path);
        Ok(Container {
            id,
            log: log.display().to_string(),
            runtime: self.runtime.clone(),
        })
    }

    /// Stops and removes the pod with everything in it.
    pub async fn finish(mut self) -> Result<()> {
        let pod_sandbox_id = self.id.clone();
        let stop = StopPodSandboxRequest {
            pod_sandbox_id: pod_sandbox_id.clone(),
        };
        self.runtime
            .runtime
            .stop_pod_sandbox(stop)
            .await
            .context("stop pod")?;
        let remove = RemovePodSandboxRequest { pod_sandbox_id };
        self.runtime
            .runtime
            .remove_pod_sandbox(remove)
            .await
            .context("remove pod")?;
        let _ = std::fs::remove_dir_all(&self.config.log_directory);
        Ok(())
    }
}

/// A container of a pod.
#[derive(Clone)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Path of its log.
    pub log: String,
    runtime: Runtime,
}

impl Container {
    /// Lets it run.
    pub async fn start(&mut self) -> Result<()> {
        let container_id = self.id.clone();
        let request = k8s_cri::v1::StartContainerRequest { container_id };
        self.runtime
            .runtime
            .start_container(request)
            .await
            .context("start container")?;
        Ok(())
    }

    /// Its status.
    pub async fn status(&mut self) -> Result<ContainerStatus> {
        let request = k8s_cri::v1::ContainerStatusRequest {
            container_id: self.id.clone(),
            verbose: false,
        };
        let response = self.runtime.runtime.container_status(request).await?;
        response.into_inner().status.context("a status")
    }

    /// Its status once it has exited.
    pub async fn exited(&mut self) -> Result<ContainerStatus> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let status = self.status().await?;
            if status.state == i32::from(k8s_cri::v1::ContainerState::ContainerExited) {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("container {} still runs: {status:?}", self.id);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Runs a command in it.
    pub async fn exec(&mut self, command: &[&str]) -> Result<ExecSyncResponse> {
        let request = ExecSyncRequest {
            container_id: self.id.clone(),
            cmd: command.iter().map(|&word| word.to_owned()).collect(),
            timeout: 60,
        };
        Ok(self
            .runtime
            .runtime
            .exec_sync(request)
            .await
            .context("exec")?
            .into_inner())
    }

    /// What a command in it prints; it must succeed.
    pub async fn output(&mut self, command: &[&str]) -> Result<String> {
        let done = self.exec(command).await?;
        if done.exit_code != 0 {
            bail!(
                "{command:?}: exit {}: {}",
                done.exit_code,
                String::from_utf8_lossy(&done.stderr)
            );
        }
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// Asks it to stop, and kills it after `seconds`.
    pub async fn stop(&mut self, seconds: i64) -> Result<()> {
        let container_id = self.id.clone();
        let request = k8s_cri::v1::StopContainerRequest {
            container_id,
            timeout: seconds,
        };
        self.runtime
            .runtime
            .stop_container(request)
            .await
            .context("stop container")?;
        Ok(())
    }

    /// The lines of its log: stream, `P` or `F`, text.
    pub fn log_lines(&self) -> Result<Vec<(String, String, String)>> {
        let text =
            std::fs::read_to_string(&self.log).with_context(|| format!("read {}", self.log))?;
        text.lines()
            .map(|line| {
                let mut words = line.splitn(4, ' ').skip(1).map(str::to_owned);
                let mut word = || {
                    words
                        .next()
                        .with_context(|| format!("a whole line: {line:?}"))
                };
                Ok((word()?, word()?, word()?))
            })
            .collect()
    }
}

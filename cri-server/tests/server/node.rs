//! A node: a server that can be killed and started again, its directories, and a client.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cri_api::MAX_MESSAGE;
use cri_api::v1::image_service_client::ImageServiceClient;
use cri_api::v1::runtime_service_client::RuntimeServiceClient;
use cri_api::v1::*;
use cri_server::config::Config;
use cri_server::handlers::Handlers;
use cri_server::network::Network;
use cri_server::server::Listening;
use cri_server::state::State;
use cri_server::{CriServer, Parts};
use image_service::Images;
use sandbox::Sandboxer;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::registry::Registry;
use crate::world::World;

/// A node with a server on it.
pub(crate) struct Node {
    pub(crate) world: World,
    pub(crate) runtime: RuntimeServiceClient<Channel>,
    pub(crate) images: ImageServiceClient<Channel>,
    /// Name of an image that is on the node.
    pub(crate) image: String,
    /// Where its metrics are.
    pub(crate) metrics: SocketAddr,
    directory: tempfile::TempDir,
    network: ConnectedBy,
    server: Option<Running>,
    registry: Registry,
}

/// Who connects the pods of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ConnectedBy {
    Nobody,
    /// Plugins in `bin`, in a network of `net.d`.
    Plugins,
    /// The same, and the network is made from the file `template`.
    Template,
}

impl Node {
    /// A node with an image and no pods.
    pub(crate) async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), ConnectedBy::Nobody).await
    }

    /// The same, with what is in a directory already.
    pub(crate) async fn start_in(directory: tempfile::TempDir, network: ConnectedBy) -> Self {
        let world = World::default();
        let registry = Registry::start();
        let metrics = free_address();
        let config = config(directory.path(), metrics, network);
        let (server, channel) = serve(config, &world).await;
        let mut node = Self {
            world,
            metrics,
            network,
            image: registry.image(),
            runtime: runtime_client(&channel),
            images: ImageServiceClient::new(channel),
            directory,
            server: Some(server),
            registry,
        };
        node.pull().await.unwrap();
        node
    }

    /// Kills the server, as by SIGKILL.
    pub(crate) async fn kill_server(&mut self) {
        let server = self.server.take().unwrap().runtime;
        // Until all it holds is dropped, locks above all.
        let killed = move || server.shutdown_timeout(Duration::from_secs(10));
        tokio::task::spawn_blocking(killed).await.unwrap();
    }

    /// Ends it, as by SIGTERM.
    pub(crate) async fn end_server(&mut self) {
        let server = self.server.take().unwrap();
        server.stop.send(()).unwrap();
        server.served.await.unwrap();
        server.runtime.shutdown_background();
    }

    /// Starts it again.
    pub(crate) async fn start_server(&mut self) {
        let config = config(self.directory.path(), self.metrics, self.network);
        let (server, channel) = serve(config, &self.world).await;
        self.server = Some(server);
        self.runtime = runtime_client(&channel);
        self.images = ImageServiceClient::new(channel);
    }

    pub(crate) async fn restart_server(&mut self) {
        self.kill_server().await;
        self.start_server().await;
    }

    pub(crate) async fn pull(&mut self) -> Result<String, Status> {
        let request = PullImageRequest {
            image: Some(image(&self.registry.image())),
            ..Default::default()
        };
        Ok(self
            .images
            .pull_image(request)
            .await?
            .into_inner()
            .image_ref)
    }

    /// Path below the server's directories.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Names in a directory of the server.
    pub(crate) fn names(&self, directory: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(directory))
            .into_iter()
            .flatten()
            .flatten();
        entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }

    pub(crate) async fn run_pod(&mut self, config: PodSandboxConfig) -> Result<String, Status> {
        let request = RunPodSandboxRequest {
            config: Some(config),
            runtime_handler: String::new(),
        };
        Ok(self
            .runtime
            .run_pod_sandbox(request)
            .await?
            .into_inner()
            .pod_sandbox_id)
    }

    pub(crate) async fn stop_pod(&mut self, id: &str) -> Result<(), Status> {
        let pod_sandbox_id = id.to_string();
        let request = StopPodSandboxRequest { pod_sandbox_id };
        self.runtime.stop_pod_sandbox(request).await.map(drop)
    }

    pub(crate) async fn remove_pod(&mut self, id: &str) -> Result<(), Status> {
        let pod_sandbox_id = id.to_string();
        let request = RemovePodSandboxRequest { pod_sandbox_id };
        self.runtime.remove_pod_sandbox(request).await.map(drop)
    }

    pub(crate) async fn pod_status(
        &mut self,
        id: &str,
    ) -> Result<PodSandboxStatusResponse, Status> {
        let request = PodSandboxStatusRequest {
            pod_sandbox_id: id.to_string(),
            verbose: true,
        };
        Ok(self.runtime.pod_sandbox_status(request).await?.into_inner())
    }

    /// Ids of all pods that are listed.
    pub(crate) async fn pods(&mut self) -> Vec<PodSandbox> {
        let request = ListPodSandboxRequest::default();
        self.runtime
            .list_pod_sandbox(request)
            .await
            .unwrap()
            .into_inner()
            .items
    }

    pub(crate) async fn create(
        &mut self,
        pod: &str,
        config: ContainerConfig,
    ) -> Result<String, Status> {
        let request = CreateContainerRequest {
            pod_sandbox_id: pod.to_string(),
            config: Some(config),
            sandbox_config: None,
        };
        Ok(self
            .runtime
            .create_container(request)
            .await?
            .into_inner()
            .container_id)
    }

    pub(crate) async fn start_container(&mut self, id: &str) -> Result<(), Status> {
        let container_id = id.to_string();
        let request = StartContainerRequest { container_id };
        self.runtime.start_container(request).await.map(drop)
    }

    pub(crate) async fn stop_container(&mut self, id: &str, timeout: i64) -> Result<(), Status> {
        let container_id = id.to_string();
        let request = StopContainerRequest {
            container_id,
            timeout,
        };
        self.runtime.stop_container(request).await.map(drop)
    }

    pub(crate) async fn remove_container(&mut self, id: &str) -> Result<(), Status> {
        let container_id = id.to_string();
        let request = RemoveContainerRequest { container_id };
        self.runtime.remove_container(request).await.map(drop)
    }

    pub(crate) async fn status(&mut self, id: &str) -> Result<ContainerStatus, Status> {
        let request = ContainerStatusRequest {
            container_id: id.to_string(),
            verbose: true,
        };
        let response = self.runtime.container_status(request).await?.into_inner();
        Ok(response.status.unwrap())
    }

    /// Its status once it has exited.
    pub(crate) async fn exited(&mut self, id: &str) -> ContainerStatus {
        loop {
            let status = self.status(id).await.unwrap();
            if status.state() == ContainerState::ContainerExited {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// All containers that are listed.
    pub(crate) async fn containers(&mut self) -> Vec<Container> {
        let request = ListContainersRequest::default();
        self.runtime
            .list_containers(request)
            .await
            .unwrap()
            .into_inner()
            .containers
    }

    /// A running pod and a running container in it.
    pub(crate) async fn running(&mut self) -> (String, String) {
        let pod = self.run_pod(pod("web")).await.unwrap();
        let config = container("main", &self.image);
        let container = self.create(&pod, config).await.unwrap();
        self.start_container(&container).await.unwrap();
        (pod, container)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.runtime.shutdown_background();
        }
    }
}

/// A server on a runtime of its own, so that it can be killed.
struct Running {
    runtime: Runtime,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

fn runtime_client(channel: &Channel) -> RuntimeServiceClient<Channel> {
    RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE + 1024)
}

/// One that nobody listens on.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

async fn serve(config: Config, world: &World) -> (Running, Channel) {
    let socket = config.socket.clone();
    let world = world.clone();
    let runtime = Runtime::new().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let ready = runtime.spawn(async move {
        let server = CriServer::start(parts(config.clone(), world).await).await;
        (server.unwrap(), Listening::on(&config.socket).unwrap())
    });
    let (server, listening) = ready.await.unwrap();
    let stop_asked = async { stopped.await.unwrap() };
    let served = runtime.spawn(async move { listening.serve(server, stop_asked).await.unwrap() });
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap();
    let running = Running {
        runtime,
        stop,
        served,
    };
    (running, endpoint.connect().await.unwrap())
}

async fn parts(config: Config, world: World) -> Parts {
    let sandboxer: Arc<dyn Sandboxer> = Arc::new(world);
    Parts {
        handlers: Handlers::new([("memory".into(), sandboxer)].into(), "memory"),
        images: Images::open(config.images.clone()).await.unwrap(),
        network: Network::open(config.network.clone()).await.unwrap(),
        state: State::open(&config.state_dir.join("state.db")).unwrap(),
        config,
    }
}

fn config(directory: &Path, metrics: SocketAddr, network: ConnectedBy) -> Config {
    let at = |name: &str| directory.join(name).display().to_string();
    std::fs::create_dir_all(at("state")).unwrap();
    let (mode, template) = match network {
        ConnectedBy::Nobody => ("loopback", String::new()),
        ConnectedBy::Plugins => ("cni", String::new()),
        ConnectedBy::Template => ("cni", at("template")),
    };
    let text = format!(
        "socket = {:?}\nstate_dir = {:?}\nruntime_dir = {:?}\nadopt_timeout_s = 2\nstop_timeout_s = 2\n\
         [metrics]\naddress = \"{metrics}\"\n[streaming]\naddress = \"127.0.0.1:0\"\n[network]\nmode = \"{mode}\"\nnamespace_dir = {:?}\n\
         [network.cni]\nconf_dir = {:?}\nplugin_dirs = [{:?}]\ncache_dir = {:?}\nconf_template = {template:?}\n[images]\nroot_dir = {:?}\nrun_dir = {:?}\nhosts_dirs = []\n\
         min_free_mib = 0\nretries = 0",
        at("run/cri.sock"),
        at("state"),
        at("run"),
        at("netns"),
        at("net.d"),
        at("bin"),
        at("cni"),
        at("images"),
        at("mounts"),
    );
    Config::parse(&text, Path::new("test")).unwrap()
}

/// A pod in the network of the node, so that nothing here needs root.
pub(crate) fn pod(name: &str) -> PodSandboxConfig {
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: name.into(),
            uid: "uid".into(),
            namespace: "default".into(),
            attempt: 0,
        }),
        labels: [("app".to_string(), name.to_string())].into(),
        linux: Some(LinuxPodSandboxConfig {
            security_context: Some(LinuxSandboxSecurityContext {
                namespace_options: Some(NamespaceOption {
                    network: NamespaceMode::Node.into(),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub(crate) fn container(name: &str, image_name: &str) -> ContainerConfig {
    ContainerConfig {
        metadata: Some(ContainerMetadata {
            name: name.into(),
            attempt: 0,
        }),
        image: Some(image(image_name)),
        labels: [("container".to_string(), name.to_string())].into(),
        ..Default::default()
    }
}

pub(crate) fn image(name: &str) -> ImageSpec {
    ImageSpec {
        image: name.into(),
        ..Default::default()
    }
}

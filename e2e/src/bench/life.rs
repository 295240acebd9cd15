//! The life of a pod with one container, each call timed.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_cri::v1::{
    ContainerConfig, CreateContainerRequest, ExecSyncRequest, NamespaceMode, PodSandboxConfig,
    RemovePodSandboxRequest, RunPodSandboxRequest, StartContainerRequest, StopContainerRequest,
    StopPodSandboxRequest, VersionRequest,
};
use tonic::{Response, Status};

use super::servers::Side;
use super::values::tell_time;
use crate::runtime::{container_config, pod_config};

/// What takes longer than this does not work.
const LIMIT: Duration = Duration::from_secs(300);

/// What containers run.
pub(super) const WORKLOAD: [&str; 2] = ["sleep", "1000000"];

/// All calls until the container runs.
pub(super) const UNTIL_RUNNING: &str = "until it runs";

/// A pod whose container runs, and how long each call took so far.
pub(super) struct Life {
    side: Side,
    config: PodSandboxConfig,
    pod_id: String,
    container_id: String,
    steps: Vec<(&'static str, Duration)>,
}

impl Life {
    /// Runs a pod and a container in it. The image has been pulled.
    pub(super) async fn begin(side: &Side, network: NamespaceMode) -> Result<Self> {
        let config = pod(network)?;
        // As the kubelet does.
        fs::create_dir_all(&config.log_directory).context("make the log directory")?;
        let mut life = Self {
            side: side.clone(),
            config,
            pod_id: String::new(),
            container_id: String::new(),
            steps: Vec::new(),
        };
        life.version().await?;
        life.run_pod().await?;
        life.create_container(network).await?;
        let mut client = life.side.runtime.runtime.clone();
        let container_id = life.container_id.clone();
        let call = client.start_container(StartContainerRequest { container_id });
        life.time("StartContainer", call).await?;
        // Without the call that does nothing.
        let until_running = life.steps.iter().skip(1).map(|(_, took)| *took).sum();
        life.steps.push((UNTIL_RUNNING, until_running));
        Ok(life)
    }

    /// What a call costs that does nothing.
    async fn version(&mut self) -> Result<()> {
        let mut client = self.side.runtime.runtime.clone();
        let call = client.version(VersionRequest::default());
        self.time("Version", call).await?;
        Ok(())
    }

    async fn run_pod(&mut self) -> Result<()> {
        let mut client = self.side.runtime.runtime.clone();
        let request = RunPodSandboxRequest {
            config: Some(self.config.clone()),
            runtime_handler: self.side.handler.to_owned(),
        };
        let call = client.run_pod_sandbox(request);
        self.pod_id = self.time("RunPodSandbox", call).await?.pod_sandbox_id;
        Ok(())
    }

    async fn create_container(&mut self, network: NamespaceMode) -> Result<()> {
        let mut client = self.side.runtime.runtime.clone();
        let request = CreateContainerRequest {
            pod_sandbox_id: self.pod_id.clone(),
            config: Some(container(network, &WORKLOAD)?),
            sandbox_config: Some(self.config.clone()),
        };
        let call = client.create_container(request);
        self.container_id = self.time("CreateContainer", call).await?.container_id;
        Ok(())
    }

    /// The pod's id.
    pub(super) fn pod_id(&self) -> &str {
        &self.pod_id
    }

    /// Runs `true` in the container.
    pub(super) async fn exec_true(&mut self) -> Result<()> {
        let mut client = self.side.runtime.runtime.clone();
        let request = ExecSyncRequest {
            container_id: self.container_id.clone(),
            cmd: vec!["true".to_owned()],
            timeout: 60,
        };
        let done = self
            .time("ExecSync true", client.exec_sync(request))
            .await?;
        ensure!(done.exit_code == 0, "true ended with {}", done.exit_code);
        Ok(())
    }

    /// Stops and removes the pod, and returns how long each call of its life took.
    pub(super) async fn end(mut self) -> Result<Vec<(&'static str, Duration)>> {
        let mut client = self.side.runtime.runtime.clone();
        // Killed at once: how long a process takes to end itself is its own affair.
        let request = StopContainerRequest {
            container_id: self.container_id.clone(),
            timeout: 0,
        };
        let call = client.stop_container(request);
        self.time("StopContainer", call).await?;
        let pod_sandbox_id = self.pod_id.clone();
        let mut client = self.side.runtime.runtime.clone();
        let call = client.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id });
        self.time("StopPodSandbox", call).await?;
        let pod_sandbox_id = self.pod_id.clone();
        let mut client = self.side.runtime.runtime.clone();
        let call = client.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id });
        self.time("RemovePodSandbox", call).await?;
        fs::remove_dir_all(&self.config.log_directory).context("remove the logs")?;
        Ok(self.steps)
    }

    async fn time<T>(
        &mut self,
        step: &'static str,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T> {
        let begin = Instant::now();
        let answer = tokio::time::timeout(LIMIT, call).await;
        self.steps.push((step, begin.elapsed()));
        let context = || format!("{}: {step}", self.side.name);
        let answer = answer.with_context(context)?;
        Ok(answer.with_context(context)?.into_inner())
    }
}

/// Tells how long each step took.
pub(super) fn tell_steps(side: &Side, steps: &[(&'static str, Duration)]) -> Result<()> {
    for (step, took) in steps {
        tell_time(&side.name, step, *took)?;
    }
    Ok(())
}

/// A pod in this network.
pub(super) fn pod(network: NamespaceMode) -> Result<PodSandboxConfig> {
    let mut config = pod_config("bench");
    let linux = config.linux.as_mut().context("linux")?;
    let security = linux.security_context.as_mut().context("security")?;
    let namespaces = security.namespace_options.as_mut().context("namespaces")?;
    namespaces.network = network.into();
    if network == NamespaceMode::Node {
        // The name of the node's is the pod's then.
        config.hostname.clear();
    }
    Ok(config)
}

/// A container of such a pod.
pub(super) fn container(network: NamespaceMode, command: &[&str]) -> Result<ContainerConfig> {
    let mut config = container_config("main", command);
    let linux = config.linux.as_mut().context("linux")?;
    let security = linux.security_context.as_mut().context("security")?;
    let namespaces = security.namespace_options.as_mut().context("namespaces")?;
    namespaces.network = network.into();
    Ok(config)
}

//! A pod that tests share, one after the other: where it is a machine, it takes long to boot.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;

use anyhow::{Context, Result};
use k8s_cri::v1::{
    ContainerFilter, ListContainersRequest, PodSandboxConfig, PodSandboxState,
    PodSandboxStatusRequest, RemoveContainerRequest,
};
use tonic::Code;

use super::{Pod, Runtime, pod_config};

/// Ids and configs, by handler.
static PODS: Mutex<BTreeMap<String, (String, PodSandboxConfig)>> = Mutex::new(BTreeMap::new());

impl Runtime {
    /// A running pod under `handler` without containers, for tests that leave it as it is.
    pub async fn shared_pod(&mut self, handler: &str) -> Result<Pod> {
        if let Some(mut pod) = self.last_pod(handler) {
            if self.is_ready(&pod.id).await? {
                // Of a test that failed.
                pod.clear().await?;
                return Ok(pod);
            }
            pod.finish().await?;
        }
        let pod = self.run_pod(handler, &pod_config("shared")).await?;
        let known = (pod.id.clone(), pod.config.clone());
        let mut pods = PODS.lock().expect("nobody panics with it");
        pods.insert(handler.to_owned(), known);
        Ok(pod)
    }

    fn last_pod(&self, handler: &str) -> Option<Pod> {
        let pods = PODS.lock().expect("nobody panics with it");
        let (id, config) = pods.get(handler).cloned()?;
        let runtime = self.clone();
        Some(Pod {
            id,
            config,
            runtime,
        })
    }

    async fn is_ready(&mut self, pod: &str) -> Result<bool> {
        let request = PodSandboxStatusRequest {
            pod_sandbox_id: pod.to_owned(),
            verbose: false,
        };
        match self.runtime.pod_sandbox_status(request).await {
            Ok(response) => {
                let status = response.into_inner().status.context("a status")?;
                Ok(status.state() == PodSandboxState::SandboxReady)
            }
            Err(status) if status.code() == Code::NotFound => Ok(false),
            Err(status) => Err(status).context("ask for a pod's status"),
        }
    }
}

impl Pod {
    /// Removes its containers and their logs.
    pub async fn clear(&mut self) -> Result<()> {
        let filter = ContainerFilter {
            pod_sandbox_id: self.id.clone(),
            ..Default::default()
        };
        let request = ListContainersRequest {
            filter: Some(filter),
        };
        let list = self.runtime.runtime.list_containers(request).await?;
        for container in list.into_inner().containers {
            let request = RemoveContainerRequest {
                container_id: container.id,
            };
            let removed = self.runtime.runtime.remove_container(request).await;
            removed.context("remove container")?;
        }
        for log in fs::read_dir(&self.config.log_directory)
            .into_iter()
            .flatten()
        {
            fs::remove_file(log?.path())?;
        }
        Ok(())
    }
}

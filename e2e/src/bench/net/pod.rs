//! A pod that is measured.

use std::net::IpAddr;

use anyhow::{Context, Result};
use k8s_cri::v1::PodSandboxStatusRequest;

use super::{LONG_SEGMENTS, SERVE};
use crate::bench::servers::Side;
use crate::images::services::IPERF3;
use crate::runtime::{self, container_config, pod_config, spec};

/// While it runs.
pub(super) struct Pod {
    pod: runtime::Pod,
    /// Its main address.
    pub(super) ip: IpAddr,
}

impl Pod {
    pub(super) async fn run(side: &Side) -> Result<Self> {
        let mut runtime = side.runtime.clone();
        let mut config = pod_config("bench-net");
        let (name, value) = LONG_SEGMENTS;
        let linux = config.linux.get_or_insert_default();
        linux.sysctls.insert(name.to_owned(), value.to_owned());
        // As the kubelet does.
        std::fs::create_dir_all(&config.log_directory).context("make the log directory")?;
        let mut pod = runtime.run_pod(side.handler, &config).await?;
        let mut container = container_config("serve", &["sh", "-c", SERVE]);
        container.image = Some(spec(IPERF3));
        pod.start(&container).await?;
        let request = PodSandboxStatusRequest {
            pod_sandbox_id: pod.id.clone(),
            verbose: false,
        };
        let status = runtime.runtime.pod_sandbox_status(request).await?;
        let status = status.into_inner().status.context("a status")?;
        let ip = status.network.context("a network")?.ip;
        let ip = ip.parse().with_context(|| format!("read address {ip:?}"))?;
        Ok(Self { pod, ip })
    }

    pub(super) async fn end(self) -> Result<()> {
        self.pod.finish().await
    }
}

//! A pod that serves its own name, and is told its addresses.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use e2e::runtime::{Container, Pod, Runtime, container_config};
use k8s_cri::v1::{PodSandboxConfig, PodSandboxStatusRequest};

use super::node;

/// Serves the host's name, on every address.
const SERVE: &str =
    "mkdir /tmp/www; hostname > /tmp/www/index.html; exec httpd -f -p 80 -h /tmp/www";

/// The pod, its container, and its addresses as the status has them.
pub(super) struct Web {
    pub(super) pod: Pod,
    pub(super) container: Container,
    pub(super) ips: Vec<IpAddr>,
}

impl Web {
    pub(super) async fn run(
        runtime: &mut Runtime,
        handler: &str,
        config: &PodSandboxConfig,
    ) -> Result<Self> {
        let mut pod = runtime.run_pod(handler, config).await?;
        let container = pod
            .start(&container_config("web", &["sh", "-c", SERVE]))
            .await?;
        let web = Self {
            ips: ips(runtime, &pod.id).await?,
            container,
            pod,
        };
        web.listens().await?;
        Ok(web)
    }

    /// What it serves.
    pub(super) fn page(&self) -> String {
        format!("{}\n", self.pod.config.hostname)
    }

    /// Its main address.
    pub(super) fn ip(&self) -> Result<IpAddr> {
        self.ips.first().copied().context("a pod has an address")
    }

    /// Waits until it serves: starting a container is not yet listening.
    async fn listens(&self) -> Result<()> {
        let address = (self.ip()?, 80);
        let mut answer = Err(anyhow::anyhow!("not tried"));
        for _ in 0..100 {
            answer = node::get(address).await;
            if answer.is_ok() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        ensure!(answer? == self.page(), "it serves its name");
        Ok(())
    }

    /// The pages at `http://address:port/`, one line each, as a client in this pod gets them.
    pub(super) async fn get_all(&mut self, addresses: &[(IpAddr, u16)]) -> Result<Vec<String>> {
        let urls = addresses
            .iter()
            .map(|(ip, port)| format!("http://{}:{port}/", node::host(ip)));
        let script: Vec<String> = urls
            .map(|url| format!("timeout 30 wget -q -O - {url} || echo no answer from {url}"))
            .collect();
        let pages = self
            .container
            .output(&["sh", "-c", &script.join("; ")])
            .await?;
        Ok(pages.lines().map(str::to_owned).collect())
    }
}

/// The addresses of a pod, the main one first.
pub(super) async fn ips(runtime: &mut Runtime, pod_id: &str) -> Result<Vec<IpAddr>> {
    let request = PodSandboxStatusRequest {
        pod_sandbox_id: pod_id.to_owned(),
        verbose: false,
    };
    let status = runtime.runtime.pod_sandbox_status(request).await?;
    let status = status.into_inner().status.context("a status")?;
    let network = status.network.context("a network")?;
    let others = network.additional_ips.iter().map(|other| &other.ip);
    std::iter::once(&network.ip)
        .chain(others)
        .map(|ip| ip.parse().with_context(|| format!("read address {ip:?}")))
        .collect()
}

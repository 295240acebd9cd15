//! A pod whose ports send, take and echo.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_cri::v1::NamespaceMode;

use crate::bench::life;
use crate::bench::servers::Side;
use crate::runtime::{Container, Pod};
use crate::spdy::Connection;

/// The first port of the first pod. Those in the node's network must not meet.
const PORTS: u16 = 9100;
const PORTS_EACH: u16 = 10;

/// For the ports to be there, in an emulated machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A pod that runs, with what it can be asked for.
pub(super) struct Workload {
    /// Whose it is, in the table.
    pub(super) side: String,
    pub(super) pod: Pod,
    pub(super) container: Container,
    /// How much is sent and taken at once.
    pub(super) mib: u64,
    /// Sends that much and closes the connection.
    pub(super) source: u16,
    /// Takes that much, and says so. It does not wait for an end, which not all servers tell one by one.
    pub(super) sink: u16,
    /// Sends everything back.
    pub(super) echo: u16,
}

impl Workload {
    /// Starts the pod and waits until its ports are there.
    pub(super) async fn start(
        side: Side,
        network: NamespaceMode,
        index: usize,
        mib: u64,
    ) -> Result<Self> {
        let first = PORTS + PORTS_EACH * u16::try_from(index)?;
        let (source, sink, echo) = (first, first + 1, first + 2);
        let script = format!(
            "nc -ll -p {source} -e sh -c 'dd if=/dev/zero bs=64k count={} 2>/dev/null' & \
             nc -ll -p {sink} -e sh -c 'dd of=/dev/null bs=64k iflag=fullblock count={} 2>/dev/null; echo done' & \
             nc -ll -p {echo} -e cat & \
             exec sleep 1000000",
            mib * 16,
            mib * 16
        );
        let config = life::pod(network)?;
        // As the kubelet does.
        std::fs::create_dir_all(&config.log_directory)?;
        let mut runtime = side.runtime.clone();
        let mut pod = runtime.run_pod(side.handler, &config).await?;
        let command = ["sh", "-c", &script];
        let container = pod.start(&life::container(network, &command)?).await?;
        let mut workload = Self {
            side: side.name,
            pod,
            container,
            mib,
            source,
            sink,
            echo,
        };
        workload.wait().await?;
        Ok(workload)
    }

    async fn wait(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        // The one that comes last.
        let port = self.echo;
        loop {
            let mut client = self.ports().await?;
            let streams = client.open_port(port, 0).await?;
            client.finish(streams.data).await?;
            // Some servers end the whole connection when a port refuses.
            let said = client.collect(&[streams.error]).await;
            if said.is_ok_and(|said| said.values().all(Vec::is_empty)) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{}: no port {port}", self.side);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// A connection for ports of the pod.
    pub(super) async fn ports(&mut self) -> Result<Connection> {
        let url = self.pod.ports_url(&[]).await?;
        Connection::connect(&url, "portforward.k8s.io").await
    }

    /// Stops and removes it.
    pub(super) async fn end(mut self) -> Result<()> {
        self.container.stop(0).await?;
        self.pod.finish().await
    }
}

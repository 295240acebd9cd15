//! Ports of the node that lead into pods.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use e2e::images::services::IPERF3;
use e2e::runtime::{Runtime, container_config, pod_config, spec};
use k8s_cri::v1::{PortMapping, Protocol};
use serde_json::Value;

use super::node;
use super::outside::{NODE, Outside};
use super::web::Web;

const PATIENCE: Duration = Duration::from_secs(30);
const PORT: u16 = 18080;
const PORT_OF_LOOPBACK: u16 = 18081;
/// Of iperf3, which talks over TCP about what it sends over UDP.
const PORT_OF_BOTH: u16 = 18201;

under_every_handler!(a_host_port_leads_into_the_pod_from_outside_and_from_loopback);

async fn a_host_port_leads_into_the_pod_from_outside_and_from_loopback(
    handler: &str,
) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let outside = Outside::connect()?;
    let mut config = pod_config("ports");
    config.port_mappings = vec![
        mapping(Protocol::Tcp, PORT, 80, ""),
        mapping(Protocol::Tcp, PORT_OF_LOOPBACK, 80, "127.0.0.1"),
        mapping(Protocol::Tcp, PORT_OF_BOTH, 5201, ""),
        mapping(Protocol::Udp, PORT_OF_BOTH, 5201, ""),
    ];
    let mut web = Web::run(&mut runtime, handler, &config).await?;

    for address in NODE {
        assert_eq!(outside.get(address, PORT)?, web.page(), "{address}");
    }
    for port in [PORT, PORT_OF_LOOPBACK] {
        let loopback = SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(node::get(loopback).await?, web.page(), "{port}");
    }
    let refused = outside.get(NODE[0], PORT_OF_LOOPBACK);
    assert!(refused.is_err(), "only for the loopback: {refused:?}");

    let mut iperf = container_config("iperf", &["iperf3", "--server"]);
    iperf.image = Some(spec(IPERF3));
    web.pod.start(&iperf).await?;
    let received = datagrams(&outside)?;
    assert!(received > 0, "{received}");

    web.pod.finish().await?;
    for address in NODE {
        let refused = outside.get(address, PORT);
        assert!(refused.is_err(), "{address}: {refused:?}");
    }
    Ok(())
}

fn mapping(protocol: Protocol, host_port: u16, container_port: i32, host_ip: &str) -> PortMapping {
    PortMapping {
        protocol: protocol.into(),
        container_port,
        host_port: host_port.into(),
        host_ip: host_ip.to_owned(),
    }
}

/// How many datagrams the pod has received through the node.
fn datagrams(outside: &Outside) -> Result<u64> {
    let load = format!(
        "iperf3 --json --udp --bitrate 1M --time 1 --client {} --port {PORT_OF_BOTH}",
        NODE[0]
    );
    let mut told = Ok(Value::Null);
    // Starting a container is not yet listening, which iperf3 tells in words only: its exit code is 0.
    for _ in 0..PATIENCE.as_secs() {
        told = outside
            .run(&load)
            .and_then(|told| Ok(serde_json::from_str::<Value>(&told)?));
        let sum = told
            .as_ref()
            .map_or(&Value::Null, |told| &told["end"]["sum"]);
        if let (Some(sent), Some(lost)) = (sum["packets"].as_u64(), sum["lost_packets"].as_u64()) {
            return Ok(sent - lost);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    bail!("iperf3 says nothing of datagrams: {}", told?)
}

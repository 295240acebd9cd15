//! Ports of the node that lead into pods.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use e2e::runtime::{Runtime, pod_config};
use k8s_cri::v1::{PortMapping, Protocol};

use super::node;
use super::outside::{NODE, Outside};
use super::web::Web;

const PATIENCE: Duration = Duration::from_secs(30);
const PORT: u16 = 18080;

under_every_handler!(a_host_port_leads_into_the_pod_from_outside_and_from_loopback);

async fn a_host_port_leads_into_the_pod_from_outside_and_from_loopback(
    handler: &str,
) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let outside = Outside::connect()?;
    let mut config = pod_config("ports");
    config.port_mappings.push(PortMapping {
        protocol: Protocol::Tcp.into(),
        container_port: 80,
        host_port: PORT.into(),
        host_ip: String::new(),
    });
    let web = Web::run(&mut runtime, handler, &config).await?;

    for address in NODE {
        assert_eq!(outside.get(address, PORT)?, web.page(), "{address}");
    }
    let loopback = SocketAddr::from(([127, 0, 0, 1], PORT));
    assert_eq!(node::get(loopback).await?, web.page());

    web.pod.finish().await?;
    for address in NODE {
        let refused = outside.get(address, PORT);
        assert!(refused.is_err(), "{address}: {refused:?}");
    }
    Ok(())
}

//! Pods of both kinds in one network, machines among them.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::runtime::{Runtime, pod_config};
use e2e::server;

use super::node::{self, Page};
use super::web::{Web, ips};

const PATIENCE: Duration = Duration::from_secs(30);

/// The node's addresses on the bridge of its network.
const NODE: [&str; 2] = ["10.88.0.1", "fd00:88::1"];

#[tokio::test]
async fn pods_of_every_kind_and_the_node_reach_each_other_over_both_protocols() -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut webs = Vec::new();
    for (handler, name) in [
        ("namespaced", "namespaced-1"),
        ("namespaced", "namespaced-2"),
        ("kvm", "kvm-1"),
        ("kvm", "kvm-2"),
    ] {
        let web = Web::run(&mut runtime, handler, &pod_config(name)).await?;
        webs.push(web.with_both_protocols()?);
    }
    from_the_node(&webs).await?;
    from_each_pod(&mut webs).await?;
    after_a_restart(&webs).await?;
    for web in webs {
        web.pod.finish().await?;
    }
    Ok(())
}

impl Web {
    fn with_both_protocols(self) -> Result<Self> {
        let one_each = self.ips.len() == 2 && self.ips[0].is_ipv4() && self.ips[1].is_ipv6();
        anyhow::ensure!(one_each, "{:?}", self.ips);
        Ok(self)
    }
}

async fn from_the_node(webs: &[Web]) -> Result<()> {
    for web in webs {
        for ip in &web.ips {
            assert_eq!(node::get((*ip, 80)).await?, web.page(), "{ip}");
        }
    }
    Ok(())
}

async fn from_each_pod(webs: &mut [Web]) -> Result<()> {
    let page = Page::serve("the node\n").await?;
    let (mut addresses, mut pages) = (Vec::new(), Vec::new());
    for web in webs.iter() {
        for ip in &web.ips {
            addresses.push((*ip, 80));
            pages.push(web.page().trim().to_owned());
        }
    }
    for address in NODE {
        let ip: IpAddr = address.parse().context("an address of the node")?;
        addresses.push((ip, page.port));
        pages.push("the node".to_owned());
    }
    for web in webs {
        let got = web.get_all(&addresses).await?;
        assert_eq!(got, pages, "from {}", web.pod.config.hostname);
    }
    Ok(())
}

async fn after_a_restart(webs: &[Web]) -> Result<()> {
    server::end("KILL").await?;
    server::start()?;
    let mut runtime = Runtime::connect(PATIENCE).await?;
    for web in webs {
        assert_eq!(ips(&mut runtime, &web.pod.id).await?, web.ips);
    }
    Ok(())
}

//! Everything of the node that the network of a pod could leave behind.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::node::output;

/// How long what is collected in the background may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is there at one time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Traces {
    pub(super) namespaces: BTreeSet<String>,
    pub(super) records: BTreeSet<String>,
    /// Given out by `host-local` in the network of the test.
    addresses: BTreeSet<String>,
    links: usize,
    rules: usize,
}

impl Traces {
    /// Of pods in `network`.
    pub(super) fn take(network: &str) -> Result<Self> {
        let of_pods = output("ip -brief link show type veth")?;
        let rules = output("iptables-save")? + &output("ip6tables-save")?;
        let mut addresses = names(&format!("/var/lib/cni/networks/{network}"));
        // Where `host-local` remembers what it gave last, and its lock.
        addresses.retain(|name| !name.starts_with("last_reserved_ip") && name != "lock");
        Ok(Self {
            namespaces: names("/run/netns"),
            records: names("/var/lib/cni/results"),
            addresses,
            links: of_pods.lines().count(),
            rules: rules.lines().filter(|line| line.starts_with("-A")).count(),
        })
    }

    /// That nothing has come since, or that it goes soon.
    pub(super) async fn are_all(&self, network: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = Self::take(network)?;
            if now == *self || Instant::now() > deadline {
                assert_eq!(now, *self, "left in network {network}");
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

fn names(directory: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

//! How long our own part of pods' networks takes on this machine, plugins aside: `network-setup [PODS]`, as root.
//!
//! An emulated node is some ten times slower than the CPUs it runs on, so this needs no node: it makes network
//! namespaces with a plugin of its own that connects each by a veth, and takes everything away again.

use std::error::Error;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use cri_api::v1::{PodSandboxConfig, PodSandboxMetadata};
use cri_server::config::Config;
use cri_server::network::Network;
use cri_server::pods::SavedNetwork;
use cri_server::sandbox_spec::SandboxPlan;
use sandbox::{Features, ImageForm, SandboxId, vm};

/// A plugin that needs nothing of the machine but iproute2.
const PLUGIN: &str = r#"#!/bin/sh
set -e
cat > /dev/null
case $CNI_COMMAND in
VERSION) echo '{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}' ;;
ADD)
  ip link add "veth$CNI_CONTAINERID" type veth peer name eth0 netns "$CNI_NETNS"
  ip link set "veth$CNI_CONTAINERID" up
  nsenter "--net=$CNI_NETNS" sh -ec 'ip address add 192.0.2.2/24 dev eth0; ip link set eth0 up;
    ip route add default via 192.0.2.1'
  echo '{"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": "'$CNI_NETNS'"}],
         "ips": [{"address": "192.0.2.2/24", "interface": 0}]}' ;;
esac
"#;
const NETWORK: &str =
    r#"{"cniVersion": "1.0.0", "name": "measured", "plugins": [{"type": "measured"}]}"#;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What one pod took.
struct Took {
    namespaced: Duration,
    wiring: Duration,
}

#[tokio::main]
async fn main() -> Result<()> {
    let pods = std::env::args()
        .nth(1)
        .map_or(Ok(100), |pods| pods.parse())?;
    let directory = tempfile::tempdir()?;
    let network = Network::open(config(directory.path())?.network).await?;
    let mut all = Vec::new();
    // The first is not counted: it reads from the disk.
    for number in 0..=pods {
        all.push(one(&network, &format!("{}x{number}", std::process::id())).await?);
    }
    let all = &all[1..];
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{pods} pods, ms of our own: least, median, 90th percentile"
    )?;
    for (what, took) in [
        (
            "namespaced: namespace, loopback, records",
            Took::namespaced as fn(&Took) -> Duration,
        ),
        ("for a machine: scan, TAP, redirection", Took::wiring),
        ("a machine, together", Took::together),
    ] {
        let mut took: Vec<_> = all.iter().map(took).collect();
        took.sort_unstable();
        let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
        writeln!(out, "{what:42} {:6.2} {:6.2} {:6.2}", at(0), at(50), at(90))?;
    }
    Ok(())
}

impl Took {
    fn namespaced(&self) -> Duration {
        self.namespaced
    }

    fn wiring(&self) -> Duration {
        self.wiring
    }

    fn together(&self) -> Duration {
        self.namespaced + self.wiring
    }
}

async fn one(network: &Network, id: &str) -> Result<Took> {
    let plan = plan(id)?;
    let begun = Instant::now();
    let namespace = network.create(&plan.pod.id).await?;
    let connected = network
        .connect(&plan.pod, &namespace, &plan.network)
        .await?;
    let namespaced = begun.elapsed().saturating_sub(connected.others);
    let wiring = vm::wire_network(&namespace).await;
    let made = SavedNetwork {
        namespace: Some(namespace),
        ips: connected.ips,
    };
    network.release(&plan.pod.id, &made).await?;
    Ok(Took {
        namespaced,
        wiring: wiring?,
    })
}

fn plan(id: &str) -> Result<SandboxPlan> {
    let config = PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: "measured".into(),
            uid: id.into(),
            namespace: "default".into(),
            attempt: 0,
        }),
        ..Default::default()
    };
    let features = Features {
        image_form: ImageForm::Extents,
        host_network: false,
        host_namespaces: false,
        recursive_read_only_mounts: true,
        user_namespaces: false,
    };
    let id = SandboxId(id.into());
    Ok(SandboxPlan::new(
        id,
        &config,
        "",
        &features,
        0,
        String::new(),
    )?)
}

/// Everything below `directory`.
fn config(directory: &Path) -> Result<Config> {
    for name in ["net.d", "bin"] {
        std::fs::create_dir(directory.join(name))?;
    }
    let plugin = directory.join("bin/measured");
    std::fs::write(&plugin, PLUGIN)?;
    std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755))?;
    std::fs::write(directory.join("net.d/10-measured.conflist"), NETWORK)?;
    let at = |name: &str| directory.join(name).display().to_string();
    let text = format!(
        "[network]\nnamespace_dir = {:?}\n[network.cni]\nconf_dir = {:?}\nplugin_dirs = [{:?}]\ncache_dir = {:?}\n",
        at("netns"),
        at("net.d"),
        at("bin"),
        at("cache"),
    );
    Ok(Config::parse(&text, Path::new("of this example"))?)
}

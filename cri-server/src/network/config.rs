//! What an operator may set for pods' networks.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Whose records and configuration files are ours, beside those of other runtimes.
const OWNER: &str = "bulkhead";

/// What an operator may set for pods' networks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who connects pods.
    pub mode: Mode,
    /// Directory where the network namespaces of pods can be found by name, as `ip netns` does.
    pub namespace_dir: PathBuf,
    /// Where network plugins are, and how long they may take.
    pub cni: CniConfig,
}

/// Who connects pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The network plugins of the node.
    Cni,
    /// Nobody: each pod has a namespace with a loopback interface only.
    Loopback,
}

/// Where network plugins are, and how long they may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CniConfig {
    /// Directory of network configurations. It may come, go and return.
    pub conf_dir: PathBuf,
    /// Directories with plugins, searched in this order.
    pub plugin_dirs: Vec<PathBuf>,
    /// Where attachments are recorded, for libcni's tools to read.
    pub cache_dir: PathBuf,
    /// The network to use by its name; empty means the first file by name.
    pub network: String,
    /// Most plugins that run at the same time.
    pub max_plugins: usize,
    /// How long connecting a pod may take, in seconds.
    pub add_timeout_s: u64,
    /// How long each plugin may take to disconnect a pod, in seconds.
    pub del_timeout_s: u64,
    /// How long each plugin may take for anything else, and all of them together to collect garbage, in
    /// seconds.
    pub query_timeout_s: u64,
    /// A configuration with places for the pod CIDR that the kubelet tells; empty means none.
    pub conf_template: PathBuf,
}

impl Config {
    /// All that is wrong with it, one sentence each.
    pub fn validate(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let dir = &self.namespace_dir;
        if !dir.is_absolute() {
            mistakes.push(format!(
                "network: namespace_dir = {dir:?} is not an absolute path"
            ));
        }
        let of_cni = self.cni.words().validate().into_iter();
        mistakes.extend(of_cni.map(|mistake| format!("network.cni: {mistake}")));
        mistakes
    }
}

impl CniConfig {
    /// In the words of the crate that runs plugins.
    pub(super) fn words(&self) -> cni::Config {
        let given = |text: &PathBuf| Some(text.clone()).filter(|text| !text.as_os_str().is_empty());
        cni::Config {
            conf_dir: self.conf_dir.clone(),
            plugin_dirs: self.plugin_dirs.clone(),
            cache_dir: self.cache_dir.clone(),
            owner: OWNER.to_owned(),
            network: Some(self.network.clone()).filter(|name| !name.is_empty()),
            max_plugins: self.max_plugins,
            add_timeout: Duration::from_secs(self.add_timeout_s),
            del_timeout: Duration::from_secs(self.del_timeout_s),
            query_timeout: Duration::from_secs(self.query_timeout_s),
            conf_template: given(&self.conf_template),
        }
    }
}

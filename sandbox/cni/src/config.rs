//! What whoever runs this crate decides.

use std::path::PathBuf;
use std::time::Duration;

use crate::attachment::is_name;

/// Where things are and how long they may take. There are no defaults; [`Config::validate`] finds mistakes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Directory of network configurations, usually `/etc/cni/net.d`. It may come, go and return.
    pub conf_dir: PathBuf,
    /// Directories with plugins, searched in this order, such as `/opt/cni/bin` and `/usr/lib/cni`.
    pub plugin_dirs: Vec<PathBuf>,
    /// Directory whose `results/` records attachments in libcni's format, usually `/var/lib/cni`.
    pub cache_dir: PathBuf,
    /// Written into each record. Garbage collection leaves the records of other owners alone, so
    /// that several runtimes may share `cache_dir`. Only one process at a time may be this owner:
    /// plugins that an earlier one left running are killed.
    pub owner: String,
    /// The network to use, by its name. Without one it is the first file by name that can be read.
    pub network: Option<String>,
    /// Most plugins that run at the same time, at least 2. A quarter of them, and at least one, is
    /// kept for DEL, so that many slow ADDs never keep addresses from being given back.
    pub max_plugins: usize,
    /// How long an ADD may take, over all plugins of the network and with waiting for its turn.
    pub add_timeout: Duration,
    /// How long each plugin may take for a DEL.
    pub del_timeout: Duration,
    /// How long each plugin may take for CHECK, STATUS and VERSION, and all plugins of a network
    /// together for GC, during which no attachment can be made or undone.
    pub query_timeout: Duration,
    /// A network configuration with places for the pod CIDR (see [`crate::Template`]), to be
    /// written to `conf_dir` by [`crate::Cni::set_pod_cidr`].
    pub conf_template: Option<PathBuf>,
}

impl Config {
    /// All that is wrong with it, one sentence each.
    pub fn validate(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let mut must = |good: bool, mistake: String| {
            if !good {
                mistakes.push(mistake);
            }
        };
        let named = [("conf_dir", &self.conf_dir), ("cache_dir", &self.cache_dir)];
        let plugin_dirs = self.plugin_dirs.iter().map(|dir| ("plugin_dirs", dir));
        let template = self
            .conf_template
            .iter()
            .map(|path| ("conf_template", path));
        for (key, path) in named.into_iter().chain(plugin_dirs).chain(template) {
            let mistake = format!("{key}: {path:?} is not an absolute path");
            must(path.is_absolute(), mistake);
        }
        // CNI_PATH separates them with colons.
        let colon = |dir: &PathBuf| dir.to_str().is_none_or(|dir| dir.contains(':'));
        must(
            !self.plugin_dirs.iter().any(colon),
            "plugin_dirs: a path has a colon, or is not UTF-8".into(),
        );
        must(
            !self.plugin_dirs.is_empty(),
            "plugin_dirs names no directory".into(),
        );
        must(
            is_name(&self.owner),
            format!("owner = {:?} is not a plain name", self.owner),
        );
        must(self.max_plugins >= 2, "max_plugins is less than 2".into());
        for (key, time) in [
            ("add_timeout", self.add_timeout),
            ("del_timeout", self.del_timeout),
            ("query_timeout", self.query_timeout),
        ] {
            must(!time.is_zero(), format!("{key} is 0"));
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let good = Config {
            conf_dir: "/etc/cni/net.d".into(),
            plugin_dirs: vec!["/opt/cni/bin".into()],
            cache_dir: "/var/lib/cni".into(),
            owner: "me".into(),
            network: None,
            max_plugins: 8,
            add_timeout: Duration::from_secs(120),
            del_timeout: Duration::from_secs(60),
            query_timeout: Duration::from_secs(10),
            conf_template: None,
        };
        assert_eq!(good.validate(), Vec::<String>::new());
        let bad = Config {
            conf_dir: "net.d".into(),
            plugin_dirs: vec!["/a:b".into()],
            owner: "../me".into(),
            max_plugins: 1,
            del_timeout: Duration::ZERO,
            ..good
        };
        assert_eq!(bad.validate().len(), 5, "{:?}", bad.validate());
    }
}

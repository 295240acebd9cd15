//! What the operator decides about images.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// The `[images]` table of the configuration file. It has no defaults: the shipped file is the default.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where images are kept. Only one server may use it; its file system is what the kubelet
    /// watches for image garbage collection.
    pub root_dir: PathBuf,
    /// Where images are mounted for containers; on tmpfs, so that a reboot clears it.
    pub run_dir: PathBuf,
    /// Directories with `<registry>/hosts.toml` in containerd's format, searched in this order.
    pub hosts_dirs: Vec<PathBuf>,
    /// Layers of one pull downloaded and converted at the same time.
    pub layers_per_pull: usize,
    /// Layers downloaded and converted at the same time over all pulls. Up to 8 pulls may work on
    /// one layer each beyond that, so that no registry that trickles holds up the pulls from others.
    /// This bounds memory: a hostile layer may take 256 MiB for its names and 128 MiB for its
    /// decompression. Images are merged from their layers one at a time.
    pub layers_at_once: usize,
    /// A registry that sends less than `stall_min_bytes` in so many seconds is given up on. Time
    /// in which the node itself was busy does not count.
    pub stall_timeout_seconds: u64,
    /// What a registry must send within `stall_timeout_seconds`; 1 means that any byte counts.
    pub stall_min_bytes: u64,
    /// How often a request is tried again, on all hosts of a registry, after network errors, 429
    /// and 5xx. A download that has made progress starts counting anew.
    pub retries: u32,
    /// Space on the file system of `root_dir` that pulls leave free.
    pub min_free_mib: u64,
    /// Largest uncompressed layer that is accepted.
    pub max_layer_mib: u64,
    /// How long layers of a failed pull are kept for the next try, unless a pull lacks space.
    pub keep_unfinished_seconds: u64,
    /// Names of images that the kubelet must never remove, with `*` for any text, such as
    /// `registry.example/base/*`.
    pub pinned: Vec<String>,
}

impl Config {
    /// Every mistake in the configuration, each naming its key; empty if there is none.
    pub fn validate(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let mut must = |good: bool, mistake: &str| {
            if !good {
                mistakes.push(mistake.to_owned());
            }
        };
        must(
            self.root_dir.is_absolute(),
            "root_dir must be an absolute path",
        );
        must(
            self.run_dir.is_absolute(),
            "run_dir must be an absolute path",
        );
        must(
            self.root_dir != self.run_dir,
            "root_dir and run_dir must differ",
        );
        must(
            self.hosts_dirs.iter().all(|dir| dir.is_absolute()),
            "hosts_dirs must hold absolute paths",
        );
        must(
            self.layers_per_pull > 0,
            "layers_per_pull must be at least 1",
        );
        must(
            self.layers_at_once >= self.layers_per_pull,
            "layers_at_once must be at least layers_per_pull",
        );
        // More would starve the blocking threads that everything else on the node uses.
        must(
            self.layers_at_once <= 64,
            "layers_at_once must be at most 64",
        );
        must(
            self.stall_timeout_seconds > 0,
            "stall_timeout_seconds must be at least 1",
        );
        must(
            self.stall_min_bytes > 0,
            "stall_min_bytes must be at least 1",
        );
        must(self.retries <= 20, "retries must be at most 20");
        must(self.max_layer_mib > 0, "max_layer_mib must be at least 1");
        must(
            self.pinned.iter().all(|glob| !glob.is_empty()),
            "pinned must not hold empty patterns",
        );
        mistakes
    }

    pub(crate) fn stall_timeout(&self) -> Duration {
        Duration::from_secs(self.stall_timeout_seconds)
    }

    pub(crate) fn keep_unfinished(&self) -> Duration {
        Duration::from_secs(self.keep_unfinished_seconds)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const GOOD: &str = r#"
        root_dir = "/var/lib/bulkhead/images"
        run_dir = "/run/bulkhead/images"
        hosts_dirs = ["/etc/bulkhead/certs.d"]
        layers_per_pull = 3
        layers_at_once = 6
        stall_timeout_seconds = 60
        stall_min_bytes = 1
        retries = 5
        min_free_mib = 512
        max_layer_mib = 65536
        keep_unfinished_seconds = 3600
        pinned = []
    "#;

    #[test]
    fn a_good_configuration_has_no_mistakes() {
        let config: Config = toml::from_str(GOOD).unwrap();
        assert_eq!(config.validate(), Vec::<String>::new());
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let mut config: Config = toml::from_str(GOOD).unwrap();
        config.root_dir = "images".into();
        config.layers_per_pull = 0;
        config.retries = 1000;
        assert_eq!(config.validate().len(), 3);
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(toml::from_str::<Config>(&format!("{GOOD}\nlayer_limit = 3")).is_err());
    }
}

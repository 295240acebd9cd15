//! What an operator may set for sandboxes made of host namespaces.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::{check_absolute, check_cgroup, check_positive};

/// What an operator may set for sandboxes made of host namespaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The `bulkhead-agent` program; each pod runs one as its supervisor.
    pub agent: PathBuf,
    /// Directory for records of living sandboxes; on tmpfs, so that a reboot of the node empties it.
    pub runtime_dir: PathBuf,
    /// cgroup below which pods go for which the kubelet names none, relative to the root of the hierarchy.
    pub cgroup_parent: String,
    /// Size of `/dev/shm`, which the containers of a pod share, in MiB.
    pub shm_mib: u64,
    /// A supervisor that does not answer within so many seconds of its start is given up.
    pub start_timeout_s: u64,
}

impl Config {
    /// All that is wrong with it, one sentence each.
    pub fn validate(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        check_absolute(&mut mistakes, "agent", &self.agent);
        check_absolute(&mut mistakes, "runtime_dir", &self.runtime_dir);
        check_cgroup(&mut mistakes, &self.cgroup_parent);
        check_positive(&mut mistakes, "shm_mib", self.shm_mib);
        check_positive(&mut mistakes, "start_timeout_s", self.start_timeout_s);
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Config {
        Config {
            agent: "/usr/libexec/bulkhead/bulkhead-agent".into(),
            runtime_dir: "/run/bulkhead/namespaced".into(),
            cgroup_parent: "/bulkhead".into(),
            shm_mib: 64,
            start_timeout_s: 30,
        }
    }

    #[test]
    fn a_good_config_has_no_mistakes() {
        assert_eq!(good().validate(), Vec::<String>::new());
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let bad = Config {
            agent: "bulkhead-agent".into(),
            cgroup_parent: "/a/../..".into(),
            shm_mib: 0,
            ..good()
        };
        assert_eq!(
            bad.validate(),
            [
                "agent = \"bulkhead-agent\" is not an absolute path",
                "cgroup_parent = \"/a/../..\" is not a path like \"/bulkhead\"",
                "shm_mib must be more than 0",
            ]
        );
    }
}

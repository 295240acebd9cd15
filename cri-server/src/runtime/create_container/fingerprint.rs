//! Two tries at one container are known to be the same, though the kubelet words each of them anew.

use cri_api::v1::ContainerConfig;
use prost::Message;
use sha2::{Digest, Sha256};

use crate::in_flight::Fingerprint;

/// Where the container leaves its last words, as the kubelet notes it on each container.
const MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";

/// What the container is to be, but for what differs between two tries.
pub(super) fn fingerprint(config: &ContainerConfig) -> Fingerprint {
    let mut same = config.clone();
    without_message_file(&mut same);
    in_order(&mut same);
    format!("{:x}", Sha256::digest(same.encode_to_vec()))
}

/// The kubelet makes a file with a random name for each try. It reads the one that `ContainerStatus`
/// names, so a joined try may well leave its own unused.
fn without_message_file(config: &mut ContainerConfig) {
    let path = config.annotations.get(MESSAGE_PATH);
    let mounts = config.mounts.iter_mut();
    for mount in mounts.filter(|mount| Some(&mount.container_path) == path) {
        mount.host_path.clear();
    }
}

/// The kubelet collects variables and devices in maps whose order changes from try to try. What has
/// the same name keeps its order, which decides who wins.
fn in_order(config: &mut ContainerConfig) {
    config.envs.sort_by(|a, b| a.key.cmp(&b.key));
    config
        .mounts
        .sort_by(|a, b| a.container_path.cmp(&b.container_path));
    config
        .devices
        .sort_by(|a, b| a.container_path.cmp(&b.container_path));
    config.cdi_devices.sort_by(|a, b| a.name.cmp(&b.name));
}

#[cfg(test)]
mod tests {
    use cri_api::v1::{KeyValue, Mount};

    use super::*;

    fn mount(container_path: &str, host_path: &str) -> Mount {
        Mount {
            container_path: container_path.into(),
            host_path: host_path.into(),
            ..Default::default()
        }
    }

    fn config(mounts: &[(&str, &str)], envs: &[(&str, &str)]) -> ContainerConfig {
        let env = |(key, value): &(&str, &str)| KeyValue {
            key: (*key).into(),
            value: (*value).into(),
        };
        ContainerConfig {
            annotations: [(MESSAGE_PATH.into(), "/dev/last-words".into())].into(),
            mounts: mounts.iter().map(|(at, from)| mount(at, from)).collect(),
            envs: envs.iter().map(env).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn another_file_for_the_last_words_is_no_other_container() {
        let first = config(&[("/dev/last-words", "/pods/1/web/aaaa")], &[]);
        let retry = config(&[("/dev/last-words", "/pods/1/web/bbbb")], &[]);
        assert_eq!(fingerprint(&first), fingerprint(&retry));
    }

    #[test]
    fn another_volume_is_another_container() {
        let first = config(&[("/data", "/volumes/a")], &[]);
        let other = config(&[("/data", "/volumes/b")], &[]);
        assert_ne!(fingerprint(&first), fingerprint(&other));
    }

    #[test]
    fn the_order_of_variables_tells_nothing_unless_they_have_one_name() {
        let print = |envs: &[(&str, &str)]| fingerprint(&config(&[], envs));
        assert_eq!(
            print(&[("A", "1"), ("B", "2")]),
            print(&[("B", "2"), ("A", "1")])
        );
        assert_ne!(
            print(&[("A", "1"), ("A", "2")]),
            print(&[("A", "2"), ("A", "1")])
        );
    }
}

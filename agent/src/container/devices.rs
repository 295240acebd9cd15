//! Which devices a container has, and may use: nodes in its /dev, and a filter on its cgroup.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use agent_api::v1;
use rustix::fs::{major, minor};

use super::mounts::STANDARD_NODES;
use crate::stage1::spec::Node;

mod filter;

/// Most nodes that one request may bring in by naming a directory.
const MOST_NODES: usize = 4096;

/// How deep directories of devices are searched.
const DEPTH: usize = 4;

/// Why a device can't be given.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeviceError {
    /// Nothing there.
    #[error("look at device {path}")]
    Look {
        /// Its path on the agent's side.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// Something else is there.
    #[error("{0} is neither a device nor a directory of devices")]
    NotADevice(String),
    /// Letters that mean nothing.
    #[error("device access {0:?} is not made of the letters r, w and m")]
    Access(String),
    /// Somebody named the root directory.
    #[error("more than {MOST_NODES} devices")]
    TooMany,
}

/// A container's devices.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    /// Nodes to make beside the standard ones.
    pub(crate) nodes: Vec<Node>,
    rules: Vec<filter::Rule>,
    all: bool,
}

impl Devices {
    /// What `container` asks for: the devices it names, or with privileges all there are.
    pub(crate) fn of(container: &v1::CreateContainerRequest) -> Result<Self, DeviceError> {
        let mut devices = Self {
            all: container.privileged,
            ..Self::default()
        };
        if container.privileged {
            devices.add_all_of_host();
        }
        for wanted in &container.devices {
            devices.add(wanted)?;
        }
        Ok(devices)
    }

    /// The program for the container's cgroup; `None` lets it use everything.
    pub(crate) fn filter(&self) -> Option<Vec<u64>> {
        (!self.all).then(|| filter::program(&filter::with_standard(&self.rules)))
    }

    fn add(&mut self, wanted: &v1::Device) -> Result<(), DeviceError> {
        let access = filter::Access::parse(&wanted.access)
            .ok_or_else(|| DeviceError::Access(wanted.access.clone()))?;
        let found = self.nodes.len();
        self.collect(Path::new(&wanted.source), &wanted.path, DEPTH, Depth::Named)?;
        let rules = self.nodes[found..].iter().map(|node| filter::Rule {
            block: node.block,
            number: Some((node.major, node.minor)),
            access,
        });
        self.rules.extend(rules);
        Ok(())
    }

    /// Adds the device at `source`, or those in it, as `path` in the container.
    fn collect(
        &mut self,
        source: &Path,
        path: &str,
        depth: usize,
        found: Depth,
    ) -> Result<(), DeviceError> {
        let shown = || source.display().to_string();
        let metadata = fs::metadata(source).map_err(|source| DeviceError::Look {
            path: shown(),
            source,
        })?;
        if metadata.is_dir() && depth > 0 {
            let entries = fs::read_dir(source).map_err(|source| DeviceError::Look {
                path: shown(),
                source,
            })?;
            for entry in entries.filter_map(Result::ok) {
                let Ok(name) = entry.file_name().into_string() else {
                    continue;
                };
                self.collect(
                    &entry.path(),
                    &format!("{path}/{name}"),
                    depth - 1,
                    Depth::Listed,
                )?;
            }
            return Ok(());
        }
        match node(&metadata, path) {
            Some(_) if self.nodes.len() == MOST_NODES => Err(DeviceError::TooMany),
            Some(node) => {
                self.nodes.push(node);
                Ok(())
            }
            None if found == Depth::Named => Err(DeviceError::NotADevice(shown())),
            None => Ok(()),
        }
    }

    /// A privileged container sees the nodes that the host's /dev has now. Some of them are its own.
    fn add_all_of_host(&mut self) {
        let Ok(entries) = fs::read_dir("/dev") else {
            return;
        };
        let own = [
            "pts", "shm", "mqueue", "fd", "console", "ptmx", "stdin", "stdout", "stderr",
        ];
        for entry in entries.filter_map(Result::ok) {
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let standard = STANDARD_NODES.iter().any(|node| node.name == name);
            let link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            if standard || link || own.contains(&name.as_str()) {
                continue;
            }
            // What vanishes while we look was not to be had.
            let _ = self.collect(&entry.path(), &format!("/dev/{name}"), DEPTH, Depth::Listed);
        }
    }
}

/// Whether something was asked for by its path or came along with its directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    Named,
    Listed,
}

fn node(metadata: &fs::Metadata, path: &str) -> Option<Node> {
    let kind = metadata.file_type();
    if !kind.is_block_device() && !kind.is_char_device() {
        return None;
    }
    Some(Node {
        path: path.to_owned(),
        block: kind.is_block_device(),
        major: major(metadata.rdev()),
        minor: minor(metadata.rdev()),
        mode: metadata.permissions().mode() & 0o777,
        uid: metadata.uid(),
        gid: metadata.gid(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(source: &str, access: &str) -> Result<Devices, DeviceError> {
        let device = v1::Device {
            path: "/dev/x".into(),
            source: source.into(),
            access: access.into(),
        };
        Devices::of(&v1::CreateContainerRequest {
            devices: vec![device],
            ..Default::default()
        })
    }

    #[test]
    fn a_device_is_given_under_its_new_name() {
        let devices = of("/dev/null", "rw").unwrap();
        let node = &devices.nodes[0];
        assert_eq!(
            (node.path.as_str(), node.block, node.major, node.minor),
            ("/dev/x", false, 1, 3)
        );
        assert!(devices.filter().is_some());
    }

    #[track_caller]
    fn check_refused(source: &str, access: &str, expected: &str) {
        assert_eq!(of(source, access).unwrap_err().to_string(), expected);
    }

    #[test]
    fn what_is_no_device_is_refused() {
        check_refused(
            "/etc/passwd",
            "r",
            "/etc/passwd is neither a device nor a directory of devices",
        );
        check_refused("/dev/nosuch", "r", "look at device /dev/nosuch");
        check_refused(
            "/dev/null",
            "rx",
            "device access \"rx\" is not made of the letters r, w and m",
        );
    }

    #[test]
    fn a_privileged_container_has_no_filter() {
        let container = v1::CreateContainerRequest {
            privileged: true,
            ..Default::default()
        };
        let devices = Devices::of(&container).unwrap();
        assert!(devices.filter().is_none());
        assert!(
            devices.nodes.iter().all(|node| node.path != "/dev/null"),
            "a standard node twice"
        );
    }
}

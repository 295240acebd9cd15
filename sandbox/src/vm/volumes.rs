//! Volumes of a container in a guest: what is copied into it, and what it shares with the node.
//!
//! The kubelet's own small volumes (Secrets, ConfigMaps, projected and downward-API volumes) and the files
//! that it keeps per pod are copied when the container is made. What the container leaves in the file for its
//! last words is copied out when it has ended. Everything else is the node's own, over virtio-fs
//! ([`super::shares`]).

use std::path::{Path, PathBuf};

use agent_api::v1;

use super::config::HostVolumes;
use super::shares::{Access, Wanted};
use crate::spec::{ImageFiles, MountSource, Propagation};
use crate::{ContainerSpec, Error, Kind, Mount, Result};

mod copy;

use copy::Budget;

/// The kubelet's volumes whose content is small, whole and read-only to the container.
const COPIED: [&str; 4] = [
    "kubernetes.io~secret",
    "kubernetes.io~configmap",
    "kubernetes.io~projected",
    "kubernetes.io~downward-api",
];

/// Files that the kubelet keeps for a pod, by where they go.
const POD_FILES: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];

/// Where the kubelet lets a container leave its last words, unless the pod says otherwise.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// What a container gets in place of its mounts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Volumes {
    /// Further images to mount: which, and where.
    pub(super) images: Vec<ImageMount>,
    /// File systems to hold the copies.
    pub(super) mounts: Vec<v1::Mount>,
    /// The copies.
    pub(super) files: Vec<v1::File>,
    /// What is the node's own.
    pub(super) shared: Vec<Wanted>,
    /// The file that the kubelet reads when the container has ended.
    pub(super) last_words: Option<LastWords>,
    /// Copies that the container may not change.
    pub(super) readonly_paths: Vec<String>,
    /// For people: what differs from a volume on the node.
    pub(super) notes: Vec<String>,
}

/// An image that is mounted as a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ImageMount {
    /// Its files.
    pub(super) files: ImageFiles,
    /// Where.
    pub(super) destination: String,
    /// What of it.
    pub(super) sub_path: String,
}

/// A file for what a container says of its end. It is made anew for each, and a guest that had it itself
/// could fill the node's disk with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LastWords {
    /// The node's file.
    pub(super) file: PathBuf,
    /// Where the container writes.
    pub(super) destination: String,
}

/// What `spec`'s mounts become in a guest, or which of them can't be had. Reads the files to copy.
pub(super) fn provide(spec: &ContainerSpec, host_volumes: HostVolumes) -> Result<Volumes> {
    let mut volumes = Volumes::default();
    let mut budget = Budget::default();
    for mount in &spec.mounts {
        match &mount.source {
            MountSource::Image { files, sub_path } => volumes.images.push(ImageMount {
                files: files.clone(),
                destination: mount.destination.clone(),
                sub_path: sub_path.clone(),
            }),
            MountSource::Host(path) => volumes.add(mount, path, host_volumes, &mut budget)?,
        }
    }
    if let Some(device) = spec.devices.first() {
        let doing = format!(
            "give {} to a machine: devices of the node can't be passed to a guest yet",
            device.host_path.display()
        );
        return Err(Error::new(Kind::Unsupported, doing));
    }
    Ok(volumes)
}

impl Volumes {
    fn add(
        &mut self,
        mount: &Mount,
        source: &Path,
        host_volumes: HostVolumes,
        budget: &mut Budget,
    ) -> Result<()> {
        let at = mount.destination.as_str();
        match kind(mount, source, host_volumes) {
            Volume::Tree => {
                let tree = copy::tree(source, at, budget)?;
                self.mounts.push(copy::holder(at, &tree));
                self.files.extend(tree);
                self.readonly_paths.push(at.to_owned());
                self.notes
                    .push(format!("{at} is a copy and does not follow updates"));
            }
            Volume::File => {
                self.files.push(copy::file(source, at, budget)?);
                if mount.readonly {
                    self.readonly_paths.push(at.to_owned());
                }
            }
            Volume::LastWords => {
                self.last_words = Some(LastWords {
                    file: source.to_owned(),
                    destination: at.to_owned(),
                });
            }
            Volume::Shared => self.shared.push(wanted(mount, source)?),
        }
        Ok(())
    }
}

/// What a mount of the node's is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Volume {
    /// A small directory of the kubelet's.
    Tree,
    /// A small file of the kubelet's.
    File,
    /// The file for a container's last words.
    LastWords,
    /// Anything else: it has to be the node's own.
    Shared,
}

fn kind(mount: &Mount, source: &Path, host_volumes: HostVolumes) -> Volume {
    let below = |names: &[&str]| {
        source
            .components()
            .filter_map(|part| part.as_os_str().to_str())
            .any(|part| names.contains(&part))
    };
    let is_file = source.is_file();
    // Of which volume a single file is, nothing tells; a copy is all that a machine without shares can have.
    let refused = host_volumes == HostVolumes::Refused;
    if is_file && !mount.readonly && is_for_last_words(mount, source) {
        Volume::LastWords
    } else if is_file && POD_FILES.contains(&mount.destination.as_str()) {
        Volume::File
    } else if !mount.readonly {
        Volume::Shared
    } else if is_file && (below(&COPIED) || refused && below(&["volume-subpaths"])) {
        Volume::File
    } else if !is_file && below(&COPIED) {
        Volume::Tree
    } else {
        Volume::Shared
    }
}

/// Whether it is where such a file is by default, or is what the kubelet makes for wherever the pod says:
/// `pods/<uid>/containers/<name>/<number>`.
fn is_for_last_words(mount: &Mount, source: &Path) -> bool {
    let mut above = source.ancestors().skip(2);
    let (containers, pods) = (above.next(), above.nth(1));
    let is = |place: Option<&Path>, name: &str| {
        place.is_some_and(|place| place.file_name().is_some_and(|found| found == name))
    };
    mount.destination == TERMINATION_LOG || is(containers, "containers") && is(pods, "pods")
}

fn wanted(mount: &Mount, source: &Path) -> Result<Wanted> {
    if mount.propagation == Propagation::Bidirectional {
        let doing = format!(
            "mount {} at {} with bidirectional propagation: what a guest mounts can't appear on the node; \
             mountPropagation may be None or HostToContainer",
            source.display(),
            mount.destination
        );
        return Err(Error::new(Kind::Unsupported, doing));
    }
    Ok(Wanted {
        destination: mount.destination.clone(),
        source: source.to_owned(),
        access: match (mount.readonly, mount.recursive_readonly) {
            (_, true) => Access::ReadOnlyTree,
            (true, false) => Access::ReadOnly,
            (false, false) => Access::Full,
        },
        follows_node: mount.propagation == Propagation::HostToContainer,
    })
}

#[cfg(test)]
mod tests;

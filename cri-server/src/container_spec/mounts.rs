//! Mounts as CRI asks for them: what is allowed, in which order they go, and where their sources are.

use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use cri_api::v1::{Mount as CriMount, MountPropagation};
use sandbox::Features;
use sandbox::spec::Propagation;

use crate::containers::SavedMount;
use crate::error::{Error, Kind, Result};

/// A mount that is allowed, its source not looked at yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedMount {
    /// As it is reported.
    pub saved: SavedMount,
    /// Whether mounts made later cross over.
    pub propagation: Propagation,
    /// What is mounted.
    pub source: PlannedSource,
}

impl PlannedMount {
    /// How deep it lies. What lies deeper is mounted later, so that it is not covered.
    pub fn depth(&self) -> usize {
        let components = Path::new(&self.saved.container_path).components();
        components
            .filter(|part| matches!(part, Component::Normal(_)))
            .count()
    }
}

/// What a planned mount mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlannedSource {
    /// A path of the node, as it was asked for.
    Host(PathBuf),
    /// An image by name or id, and a path inside it.
    Image {
        /// Name or id.
        image: String,
        /// Relative; empty means all of it.
        sub_path: String,
    },
}

/// Checks all mounts of a container. The order is CRI's.
pub(super) fn plan(mounts: &[CriMount], features: &Features) -> Result<Vec<PlannedMount>> {
    mounts
        .iter()
        .map(|mount| plan_one(mount, features))
        .collect()
}

/// Where a path of the node really is. What is missing is made, as a directory.
///
/// Blocks for as long as the file system below does, which may be on a server that is gone.
pub fn resolve(path: &Path) -> Result<PathBuf> {
    let failed = |error| {
        Error::caused(
            Kind::Invalid,
            format!("use {} as a volume", path.display()),
            error,
        )
    };
    match path.canonicalize() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            std::fs::create_dir_all(path).map_err(failed)?;
            path.canonicalize().map_err(failed)
        }
        found => found.map_err(failed),
    }
}

fn plan_one(mount: &CriMount, features: &Features) -> Result<PlannedMount> {
    let at = &mount.container_path;
    let refuse = |why: &str| Err(Error::invalid(format!("mount at {at:?}: {why}")));
    if !Path::new(at).is_absolute() || Path::new(at) == Path::new("/") || at.contains('\0') {
        return refuse("container_path is not an absolute path below /");
    }
    if !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty() {
        return refuse("id mappings need a user namespace, which no handler offers yet");
    }
    if !mount.mount_options.is_empty() {
        return refuse("mount_options are not offered in the runtime status");
    }
    let source = source(mount)?;
    check_recursive_read_only(mount, features)?;
    let image = match &source {
        PlannedSource::Host(_) => None,
        PlannedSource::Image { image, sub_path } => Some(crate::containers::ImageMount {
            name: image.clone(),
            id: String::new(),
            sub_path: sub_path.clone(),
        }),
    };
    Ok(PlannedMount {
        saved: SavedMount {
            container_path: at.clone(),
            host_path: mount.host_path.clone(),
            readonly: mount.readonly,
            recursive_read_only: mount.recursive_read_only,
            selinux_relabel: mount.selinux_relabel,
            propagation: mount.propagation,
            image,
        },
        propagation: propagation(mount.propagation())?,
        source,
    })
}

fn source(mount: &CriMount) -> Result<PlannedSource> {
    let at = &mount.container_path;
    let refuse = |why: &str| Err(Error::invalid(format!("mount at {at:?}: {why}")));
    let image = mount.image.as_ref().map_or("", |spec| &spec.image);
    match (image, mount.host_path.as_str()) {
        ("", "") => refuse("neither host_path nor image is given"),
        ("", path) if !Path::new(path).is_absolute() || path.contains('\0') => {
            refuse("host_path is not absolute")
        }
        ("", _) if !mount.image_sub_path.is_empty() => refuse("image_sub_path without an image"),
        ("", path) => Ok(PlannedSource::Host(path.into())),
        (_, path) if !path.is_empty() => refuse("both host_path and image are given"),
        _ if !mount.readonly => refuse("ImageVolumeMountFailed: images are mounted read-only"),
        (image, _) => Ok(PlannedSource::Image {
            image: image.to_string(),
            sub_path: sub_path(at, &mount.image_sub_path)?,
        }),
    }
}

fn sub_path(at: &str, path: &str) -> Result<String> {
    let stays_inside = Path::new(path)
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if stays_inside && !path.contains('\0') {
        return Ok(path.to_string());
    }
    Err(Error::invalid(format!(
        "mount at {at:?}: ImageVolumeMountFailed: image_sub_path {path:?} leads out of the image"
    )))
}

/// The three combinations that make no sense, and handlers that can't.
fn check_recursive_read_only(mount: &CriMount, features: &Features) -> Result<()> {
    let why = match mount {
        mount if !mount.recursive_read_only => return Ok(()),
        _ if !features.recursive_read_only_mounts => {
            "this handler can't mount recursively read-only"
        }
        mount if !mount.readonly => "recursive_read_only needs readonly",
        mount if mount.propagation() != MountPropagation::PropagationPrivate => {
            "recursive_read_only needs private propagation"
        }
        _ => return Ok(()),
    };
    let at = &mount.container_path;
    Err(Error::invalid(format!(
        "mount at {at:?}: RROUnsupported: {why}"
    )))
}

fn propagation(cri: MountPropagation) -> Result<Propagation> {
    Ok(match cri {
        MountPropagation::PropagationPrivate => Propagation::Private,
        MountPropagation::PropagationHostToContainer => Propagation::HostToContainer,
        MountPropagation::PropagationBidirectional => Propagation::Bidirectional,
    })
}

#[cfg(test)]
mod tests;

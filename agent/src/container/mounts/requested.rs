//! The mounts that were asked for.

use std::os::fd::{AsFd, OwnedFd};

use agent_api::v1;
use rustix::fs::{FileType, fstat};

use super::filesystem::{attach, copy, new, open_path, options};
use super::{MountError, propagation};
use crate::container::root::{Missing, Root};
use crate::sys::mount_attr::{MountAttr, Propagation, Reach};

/// A mount that is made but attached nowhere yet.
pub(super) struct Prepared {
    mount: OwnedFd,
    target: String,
    missing: Missing,
    /// Leave alone what is there.
    optional: bool,
}

/// Opens and makes all of `mounts`, in their order. Binds are copies of the host's mounts and belong to
/// their peer groups until told otherwise, so this comes before the namespace is cut off.
pub(super) fn prepare(mounts: &[v1::Mount]) -> Result<Vec<Prepared>, MountError> {
    mounts.iter().map(prepare_one).collect()
}

fn prepare_one(wanted: &v1::Mount) -> Result<Prepared, MountError> {
    if !wanted.destination.starts_with('/') {
        return Err(MountError::RelativeTarget(wanted.destination.clone()));
    }
    let (mount, missing) = match wanted.r#type.as_str() {
        "bind" => bind(wanted)?,
        "tmpfs" => (filesystem("tmpfs", wanted)?, Missing::Directory),
        "proc" => (filesystem("proc", wanted)?, Missing::Directory),
        "sysfs" => (filesystem("sysfs", wanted)?, Missing::Directory),
        "cgroup" => (filesystem("cgroup2", wanted)?, Missing::Directory),
        "mqueue" => (filesystem("mqueue", wanted)?, Missing::Directory),
        "devpts" => (filesystem("devpts", wanted)?, Missing::Directory),
        other => return Err(MountError::Kind(other.to_owned())),
    };
    Ok(Prepared {
        mount,
        target: wanted.destination.clone(),
        missing,
        optional: wanted.optional,
    })
}

fn filesystem(kind: &'static str, wanted: &v1::Mount) -> Result<OwnedFd, MountError> {
    new(kind, &options(&wanted.data), flags(wanted))
}

fn bind(wanted: &v1::Mount) -> Result<(OwnedFd, Missing), MountError> {
    let opened = || -> rustix::io::Result<(OwnedFd, Missing)> {
        let mut source = open_path(&wanted.source)?;
        if !wanted.sub_path.is_empty() {
            source = Root::at(source.as_fd()).resolve(&wanted.sub_path)?;
        }
        let missing = match FileType::from_raw_mode(fstat(&source)?.st_mode) {
            FileType::Directory => Missing::Directory,
            _ => Missing::File,
        };
        Ok((copy(source.as_fd(), Reach::Tree)?, missing))
    };
    let (mount, missing) = opened().map_err(|source| MountError::Source {
        path: described(wanted),
        source,
    })?;
    let change = |source| MountError::Change {
        target: wanted.destination.clone(),
        source,
    };
    let propagation = propagation(&wanted.propagation)?.unwrap_or(Propagation::Private);
    let attr = MountAttr {
        propagation: Some(propagation),
        ..MountAttr::default()
    };
    attr.apply(&mount, Reach::Tree).map_err(change)?;
    flags(wanted).apply(&mount, Reach::One).map_err(change)?;
    if wanted.recursive_readonly {
        let attr = MountAttr {
            readonly: true,
            ..MountAttr::default()
        };
        attr.apply(&mount, Reach::Tree).map_err(change)?;
    }
    Ok((mount, missing))
}

fn flags(wanted: &v1::Mount) -> MountAttr {
    MountAttr {
        readonly: wanted.readonly || wanted.recursive_readonly,
        nosuid: wanted.nosuid,
        nodev: wanted.nodev,
        noexec: wanted.noexec,
        propagation: None,
    }
}

fn described(wanted: &v1::Mount) -> String {
    if wanted.sub_path.is_empty() {
        wanted.source.clone()
    } else {
        format!("{} below {}", wanted.sub_path, wanted.source)
    }
}

impl Prepared {
    pub(super) fn attach(self, root: Root<'_>) -> Result<(), MountError> {
        if self.optional && root.resolve(&self.target).is_ok() {
            return Ok(());
        }
        attach(&self.mount, root, &self.target, self.missing)
    }
}

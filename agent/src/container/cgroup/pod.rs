//! The cgroup above those of a pod's containers.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{CgroupError, ROOT, write};

/// The controllers that containers are limited with, as far as the kernel has them.
const CONTROLLERS: [&str; 6] = ["cpu", "cpuset", "io", "memory", "pids", "hugetlb"];

/// The cgroup under which those of a pod's containers are made.
#[derive(Clone, Debug)]
pub(crate) struct PodCgroup {
    pub(super) path: PathBuf,
}

impl PodCgroup {
    /// Uses the cgroup at `relative`, and lets its children be limited with every controller it has.
    pub(crate) fn open(relative: &str) -> Result<Self, CgroupError> {
        let names: Vec<_> = relative
            .split('/')
            .filter(|name| !name.is_empty())
            .collect();
        if names.is_empty() || names.iter().any(|name| matches!(*name, "." | "..")) {
            return Err(CgroupError::Name(relative.to_owned()));
        }
        let path = names
            .iter()
            .fold(PathBuf::from(ROOT), |path, name| path.join(name));
        if let Err(source) = fs::create_dir(&path)
            && source.kind() != ErrorKind::AlreadyExists
        {
            return Err(CgroupError::Create { path, source });
        }
        delegate(&path)?;
        Ok(Self { path })
    }
}

/// Enables every controller that `path` has for its children.
pub(crate) fn delegate(path: &Path) -> Result<(), CgroupError> {
    let present = fs::read_to_string(path.join("cgroup.controllers")).unwrap_or_default();
    let file = path.join("cgroup.subtree_control");
    for controller in present
        .split_whitespace()
        .filter(|name| CONTROLLERS.contains(name))
    {
        write(file.clone(), format!("+{controller}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_cgroup_is_below_the_root_of_the_hierarchy() {
        for bad in ["", "/", "../x", "/a/../b", "a/./b"] {
            assert!(
                matches!(PodCgroup::open(bad), Err(CgroupError::Name(_))),
                "{bad}"
            );
        }
    }
}

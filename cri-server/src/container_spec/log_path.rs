//! Where a container's log goes: below the pod's log directory, and nowhere else.

use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};

/// The log of a container; `None` where pod or container name none.
pub(super) fn log_path(directory: &str, path: &str) -> Result<Option<PathBuf>> {
    if directory.is_empty() || path.is_empty() {
        return Ok(None);
    }
    let inside = Path::new(path)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if !inside || path.contains('\0') {
        return Err(Error::invalid(format!(
            "log_path {path:?} leads out of the pod's log directory"
        )));
    }
    Ok(Some(Path::new(directory).join(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: Option<Option<&str>>) {
        let found = log_path("/var/log/pods/x", path);
        assert_eq!(found.ok(), expected.map(|path| path.map(PathBuf::from)));
    }

    #[test]
    fn a_log_stays_below_the_pods_directory() {
        check("web/0.log", Some(Some("/var/log/pods/x/web/0.log")));
        check("", Some(None));
        check("../y/0.log", None);
        check("/etc/passwd", None);
        check("web/../../0.log", None);
    }
}

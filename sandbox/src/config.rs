//! What the configs of all kinds check alike.

use std::path::Path;

/// Paths in a config mean the same wherever the server was started.
pub(crate) fn check_absolute(mistakes: &mut Vec<String>, key: &str, path: &Path) {
    if !path.is_absolute() {
        mistakes.push(format!("{key} = {path:?} is not an absolute path"));
    }
}

/// A cgroup of ours needs a name: pods may not lie in the root, beside everything else.
pub(crate) fn check_cgroup(mistakes: &mut Vec<String>, cgroup: &str) {
    let named = cgroup
        .strip_prefix('/')
        .is_some_and(|rest| rest.split('/').all(|part| !matches!(part, "" | "." | "..")));
    if !named {
        mistakes.push(format!(
            "cgroup_parent = {cgroup:?} is not a path like \"/bulkhead\""
        ));
    }
}

/// Zero would mean "nothing", not "unlimited", so it is refused.
pub(crate) fn check_positive(mistakes: &mut Vec<String>, key: &str, value: u64) {
    if value == 0 {
        mistakes.push(format!("{key} must be more than 0"));
    }
}

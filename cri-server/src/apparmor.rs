//! Whether an AppArmor profile can be had on this node: better told when a container is made than
//! when its first process fails to start.

use std::path::Path;

use crate::error::{Error, Kind, Result};

/// Says `Y` where AppArmor is on.
const ENABLED: &str = "/sys/module/apparmor/parameters/enabled";
/// One loaded profile per line, `name (mode)`.
const LOADED: &str = "/sys/kernel/security/apparmor/profiles";

/// Checks that the node has a profile. Where the kernel's list can't be read, the kernel decides later.
pub(crate) fn check(profile: Option<&str>) -> Result<()> {
    let Some(profile) = profile else {
        return Ok(());
    };
    let enabled = std::fs::read_to_string(ENABLED).is_ok_and(|text| text.starts_with('Y'));
    if !enabled {
        return Err(Error::new(
            Kind::Invalid,
            format!("AppArmor profile {profile:?}: AppArmor is not enabled on this node"),
        ));
    }
    match std::fs::read_to_string(Path::new(LOADED)) {
        Ok(list) if !is_loaded(&list, profile) => Err(Error::new(
            Kind::Invalid,
            format!("AppArmor profile {profile:?} is not loaded on this node"),
        )),
        _ => Ok(()),
    }
}

fn is_loaded(list: &str, profile: &str) -> bool {
    // Names may hold spaces, and sub-profiles are named `parent//child`.
    let name = |line: &str| line.rsplit_once(" (").map(|(name, _)| name == profile);
    list.lines().any(|line| name(line).unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_loaded_if_the_kernel_lists_it_by_its_whole_name() {
        let list = "deny write (enforce)\nlsb_release (complain)\nman//groff (enforce)\n";
        for (profile, loaded) in [
            ("deny write", true),
            ("lsb_release", true),
            ("man", false),
            ("deny", false),
            ("", false),
        ] {
            assert_eq!(is_loaded(list, profile), loaded, "{profile:?}");
        }
    }

    #[test]
    fn no_profile_needs_no_apparmor() {
        assert!(check(None).is_ok());
    }
}

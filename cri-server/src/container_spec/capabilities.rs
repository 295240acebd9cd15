//! Capabilities: what CRI adds and drops, as bit sets.

use cri_api::v1::Capability;
use sandbox::spec::Capabilities;

use crate::error::{Error, Result};

/// Capabilities by number, capabilities(7), without the `CAP_` in front.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container has unless it says otherwise: the set that other runtimes give, which images rely on.
const DEFAULT: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

const ALL: u64 = (1 << NAMES.len()) - 1;

/// The sets of a container's first process.
pub(super) fn sets(cri: Option<&Capability>, privileged: bool) -> Result<Capabilities> {
    if privileged {
        return Ok(plain(ALL, 0));
    }
    let none = Capability::default();
    let cri = cri.unwrap_or(&none);
    let added = named(&cri.add_capabilities)?;
    let dropped = named(&cri.drop_capabilities)?;
    let ambient = named(&cri.add_ambient_capabilities)?;
    let base = if has_all(&cri.drop_capabilities) {
        0
    } else {
        named(&DEFAULT)?
    };
    let dropped = if has_all(&cri.drop_capabilities) {
        0
    } else {
        dropped
    };
    Ok(plain(
        (base | added | ambient) & !dropped,
        ambient & !dropped,
    ))
}

/// Names of all in the bounding set.
pub(super) fn names(sets: &Capabilities) -> impl Iterator<Item = &'static str> {
    let bounding = sets.bounding;
    let held = NAMES
        .iter()
        .enumerate()
        .filter(move |(bit, _)| bounding & (1 << bit) != 0);
    held.map(|(_, name)| *name)
}

fn plain(set: u64, ambient: u64) -> Capabilities {
    Capabilities {
        bounding: set,
        permitted: set,
        // Ambient ones must be inheritable; others must not, or programs with file capabilities
        // would gain them for users that are not root.
        inheritable: ambient,
        ambient,
    }
}

fn has_all(names: &[String]) -> bool {
    names.iter().any(|name| name.eq_ignore_ascii_case("ALL"))
}

fn named<S: AsRef<str>>(names: &[S]) -> Result<u64> {
    names
        .iter()
        .try_fold(0, |set, name| Ok(set | bits(name.as_ref())?))
}

fn bits(name: &str) -> Result<u64> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if bare == "ALL" {
        return Ok(ALL);
    }
    match NAMES.iter().position(|known| *known == bare) {
        Some(bit) => Ok(1 << bit),
        None => Err(Error::invalid(format!("{name:?} is not a capability"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capability(add: &[&str], drop: &[&str], ambient: &[&str]) -> Capability {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Capability {
            add_capabilities: owned(add),
            drop_capabilities: owned(drop),
            add_ambient_capabilities: owned(ambient),
        }
    }

    #[track_caller]
    fn check(add: &[&str], drop: &[&str], bounding: u64) {
        let sets = sets(Some(&capability(add, drop, &[])), false).unwrap();
        assert_eq!(sets.bounding, bounding, "add {add:?} drop {drop:?}");
        assert_eq!(sets.permitted, bounding);
        assert_eq!((sets.inheritable, sets.ambient), (0, 0));
    }

    #[test]
    fn the_default_set_is_changed_by_names_with_or_without_their_beginning() {
        let default = named(&DEFAULT).unwrap();
        check(&[], &[], default);
        check(&["NET_ADMIN"], &[], default | 1 << 12);
        check(
            &["cap_net_admin"],
            &["CAP_NET_RAW"],
            (default | 1 << 12) & !(1 << 13),
        );
    }

    #[test]
    fn all_can_be_added_and_dropped() {
        check(&["ALL"], &[], ALL);
        check(&[], &["ALL"], 0);
        check(&["NET_RAW"], &["ALL"], 1 << 13);
        check(&["ALL"], &["SYS_ADMIN"], ALL & !(1 << 21));
    }

    #[test]
    fn ambient_ones_are_inheritable_and_held() {
        let sets = sets(
            Some(&capability(&[], &["ALL"], &["NET_BIND_SERVICE"])),
            false,
        )
        .unwrap();
        let bit = 1 << 10;
        assert_eq!(
            (sets.bounding, sets.inheritable, sets.ambient),
            (bit, bit, bit)
        );
    }

    #[test]
    fn a_privileged_container_has_all_of_them() {
        assert_eq!(sets(None, true).unwrap().bounding, ALL);
    }

    #[test]
    fn an_unknown_name_is_refused() {
        let error = sets(Some(&capability(&["NET_ADMINS"], &[], &[])), false).unwrap_err();
        assert!(error.to_string().contains("NET_ADMINS"), "{error}");
    }
}

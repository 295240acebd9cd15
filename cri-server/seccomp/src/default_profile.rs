//! The profile for containers that ask for the runtime's default.
//!
//! Written the other way round than most: everything that we know is allowed, but for what is named
//! here. What we do not know does not exist as far as the container can tell (ENOSYS), so that C
//! libraries fall back on older calls.

use crate::profile::{Action, Argument, Filter, Operator, Profile, SyscallRule};
use crate::syscalls;

/// errno(3).
const EPERM: u16 = 1;
const ENOSYS: u16 = 38;
const EAFNOSUPPORT: u16 = 97;

/// Nobody in a container needs these: obsolete, undocumented, or reaching the kernel's own keys and rings.
const FORBIDDEN: &[&str] = &[
    "_sysctl",
    "add_key",
    "afs_syscall",
    "bdflush",
    "break",
    "create_module",
    "ftime",
    "get_kernel_syms",
    "getpmsg",
    "gtty",
    "idle",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "keyctl",
    "lock",
    "mpx",
    "nfsservctl",
    "prof",
    "profil",
    "putpmsg",
    "query_module",
    "request_key",
    "security",
    "stty",
    "sysfs",
    "tuxcall",
    "ulimit",
    "uselib",
    "userfaultfd",
    "ustat",
    "vm86",
    "vm86old",
    "vserver",
];

/// Whoever has one of the capabilities may have the calls; the kernel asks for it as well.
const WITH_CAPABILITY: &[(&[&str], &[&str])] = &[
    (&["CAP_BPF", "CAP_SYS_ADMIN"], &["bpf"]),
    (&["CAP_PERFMON", "CAP_SYS_ADMIN"], &["perf_event_open"]),
    (&["CAP_DAC_READ_SEARCH"], &["open_by_handle_at"]),
    (&["CAP_SYS_ADMIN"], ADMINISTRATION),
    (
        &["CAP_SYS_BOOT"],
        &["kexec_file_load", "kexec_load", "reboot"],
    ),
    (&["CAP_SYS_CHROOT"], &["chroot"]),
    (
        &["CAP_SYS_MODULE"],
        &["delete_module", "finit_module", "init_module"],
    ),
    (&["CAP_SYS_NICE"], MEMORY_PLACEMENT),
    (&["CAP_SYS_PACCT"], &["acct"]),
    // Not ptrace and process_vm_readv: since Linux 4.8 a filter sees what a tracer has changed.
    (
        &["CAP_SYS_PTRACE"],
        &["kcmp", "pidfd_getfd", "process_madvise"],
    ),
    (&["CAP_SYS_RAWIO"], &["ioperm", "iopl"]),
    (&["CAP_SYS_TIME"], CLOCKS),
    (&["CAP_SYS_TTY_CONFIG"], &["vhangup"]),
    (&["CAP_SYSLOG"], &["syslog"]),
];

const ADMINISTRATION: &[&str] = &[
    "clone3",
    "fanotify_init",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "listmount",
    "lookup_dcookie",
    "lsm_set_self_attr",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "open_tree_attr",
    "pivot_root",
    "quotactl",
    "quotactl_fd",
    "setdomainname",
    "sethostname",
    "setns",
    "statmount",
    "swapoff",
    "swapon",
    "umount",
    "umount2",
    "unshare",
];

const MEMORY_PLACEMENT: &[&str] = &[
    "get_mempolicy",
    "mbind",
    "migrate_pages",
    "move_pages",
    "set_mempolicy",
    "set_mempolicy_home_node",
];

const CLOCKS: &[&str] = &[
    "clock_adjtime",
    "clock_adjtime64",
    "clock_settime",
    "clock_settime64",
    "settimeofday",
    "stime",
];

/// Flags of clone(2) that make namespaces.
const NEW_NAMESPACES: u64 = 0x7e02_0000;
/// Socket families: the kernel's cryptography, and the hypervisor; what lies between and beyond is fine.
const AF_ALG: u64 = 38;
const AF_VSOCK: u64 = 40;
/// personality(2): Linux, PER_LINUX32, UNAME26, both, and the question which it is.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Decided by their arguments, below.
const BY_ARGUMENT: &[&str] = &["clone", "personality", "socket"];

pub(crate) fn profile() -> Profile {
    let special = |name: &str| {
        FORBIDDEN.contains(&name)
            || BY_ARGUMENT.contains(&name)
            || WITH_CAPABILITY
                .iter()
                .any(|(_, names)| names.contains(&name))
    };
    let allowed: Vec<_> = syscalls::names().filter(|name| !special(name)).collect();
    let mut rules = vec![allow(&allowed), refuse(FORBIDDEN, EPERM)];
    for (capabilities, names) in WITH_CAPABILITY {
        rules.extend(with_capability(capabilities, names));
    }
    rules.extend(clone());
    rules.extend(personality());
    rules.extend(socket());
    Profile {
        default_action: Action::Errno,
        default_errno_ret: Some(ENOSYS),
        architectures: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
            .map(String::from)
            .into(),
        arch_map: Vec::new(),
        syscalls: rules,
    }
}

fn with_capability(capabilities: &[&str], names: &[&str]) -> Vec<SyscallRule> {
    let with = |capability: &&str| SyscallRule {
        includes: caps(&[capability]),
        ..allow(names)
    };
    let mut rules: Vec<_> = capabilities.iter().map(with).collect();
    // Its flags are in memory, where no filter sees them; C libraries fall back on clone.
    let (clone3, others): (Vec<&str>, Vec<&str>) =
        names.iter().partition(|name| **name == "clone3");
    for (names, errno) in [(clone3, ENOSYS), (others, EPERM)] {
        rules.push(SyscallRule {
            excludes: caps(capabilities),
            ..refuse(&names, errno)
        });
    }
    rules
}

/// Processes and threads are fine, namespaces are for who may administer them.
fn clone() -> Vec<SyscallRule> {
    let no_namespaces = Argument {
        value_two: 0,
        ..argument(Operator::MaskedEqual, NEW_NAMESPACES)
    };
    vec![
        SyscallRule {
            includes: caps(&["CAP_SYS_ADMIN"]),
            ..allow(&["clone"])
        },
        SyscallRule {
            excludes: caps(&["CAP_SYS_ADMIN"]),
            ..allow_if(&["clone"], no_namespaces)
        },
        SyscallRule {
            excludes: caps(&["CAP_SYS_ADMIN"]),
            ..refuse(&["clone"], EPERM)
        },
    ]
}

fn personality() -> Vec<SyscallRule> {
    let allowed =
        PERSONALITIES.map(|value| allow_if(&["personality"], argument(Operator::Equal, value)));
    allowed
        .into_iter()
        .chain([refuse(&["personality"], EPERM)])
        .collect()
}

fn socket() -> Vec<SyscallRule> {
    vec![
        allow_if(&["socket"], argument(Operator::Less, AF_ALG)),
        allow_if(&["socket"], argument(Operator::Equal, AF_ALG + 1)),
        allow_if(&["socket"], argument(Operator::Greater, AF_VSOCK)),
        refuse(&["socket"], EAFNOSUPPORT),
    ]
}

fn allow(names: &[&str]) -> SyscallRule {
    SyscallRule {
        names: names.iter().map(ToString::to_string).collect(),
        name: String::new(),
        action: Action::Allow,
        errno_ret: None,
        args: Vec::new(),
        includes: Filter::default(),
        excludes: Filter::default(),
    }
}

fn allow_if(names: &[&str], condition: Argument) -> SyscallRule {
    SyscallRule {
        args: vec![condition],
        ..allow(names)
    }
}

fn refuse(names: &[&str], errno: u16) -> SyscallRule {
    SyscallRule {
        action: Action::Errno,
        errno_ret: Some(errno),
        ..allow(names)
    }
}

/// A condition on the first argument.
fn argument(op: Operator, value: u64) -> Argument {
    Argument {
        index: 0,
        value,
        value_two: 0,
        op,
    }
}

fn caps(names: &[&str]) -> Filter {
    Filter {
        caps: names.iter().map(ToString::to_string).collect(),
        ..Filter::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_system_call_or_was_one() {
        let named = WITH_CAPABILITY.iter().flat_map(|(_, names)| names.iter());
        for name in named.chain(BY_ARGUMENT).chain(FORBIDDEN) {
            assert!(syscalls::is_known(name), "{name}");
        }
    }
}

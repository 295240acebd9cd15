//! System calls: their numbers in the three ways that a process on x86_64 can make them.

mod table;

use table::TABLE;

/// A way to make system calls on x86_64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Abi {
    /// 64-bit.
    X86_64,
    /// 32-bit, as i386 does.
    X86,
    /// 64-bit registers, 32-bit pointers.
    X32,
}

/// Marks the number of an x32 system call.
pub(crate) const X32_BIT: u32 = 0x4000_0000;

/// Before some calls had numbers of their own, i386 made them through another call, whose first
/// argument says which.
pub(crate) const MULTIPLEXED: [(&str, &str, u64); 32] = [
    ("socketcall", "socket", 1),
    ("socketcall", "bind", 2),
    ("socketcall", "connect", 3),
    ("socketcall", "listen", 4),
    ("socketcall", "accept", 5),
    ("socketcall", "getsockname", 6),
    ("socketcall", "getpeername", 7),
    ("socketcall", "socketpair", 8),
    ("socketcall", "send", 9),
    ("socketcall", "recv", 10),
    ("socketcall", "sendto", 11),
    ("socketcall", "recvfrom", 12),
    ("socketcall", "shutdown", 13),
    ("socketcall", "setsockopt", 14),
    ("socketcall", "getsockopt", 15),
    ("socketcall", "sendmsg", 16),
    ("socketcall", "recvmsg", 17),
    ("socketcall", "accept4", 18),
    ("socketcall", "recvmmsg", 19),
    ("socketcall", "sendmmsg", 20),
    ("ipc", "semop", 1),
    ("ipc", "semget", 2),
    ("ipc", "semctl", 3),
    ("ipc", "semtimedop", 4),
    ("ipc", "msgsnd", 11),
    ("ipc", "msgrcv", 12),
    ("ipc", "msgget", 13),
    ("ipc", "msgctl", 14),
    ("ipc", "shmat", 21),
    ("ipc", "shmdt", 22),
    ("ipc", "shmget", 23),
    ("ipc", "shmctl", 24),
];

impl Abi {
    /// By libseccomp's name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "SCMP_ARCH_X86_64" => Some(Self::X86_64),
            "SCMP_ARCH_X86" => Some(Self::X86),
            "SCMP_ARCH_X32" => Some(Self::X32),
            _ => None,
        }
    }

    /// The number of a system call, with x32's marker.
    pub(crate) fn number(self, name: &str) -> Option<u32> {
        let at = TABLE.binary_search_by_key(&name, |entry| entry.0).ok()?;
        let (_, x86_64, x86, x32) = TABLE[at];
        match self {
            Self::X86_64 => u32::try_from(x86_64).ok(),
            Self::X86 => u32::try_from(x86).ok(),
            Self::X32 => u32::try_from(x32).ok().map(|number| number | X32_BIT),
        }
    }
}

/// Whether any architecture of ours has it, be it through another call.
pub(crate) fn is_known(name: &str) -> bool {
    TABLE.binary_search_by_key(&name, |entry| entry.0).is_ok()
        || MULTIPLEXED.iter().any(|(_, call, _)| *call == name)
}

/// All that we know.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|entry| entry.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_architecture() {
        let numbers = |name| [Abi::X86_64, Abi::X86, Abi::X32].map(|abi| abi.number(name));
        assert_eq!(numbers("execve"), [Some(59), Some(11), Some(520 | X32_BIT)]);
        assert_eq!(numbers("socketcall"), [None, Some(102), None]);
        assert_eq!(numbers("no_such_call"), [None; 3]);
    }

    #[test]
    fn the_table_is_sorted_so_that_it_can_be_searched() {
        assert!(TABLE.is_sorted_by_key(|entry| entry.0));
        assert!(MULTIPLEXED.iter().all(|(by, _, _)| is_known(by)));
    }
}

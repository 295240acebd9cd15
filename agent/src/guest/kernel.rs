//! Kernel parameters of the guest, before those of the pod.

use super::try_write_file;

/// By path below /proc/sys.
const ALL: [(&str, &str); 3] = [
    // Warnings and worse: the console is slow, and kept for people.
    ("kernel/printk", "5 4 1 5"),
    // Sized by the memory that the machine began with, which may be a fraction of what it will have.
    ("kernel/threads-max", "262144"),
    // As the kubelet sets it on its node: programs in containers count on it.
    ("vm/overcommit_memory", "1"),
];

/// Sets them all; each is an improvement only.
pub(super) fn configure() {
    for (name, value) in ALL {
        try_write_file(&format!("/proc/sys/{name}"), value);
    }
}

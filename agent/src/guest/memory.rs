//! Memory that is plugged in while the guest runs.

use super::try_write_file;

/// From now on the kernel uses new memory as soon as it is there, where it may be taken away again.
pub(super) fn use_what_is_plugged() {
    let path = "/sys/devices/system/memory/auto_online_blocks";
    // A kernel without memory hotplug has no need of it.
    if std::path::Path::new(path).exists() {
        try_write_file(path, "online_movable");
    }
}

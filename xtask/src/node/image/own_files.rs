//! What the node's disk has beside Debian's packages.

use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

const PROGRAM: u32 = 0o755;
const DATA: u32 = 0o644;

/// Path, content and mode.
const FILES: [(&str, &str, u32); 8] = [
    ("lib/bulkhead-node/init", include_str!("init.sh"), PROGRAM),
    ("etc/ssh/sshd_config", include_str!("sshd_config"), DATA),
    (
        "etc/docker/registry/config.yml",
        include_str!("registry.yml"),
        DATA,
    ),
    (
        "etc/cni/net.d/10-node.conflist",
        include_str!("10-node.conflist"),
        DATA,
    ),
    ("etc/crictl.yaml", include_str!("crictl.yaml"), DATA),
    ("etc/hostname", "node\n", DATA),
    (
        "etc/hosts",
        "127.0.0.1 localhost\n::1 localhost\n10.0.2.15 node\n",
        DATA,
    ),
    ("etc/resolv.conf", "", DATA),
];

/// Where an installed Bulkhead has its files, and where a node has them: see `products.rs`.
const LINKS: [(&str, &str); 11] = [
    (
        "etc/bulkhead/config.toml",
        "/opt/bulkhead/manifests/config.toml",
    ),
    ("usr/bin/bulkhead", "/opt/bulkhead/bin/bulkhead"),
    ("usr/libexec/bulkhead", "/opt/bulkhead/bin"),
    ("usr/local/bin/bulkhead", "/opt/bulkhead/bin/bulkhead"),
    ("usr/local/bin/crictl", "/opt/tools/bin/crictl"),
    ("usr/local/bin/critest", "/opt/tools/bin/critest"),
    ("usr/share/bulkhead/guest", "/opt/bulkhead/guest"),
    ("usr/share/bulkhead/initramfs", "guest/6.12/initramfs.cpio"),
    (
        "usr/share/bulkhead/initramfs-6.1",
        "guest/6.1/initramfs.cpio",
    ),
    ("usr/share/bulkhead/vmlinux", "guest/6.12/vmlinux"),
    ("usr/share/bulkhead/vmlinux-6.1", "guest/6.1/vmlinux"),
];

/// Registries that the node's own one stands in for.
const REGISTRIES: [&str; 3] = ["gcr.io", "k8s.gcr.io", "registry.k8s.io"];

const MIRROR: &str = include_str!("hosts.toml");

/// Everything that [`install`] goes by, as text: an image is built again when it changes.
pub(super) fn recipe() -> String {
    format!("{FILES:?}{LINKS:?}{REGISTRIES:?}{MIRROR}")
}

/// Puts them below `root`.
pub(super) fn install(root: &Path) -> Result<()> {
    for (path, text, mode) in FILES {
        write(&root.join(path), text, mode)?;
    }
    for registry in REGISTRIES {
        let directory = root.join("etc/bulkhead/certs.d").join(registry);
        write(&directory.join("hosts.toml"), MIRROR, DATA)?;
    }
    for (link, target) in LINKS {
        let link = root.join(link);
        make_parent(&link)?;
        symlink(target, &link).with_context(|| format!("make {}", link.display()))?;
    }
    Ok(())
}

fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    make_parent(path)?;
    fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("change the mode of {}", path.display()))
}

fn make_parent(path: &Path) -> Result<()> {
    let parent = path.parent().context("a file has a directory")?;
    fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))
}

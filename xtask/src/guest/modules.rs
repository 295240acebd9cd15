//! Which kernel modules a guest gets, and the order that satisfies their dependencies.

use crate::kernel_package::KernelPackage;
use anyhow::{Context, Result, bail};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::PathBuf;

/// In the order of how early a guest needs them: first what the agent's greeting travels on. What a
/// kernel has built in is left out by itself.
pub(crate) const FIRST: [&str; 6] = [
    "virtio_pci",
    "vmw_vsock_virtio_transport",
    "virtio_net",
    "virtio_blk",
    "erofs",
    "overlay",
];

/// What nobody needs before the first container: the node's files, randomness beside the kernel's own, and what
/// runs in pods and sets up networks of its own.
pub(crate) const LATER: [&str; 4] = ["virtiofs", "virtio_rng", "bridge", "veth"];

/// The files of `wanted` and of all they depend on, each after its dependencies.
pub(crate) fn in_load_order(package: &KernelPackage, wanted: &[&str]) -> Result<Vec<PathBuf>> {
    let dir = package.modules();
    let read = |name: &str| {
        fs::read_to_string(dir.join(name)).with_context(|| format!("read the kernel's {name}"))
    };
    let (dep, builtin) = (read("modules.dep")?, read("modules.builtin")?);
    let order = resolve(&dep, &builtin, wanted)?;
    Ok(order.iter().map(|path| dir.join(path)).collect())
}

/// Works on the texts of depmod: `modules.dep` has lines of `path: path path …`, where what comes
/// last is needed first; `modules.builtin` has one path per line.
fn resolve<'a>(dep: &'a str, builtin: &str, wanted: &[&str]) -> Result<Vec<&'a str>> {
    let lines: HashMap<String, (&str, &str)> = dep
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(path, needs)| (module_name(path), (path, needs)))
        .collect();
    let builtin: HashSet<String> = builtin.lines().map(module_name).collect();
    let mut order = Vec::new();
    for name in wanted {
        match lines.get(*name) {
            Some((path, needs)) => order.extend(needs.split_whitespace().rev().chain([*path])),
            None if builtin.contains(*name) => {}
            None => bail!("the kernel package has no module {name}"),
        }
    }
    let mut seen = HashSet::new();
    order.retain(|path| seen.insert(*path));
    Ok(order)
}

/// Module names have underscores even where file names have hyphens.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/fs/erofs/erofs.ko: kernel/lib/libcrc32c.ko\n\
                       kernel/lib/libcrc32c.ko:\n\
                       kernel/net/a-b.ko: kernel/net/c.ko kernel/lib/libcrc32c.ko\n";

    #[track_caller]
    fn check(wanted: &[&str], expected: &[&str]) {
        let order = resolve(DEP, "kernel/drivers/virtio/virtio_pci.ko\n", wanted).unwrap();
        assert_eq!(order, expected);
    }

    #[test]
    fn dependencies_come_first_and_once() {
        let crc = "kernel/lib/libcrc32c.ko";
        check(&["erofs"], &[crc, "kernel/fs/erofs/erofs.ko"]);
        check(
            &["a_b", "erofs"],
            &[
                crc,
                "kernel/net/c.ko",
                "kernel/net/a-b.ko",
                "kernel/fs/erofs/erofs.ko",
            ],
        );
    }

    #[test]
    fn what_is_built_in_is_left_out_and_what_is_unknown_is_an_error() {
        check(&["virtio_pci"], &[]);
        let error = resolve(DEP, "", &["virtio_pci"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the kernel package has no module virtio_pci"
        );
    }
}

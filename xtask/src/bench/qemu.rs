//! QEMU as a peer in the node: the one of this machine, which is of the same Debian release, with its
//! libraries and firmware. In the node's image it would only cost all others time.

use crate::node::{self, Product};
use crate::{debian, process};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;

const PROGRAM: &str = "/usr/bin/qemu-system-x86_64";
/// What a machine of type `q35` starts with.
const FIRMWARE: [&str; 4] = [
    "/usr/share/seabios/bios-256k.bin",
    "/usr/share/qemu/kvmvapic.bin",
    "/usr/share/qemu/linuxboot_dma.bin",
    "/usr/share/qemu/pvh.bin",
];

/// The C library, which has to fit the node's loader.
const OF_NODE: [&str; 3] = ["libc.so.6", "libm.so.6", "libresolv.so.2"];

/// What the node gets, below `bench/qemu/`.
pub(super) fn products() -> Result<Vec<Product>> {
    debian::install(&node::QEMU_PACKAGES)?;
    let told = process::output(Command::new("ldd").arg(PROGRAM))?;
    let mut products = vec![product(PROGRAM.into(), "bin")?];
    for library in libraries(&told) {
        products.push(product(library, "lib")?);
    }
    for file in FIRMWARE {
        products.push(product(file.into(), "share")?);
    }
    Ok(products)
}

fn product(file: PathBuf, directory: &str) -> Result<Product> {
    let name = file.file_name().context("a file has a name")?;
    let path = format!("bench/qemu/{directory}/{}", name.to_string_lossy());
    Ok(Product::new(file, path))
}

/// The paths in the words of ldd: `libz.so.1 => /lib/libz.so.1 (0x00007f…)`.
fn libraries(told: &str) -> Vec<PathBuf> {
    let path = |line: &str| Some(line.split_once("=> ")?.1.split(' ').next()?.into());
    told.lines()
        .filter(|line| !OF_NODE.iter().any(|name| line.trim().starts_with(name)))
        .filter_map(path)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_node_has_is_left_out() {
        let told = "\tlinux-vdso.so.1 (0x1)\n\tlibz.so.1 => /lib/libz.so.1 (0x2)\n\tlibc.so.6 => /lib/libc.so.6 (0x2)\n\t/lib64/ld.so (0x3)\n";
        assert_eq!(libraries(told), [PathBuf::from("/lib/libz.so.1")]);
    }
}

//! From nothing to a node that answers.

use super::channel::Channel;
use super::image::Image;
use super::products::{self, Product};
use super::qemu::{self, Lifetime};
use super::runtime_dir::{Died, RuntimeDir};
use crate::process;
use anyhow::{Context, Result};
use std::fs;
use std::time::Instant;

/// Boots that may fail before we give up: a machine under load can lose one to bad luck.
const ATTEMPTS: u32 = 3;

/// Name of the file with the fingerprints of what the node has got.
const FINGERPRINTS: &str = "products";

/// Boots a node with a clean disk and with what was built so far below `/opt`.
pub(super) fn boot(
    dir: RuntimeDir,
    memory_mib: u32,
    lifetime: Lifetime,
    extra: &[Product],
) -> Result<Channel> {
    let image = Image::open()?;
    let mut attempt = 1;
    loop {
        match try_boot(dir.clone(), &image, memory_mib, lifetime, extra) {
            Err(error) if error.is::<Died>() && attempt < ATTEMPTS => {
                process::step(&format!("{error:#}"));
                process::step("starting the node again");
                attempt += 1;
            }
            result => return result,
        }
    }
}

fn try_boot(
    dir: RuntimeDir,
    image: &Image,
    memory_mib: u32,
    lifetime: Lifetime,
    extra: &[Product],
) -> Result<Channel> {
    let started = Instant::now();
    let name = dir.name();
    process::step(&format!(
        "node {name}: booting ({})",
        qemu::Accelerator::of_this_machine()
    ));
    dir.clear()?;
    let products = products::all()?;
    fs::write(dir.file(FINGERPRINTS), products::fingerprints(&products)?)?;
    let products = products::with(products, extra);
    products::make_disk(&products, &dir.file("staging"), &dir.file("products.erofs"))?;
    qemu::start(&dir, image, memory_mib, lifetime)?;
    let channel = Channel::connect(dir)?;
    process::step(&format!(
        "node {name} is up after {:.1?}",
        started.elapsed()
    ));
    Ok(channel)
}

/// Brings what was built since the boot, or since the last call, to a node that is up.
pub(super) fn refresh(channel: &Channel) -> Result<()> {
    let file = channel.dir().file(FINGERPRINTS);
    let old = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let new = products::fingerprints(&products::all()?)?;
    let changed = products::changed(products::all()?, &old)?;
    for product in &changed {
        process::step(&format!("pushing {}", product.destination()));
        channel.push(product.source(), &product.destination())?;
    }
    fs::write(&file, new).with_context(|| format!("write {}", file.display()))
}

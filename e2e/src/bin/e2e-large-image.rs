//! Makes the image that `cargo xtask bench` pulls: `e2e-large-image <directory for downloads> <registry's store>`.

use anyhow::{Context, Result};
use std::env;
use std::path::PathBuf;

fn main() -> Result<()> {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let mut next = || {
        arguments
            .next()
            .context("usage: e2e-large-image DOWNLOADS STORE")
    };
    e2e::large_image::build(&next()?, &next()?)
}

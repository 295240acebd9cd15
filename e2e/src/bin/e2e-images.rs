//! Makes the test images: `e2e-images <directory for downloads> <registry's store>`.

use anyhow::{Context, Result};
use std::env;
use std::path::PathBuf;

fn main() -> Result<()> {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let mut next = || {
        arguments
            .next()
            .context("usage: e2e-images DOWNLOADS STORE")
    };
    e2e::images::build(&next()?, &next()?)
}

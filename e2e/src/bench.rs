//! What `cargo xtask bench` measures inside a node: one file a part. Each value goes to stdout as a
//! line of its own; xtask makes medians and ratios of them.

mod facts;
mod life;
mod servers;
mod values;

pub mod images;
pub mod machines;
pub mod memory;
pub mod net;
pub mod network_setup;
pub mod pods;
pub mod stream;

use std::path::PathBuf;

use anyhow::{Result, bail};

/// What to measure with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How often each step is measured, for each of those that are compared.
    pub samples: usize,
    /// Our binaries and guest of another checkout, which are measured beside those of this one.
    pub before: Option<PathBuf>,
}

/// Measures the part of this name.
pub async fn run(part: &str, setup: &Setup) -> Result<()> {
    match part {
        "pods" => pods::measure(setup).await,
        "machines" => machines::measure(setup).await,
        "images" => images::measure(setup).await,
        "memory" => memory::measure(setup).await,
        "net" => net::measure(setup).await,
        "network-setup" => network_setup::measure(setup).await,
        "stream" => stream::measure(setup).await,
        _ => bail!("no part is called {part}"),
    }
}

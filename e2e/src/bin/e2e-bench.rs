//! Measures one part of `cargo xtask bench` in a node: `e2e-bench PART SAMPLES [BEFORE]`.
//!
//! BEFORE is a directory with `bin/` and `guest/` of another checkout.

use std::env;

use anyhow::{Context, Result};
use e2e::bench::{self, Setup};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let mut next = || arguments.next();
    let usage = "usage: e2e-bench PART SAMPLES [BEFORE]";
    let part = next().context(usage)?;
    let samples = next().context(usage)?.parse().context(usage)?;
    let before = next().map(Into::into);
    bench::run(&part, &Setup { samples, before }).await
}

//! `cargo xtask bench`: speed and size in a node, ours against a peer's, or against ours before.
//!
//! What is compared runs in one node at one time, in turn, because wall clocks of different runs say
//! nothing, least of all in an emulated node. So the ratios count, and no test asserts a time. What a
//! part measures is in `e2e/src/bench/`, one file a part; here are the statistics.

mod before;
mod client;
mod figures;
mod qemu;
mod record;

use crate::node::{self, OwnedNode};
use crate::tools::peers;
use crate::{build, guest, images, process, table};
use anyhow::{Context, Result, bail};
use before::Before;
use clap::{Args, ValueEnum};
use figures::Figures;
use std::path::PathBuf;

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Parts; all of them where none is named.
    parts: Vec<Part>,
    /// How often each step is measured on each side, instead of as often as the part thinks right.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    samples: Option<u32>,
    /// Another checkout, built with `cargo xtask build` and `guest`, that is measured beside this one.
    #[arg(long, value_name = "DIR")]
    before: Option<PathBuf>,
}

/// A part, by the name that the client in the node knows it by, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The life of a pod: ours against containerd with runc and with crun.
    Pods,
    /// The life of a pod that is a machine.
    Machines,
    /// Pulling a large image: ours against containerd.
    Images,
    /// Memory per pod: ours against containerd.
    Memory,
    /// Exec and port-forward, how much a second and how soon: ours against containerd.
    Stream,
    /// Throughput and round trips: ours against containerd, machines against QEMU.
    Net,
    /// What is our own of the network at a pod's start, plugins aside.
    NetworkSetup,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Machines => "machines",
            Self::Images => "images",
            Self::Memory => "memory",
            Self::Stream => "stream",
            Self::Net => "net",
            Self::NetworkSetup => "network-setup",
        }
    }

    /// So few that all parts take less than ten minutes in an emulated node.
    fn samples(self) -> u32 {
        match self {
            Self::Pods | Self::NetworkSetup => 8,
            Self::Machines | Self::Stream | Self::Net => 3,
            Self::Images | Self::Memory => 2,
        }
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let before = options.before.as_deref().map(Before::open).transpose()?;
    build::run()?;
    guest::run(&guest::Options::default())?;
    images::run()?;
    let parts = match options.parts.as_slice() {
        [] => Part::value_variants(),
        parts => parts,
    };
    let mut products = vec![client::build()?];
    products.extend(peers::build()?);
    if parts.contains(&Part::Images) {
        products.extend(client::large_image()?);
    }
    if parts.contains(&Part::Net) {
        products.extend(qemu::products()?);
    }
    products.extend(before.iter().flat_map(Before::products));
    let node = OwnedNode::boot("bench", node::DEFAULT_MEMORY_MIB, &products)?;
    for part in parts {
        let samples = options.samples.unwrap_or(part.samples());
        let figures = measure(*part, samples, before.is_some(), &node)?;
        let file = record::append(part.name(), &figures)?;
        show(*part, &figures);
        process::step(&format!(
            "{}: figures are in {}",
            part.name(),
            file.display()
        ));
    }
    Ok(())
}

fn measure(part: Part, samples: u32, with_before: bool, node: &OwnedNode) -> Result<Figures> {
    let name = part.name();
    process::step(&format!("{name}: measuring, {samples} samples of each"));
    let before = if with_before { before::IN_NODE } else { "" };
    let script = format!("exec {} {name} {samples} {before}", client::IN_NODE);
    let mut figures = Figures::default();
    let mut wrong = Ok(());
    let code = node.channel().each_line(&script, |line| {
        match figures.take_line(line) {
            Ok(true) => {}
            Ok(false) => process::step(line),
            Err(error) => wrong = Err(error),
        };
    })?;
    wrong.context("read what was measured")?;
    if code != 0 {
        show_logs(node)?;
        bail!("measuring {name} ended with exit code {code}");
    }
    Ok(figures)
}

/// What the servers said is mostly why nothing could be measured.
fn show_logs(node: &OwnedNode) -> Result<()> {
    let script = "tail -n 20 /var/log/bench-*.log";
    node.channel().each_line(script, process::step)?;
    Ok(())
}

fn show(part: Part, figures: &Figures) {
    process::say("");
    process::say(&format!("{}:", part.name()));
    for line in table::lines(&figures.rows(), figures::NUMBERS_FROM) {
        process::say(&line);
    }
    for note in figures.notes() {
        process::say(&format!("({note})"));
    }
    process::say("");
}

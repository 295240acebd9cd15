//! `cargo xtask demo`: one image in pods of each kind: namespaces, a machine, a machine
//! with an older kernel.

use crate::node::{self, OwnedNode};
use crate::{build, guest, images, process, table, tools};
use anyhow::{Result, bail};
use std::process::ExitCode;

/// What is done in the node, in the words of an operator: crictl and nothing of ours.
const SCRIPT: &str = include_str!("demo/demo.sh");

/// Lines of the script that are the result table, by their first word.
const ROW: &str = "row\t";

/// Columns of the table.
const COLUMNS: [&str; 6] = [
    "POD",
    "HANDLER",
    "KERNEL",
    "IMAGE",
    "RUNP+CREATE+START",
    "HOST MEMORY",
];

pub(crate) fn run() -> Result<ExitCode> {
    build::run()?;
    guest::run(&guest::Options::default())?;
    tools::crictl()?;
    images::run()?;
    let node = OwnedNode::boot("demo", node::DEFAULT_MEMORY_MIB, &[])?;
    let mut rows = vec![COLUMNS.map(str::to_owned).to_vec()];
    let code = node
        .channel()
        .each_line(SCRIPT, |line| match line.strip_prefix(ROW) {
            Some(row) => rows.push(row.split('\t').map(str::to_owned).collect()),
            None => process::say(line),
        })?;
    if code != 0 {
        bail!("the demo ended with exit code {code}");
    }
    process::say("");
    for line in table::lines(&rows, COLUMNS.len()) {
        process::say(&line);
    }
    Ok(ExitCode::SUCCESS)
}

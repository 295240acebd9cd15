//! The README's table of RPCs: each is in it once, and said to be unimplemented if it is.

use super::Finding;
use super::rpcs;
use crate::repository;
use anyhow::{Context, Result};
use std::collections::HashMap;
use std::fs;

const FILE: &str = "README.md";
const HEADING: &str = "| RPC |";
/// Where each RPC has its line.
const SERVICES: [&str; 2] = ["cri-server/src/runtime.rs", "cri-server/src/image.rs"];
const UNIMPLEMENTED: &str = "Unimplemented";

pub(super) fn check() -> Result<Vec<Finding>> {
    let read = |path: &str| {
        let text = fs::read_to_string(repository::root().join(path));
        text.with_context(|| format!("read {path}"))
    };
    let mut services = String::new();
    for path in SERVICES {
        services.push_str(&read(path)?);
    }
    Ok(differences(&read(FILE)?, &rpcs::names()?, &services))
}

fn differences(readme: &str, rpcs: &[String], services: &str) -> Vec<Finding> {
    let lines: Vec<&str> = readme.lines().collect();
    let table = lines.iter().position(|line| line.starts_with(HEADING));
    let first = table.unwrap_or(lines.len());
    let rows = lines[first..]
        .iter()
        .take_while(|line| line.starts_with('|'));
    let mut findings = Vec::new();
    let mut seen = HashMap::new();
    for (line, row) in (first + 1..).zip(rows) {
        let (names, said) = cells(row);
        for name in names.split(|c: char| !c.is_ascii_alphanumeric()) {
            let Some(rpc) = rpcs.iter().find(|rpc| *rpc == name) else {
                continue;
            };
            let mut find = |what: String| findings.push(Finding::new(FILE, line, what));
            if let Some(other) = seen.insert(rpc, line) {
                find(format!("has {rpc} in line {other}, too"));
            }
            match (is_served(rpc, services), said == UNIMPLEMENTED) {
                (true, true) => find(format!("says that {rpc} is {UNIMPLEMENTED}, and it is not")),
                (false, false) => find(format!("does not say that {rpc} is {UNIMPLEMENTED}")),
                _ => {}
            }
        }
    }
    let missing = rpcs.iter().filter(|rpc| !seen.contains_key(rpc));
    findings.extend(missing.map(|rpc| {
        let what = format!("has {rpc} nowhere in the table of RPCs");
        Finding::new(FILE, first + 1, what)
    }));
    findings
}

/// The row's first cell, and what it says of the default handler.
fn cells(row: &str) -> (&str, &str) {
    let mut cells = row.split('|').skip(1).map(str::trim);
    (
        cells.next().unwrap_or_default(),
        cells.next().unwrap_or_default(),
    )
}

/// Whether the method is there and does not just answer Unimplemented.
fn is_served(rpc: &str, services: &str) -> bool {
    let method = format!("async fn {}(", rpcs::snake_case(rpc));
    let Some((_, rest)) = services.split_once(&method) else {
        return false;
    };
    let body = rest.split("async fn ").next().unwrap_or_default();
    !body.contains("unimplemented(")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: &str = "async fn exec(&self) {\n unimplemented(\"Exec\")\n}\n\
                           async fn version(&self) {\n call(version)\n}\n";

    #[track_caller]
    fn check_table(rows: &str, findings: usize) {
        let readme = format!("# A\n\n| RPC | a | b |\n|---|---|---|\n{rows}\n\nExec\n");
        let rpcs = ["Version", "Exec"].map(str::to_owned);
        let found = differences(&readme, &rpcs, SERVICE);
        assert_eq!(found.len(), findings, "{found:?}");
    }

    #[test]
    fn the_table_says_what_is_served() {
        check_table(
            "| Version (x) | yes | yes |\n| Exec | Unimplemented | Unimplemented |",
            0,
        );
        check_table("| Version, Exec | yes | yes |", 1);
        check_table("| Version, Exec | Unimplemented | Unimplemented |", 1);
        check_table("| Version | yes | yes |", 1);
        check_table(
            "| Version, Version | yes | yes |\n| Exec | Unimplemented | |",
            1,
        );
    }
}

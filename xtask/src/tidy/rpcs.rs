//! A file in `cri-server/src/runtime/` or `image/` that is named like an RPC is one.

use super::Finding;
use super::sources::Source;
use crate::repository;
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;

/// The folders with one file per RPC. One without a file is answered by the server's default, which
/// is Unimplemented.
const FOLDERS: [&str; 2] = ["cri-server/src/runtime/", "cri-server/src/image/"];

/// Beginnings of RPC names: a file that begins like this claims to be one.
const VERBS: [&str; 9] = [
    "create_", "list_", "pull_", "remove_", "reopen_", "run_", "start_", "stop_", "update_",
];

/// Every such file has its RPC in the definitions.
pub(super) fn check(sources: &[Source]) -> Result<Vec<Finding>> {
    let rpcs: Vec<String> = names()?.iter().map(|name| snake_case(name)).collect();
    let paths = sources.iter().map(|source| source.path.as_str());
    Ok(paths
        .filter(|path| claims_too_much(path, &rpcs))
        .map(finding)
        .collect())
}

/// All RPCs of the definitions, as they are called there.
pub(super) fn names() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for path in definitions()? {
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        names.extend(text.lines().filter_map(rpc).map(str::to_owned));
    }
    Ok(names)
}

fn finding(path: &str) -> Finding {
    Finding::new(
        path,
        1,
        "is named like an RPC, and the definitions have none of that name",
    )
}

fn claims_too_much(path: &str, rpcs: &[String]) -> bool {
    let Some(name) = FOLDERS.iter().find_map(|folder| path.strip_prefix(folder)) else {
        return false;
    };
    let Some(name) = name.strip_suffix(".rs").filter(|name| !name.contains('/')) else {
        return false;
    };
    VERBS.iter().any(|verb| name.starts_with(verb)) && !rpcs.iter().any(|rpc| rpc == name)
}

fn definitions() -> Result<Vec<PathBuf>> {
    let dir = repository::root().join("cri-server/api");
    let mut found = Vec::new();
    let mut folders = vec![dir];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "proto")
            {
                found.push(path);
            }
        }
    }
    Ok(found)
}

fn rpc(line: &str) -> Option<&str> {
    line.trim()
        .strip_prefix("rpc ")?
        .split('(')
        .next()
        .map(str::trim)
}

pub(super) fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for (index, letter) in name.char_indices() {
        if letter.is_ascii_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_claims_to_be_an_rpc_is_one() {
        let rpcs = [snake_case(
            rpc("  rpc RunPodSandbox(A) returns (B) {}").unwrap(),
        )];
        let wrong = |path| claims_too_much(path, &rpcs);
        assert!(!wrong("cri-server/src/runtime/run_pod_sandbox.rs"));
        assert!(wrong("cri-server/src/runtime/run_pod.rs"));
        assert!(!wrong("cri-server/src/runtime/stream.rs"));
        assert!(!wrong("sandbox/src/run_pod.rs"));
    }
}

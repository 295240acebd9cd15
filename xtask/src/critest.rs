//! `cargo xtask critest`: the conformance suite of CRI against the runtime in a node.

use crate::node::{self, OwnedNode};
use crate::{build, guest, images, process, tools};
use anyhow::Result;
use clap::Args;
use std::fmt::Write as _;
use std::process::ExitCode;

/// Starts the server and runs critest; `critest.jq` reads its report.
const SCRIPT: &str = include_str!("critest/critest.sh");
const SUMMARY: &str = include_str!("critest/critest.jq");

/// Specs that no machine can pass, because they ask for what it is there to prevent: sharing the
/// node's processes, IPC, network, or mounts in both directions.
const NOT_FOR_MACHINES: &str =
    "HostPID|HostIpc is true|HostNetwork is true|in host network|rshared";

/// The spec that names its image by a digest, whose bytes only its own registry has.
const NOT_OFFLINE: &str = "public image with digest";

/// How critest is told to stream over WebSocket.
const WEBSOCKET: &str = "-websocket-exec -websocket-attach -websocket-portforward";

/// What to run.
#[derive(Args)]
pub(crate) struct Options {
    /// Runtime handler of the pods.
    #[arg(long, default_value = "")]
    handler: String,
    /// Only specs that match this regular expression.
    #[arg(long)]
    focus: Option<String>,
    /// Leave out specs that match this regular expression.
    #[arg(long)]
    skip: Option<String>,
    /// Stream over WebSocket instead of SPDY.
    #[arg(long)]
    websocket: bool,
    /// Show critest's own output as it runs.
    #[arg(long)]
    verbose: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    build::run()?;
    guest::run(&guest::Options::default())?;
    tools::run()?;
    images::run()?;
    let node = OwnedNode::boot("critest", node::DEFAULT_MEMORY_MIB, &[])?;
    let code = node.channel().each_line(&script(options), process::say)?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

fn script(options: &Options) -> String {
    let mut skip = vec![NOT_OFFLINE];
    if options.handler.starts_with("kvm") {
        skip.push(NOT_FOR_MACHINES);
    }
    skip.extend(options.skip.as_deref());
    let mut script = String::new();
    let mut set = |name: &str, value: &str| {
        writeln!(script, "{name}='{}'", value.replace('\'', r"'\''"))
            .expect("writing to a string does not fail");
    };
    set("handler", &options.handler);
    set("focus", options.focus.as_deref().unwrap_or_default());
    set("skip", &skip.join("|"));
    set("transport", if options.websocket { WEBSOCKET } else { "" });
    set("verbose", if options.verbose { "yes" } else { "" });
    set("summary", SUMMARY);
    script + SCRIPT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_not_asked_for_the_namespaces_of_the_node() {
        let options = |handler: &str| Options {
            handler: handler.to_owned(),
            focus: None,
            skip: None,
            websocket: false,
            verbose: false,
        };
        assert!(script(&options("kvm")).contains("HostPID"));
        assert!(!script(&options("")).contains("HostPID"));
    }
}

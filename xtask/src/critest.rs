//! `cargo xtask critest`: the conformance suite of CRI against the runtime in a node.

mod left_out;
mod summary;

use crate::node::{self, OwnedNode};
use crate::{build, guest, images, process, tools};
use anyhow::Result;
use clap::Args;
use left_out::LeftOut;
use std::fmt::Write as _;
use std::process::ExitCode;
use summary::Summary;

/// Starts the server and runs critest; `critest.jq` reads its report.
const SCRIPT: &str = include_str!("critest/critest.sh");
const SPECS: &str = include_str!("critest/critest.jq");

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
    let mut summary = Summary::new(left_out::of_handler(&options.handler));
    let code = node.channel().each_line(&script(options), |line| {
        if !summary.take_line(line) {
            process::say(line);
        }
    })?;
    summary.lines().iter().for_each(|line| process::say(line));
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

fn script(options: &Options) -> String {
    let left_out = left_out::of_handler(&options.handler).into_iter();
    let mut skip: Vec<String> = left_out.map(LeftOut::pattern).collect();
    skip.extend(options.skip.clone());
    let mut script = String::new();
    let mut set = |name: &str, value: &str| {
        writeln!(script, "{name}='{}'", value.replace('\'', r"'\''"))
            .expect("writing to a string does not fail");
    };
    set("handler", &options.handler);
    set("focus", options.focus.as_deref().unwrap_or_default());
    set("skip", &skip.join("|"));
    set("unwanted", options.skip.as_deref().unwrap_or_default());
    set("transport", if options.websocket { WEBSOCKET } else { "" });
    set("verbose", if options.verbose { "yes" } else { "" });
    set("specs", SPECS);
    script + SCRIPT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_skipped_beside_what_the_user_skips() {
        let options = Options {
            handler: String::new(),
            focus: None,
            skip: Some("it's slow".to_owned()),
            websocket: false,
            verbose: false,
        };
        let script = script(&options);
        let quoted = r"it'\''s slow";
        for setting in [
            format!("skip='public image with digest|{quoted}'\n"),
            format!("unwanted='{quoted}'\n"),
        ] {
            assert!(script.contains(&setting), "{setting} in {script}");
        }
    }
}

//! A test program for one kind: takes words that names of tests must contain, and talks like Rust's own
//! test harness.

#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a check fails by panicking"
)]

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use sandbox::conformance::{Bench, Outcome, check_all};

#[path = "image.rs"]
mod image;
#[path = "machines.rs"]
mod machines;
#[path = "namespaces.rs"]
mod namespaces;
#[path = "network.rs"]
mod network;
#[path = "node.rs"]
mod node;
#[path = "server.rs"]
mod server;
#[path = "shares.rs"]
mod shares;

pub use node::Kind;
use node::Node;

/// Runs the checks of `kind`, or, where this program was started by itself, the server under test.
pub fn main(kind: Kind) -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("threads can be started");
    let level = std::env::var("LOG")
        .ok()
        .and_then(|level| level.parse().ok());
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level.unwrap_or(tracing::Level::WARN))
        .init();
    if let [command, dir] = args.as_slice()
        && command == server::COMMAND
    {
        return runtime.block_on(server::serve(&Node::at(kind, dir.into())));
    }
    let filters: Vec<_> = args
        .into_iter()
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    runtime.block_on(check(kind, &filters))
}

async fn check(kind: Kind, filters: &[String]) -> ExitCode {
    let node = Arc::new(Node::new(kind));
    let bench: Arc<dyn Bench> = node.clone();
    let wanted = |check: &str| {
        filters.is_empty() || filters.iter().any(|filter| check.contains(filter.as_str()))
    };
    let mut outcomes = match bench.sandboxer().available() {
        Ok(()) => check_all(bench, wanted, report).await,
        Err(why) => return unavailable(&why),
    };
    let of_this_kind = match kind {
        Kind::Namespaced => &namespaces::CHECKS[..],
        Kind::Vm => &machines::CHECKS,
    };
    outcomes.extend(machines::check_each(of_this_kind, &node, wanted, report).await);
    if wanted(server::CHECK) {
        let outcome = server::check_killed(&node).await;
        report(&outcome);
        outcomes.push(outcome);
    }
    let failed = outcomes
        .iter()
        .filter(|outcome| outcome.failure.is_some())
        .count();
    let word = if failed == 0 { "ok" } else { "FAILED" };
    say(&format!(
        "\ntest result: {word}. {} passed; {failed} failed",
        outcomes.len() - failed
    ));
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn unavailable(why: &str) -> ExitCode {
    say(&format!(
        "{why}\ntest this_node_can_make_sandboxes ... FAILED"
    ));
    say("\ntest result: FAILED. 0 passed; 1 failed");
    ExitCode::FAILURE
}

fn report(outcome: &Outcome) {
    let (check, took) = (&outcome.check, outcome.took.as_secs_f32());
    match &outcome.failure {
        None => say(&format!("test {check} ... ok ({took:.1} s)")),
        Some(why) => say(&format!("{check}: {why}\ntest {check} ... FAILED")),
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

//! Running test programs in nodes, several side by side where there are as many suites.

use super::built::Program;
use super::place::Place;
use super::stopwatch::Stopwatch;
use super::tally::Tally;
use crate::node::{Died, OwnedNode, Product};
use crate::{build, process};
use anyhow::{Context, Result};
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

/// Nodes at once. Each has one CPU where it is emulated, and waits for almost a third of its time, so
/// three use the two cores of a small machine.
const NODES: usize = 3;

/// How often a suite may lose its node before it is given up.
const NODES_PER_SUITE: u32 = 3;

/// So many failures of a suite with machines are tried again: in an emulated node a guest may get no
/// CPU for so long that its own kernel complains. More are not the node's fault.
const TRIED_AGAIN: usize = 2;

/// Nothing in a suite takes so long that is not stuck, unless somebody asks for much.
const TIME_LIMIT: Duration = Duration::from_secs(40 * 60);
const TIME_LIMIT_OF_MUCH: Duration = Duration::from_secs(3 * 60 * 60);

/// In e2e, the tests of networks, of both kinds, because they change the node's network.
const NETWORKS: &str = "network::";

/// In e2e, those of streams, which would make the tests with machines twice as long as any other suite.
/// Each of them is one of machines or one of namespaces.
const STREAMS: &str = "streaming::";

/// How many pods the tests for leaks make, how many sessions are dropped, and how much is streamed, if
/// set; handed on into the node.
const AMOUNTS: [&str; 3] = [
    "BULKHEAD_E2E_PODS",
    "BULKHEAD_E2E_SESSIONS",
    "BULKHEAD_E2E_MIB",
];

/// About how long suites take in an emulated node, in seconds. The longest begin, so that the nodes end
/// together. Those that are not here take less than a minute.
const LENGTHS: [(&str, u32); 7] = [
    ("e2e with machines", 480),
    ("e2e networks", 380),
    ("sandbox vm", 370),
    ("e2e without machines", 210),
    ("e2e streams of machines", 200),
    ("agent containers", 150),
    ("e2e streams without machines", 100),
];

/// Where a server under test writes its log, in the node.
const SERVER_LOG: &str = "/var/log/bulkhead.log";

/// A test program, with the tests of it to run.
#[derive(Clone)]
pub(super) struct Suite {
    name: String,
    programs: Vec<Program>,
    arguments: Vec<String>,
    wants_server: bool,
}

impl Suite {
    /// The suites that a test target is run as.
    pub(super) fn split(package: &str, name: &str, filter: Option<&str>) -> Vec<Self> {
        let suite = |label: &str, arguments: Vec<String>| Self {
            name: format!("{package} {label}"),
            programs: Vec::new(),
            arguments,
            wants_server: package == "e2e",
        };
        let words = |list: &[&str]| list.iter().map(|&word| word.to_owned()).collect();
        match filter {
            Some(filter) => vec![suite(name, vec![filter.to_owned()])],
            None if package == "e2e" => vec![
                suite(
                    "with machines",
                    words(&[
                        "kvm::",
                        "machines::",
                        "--skip=network::",
                        "--skip=streaming::",
                    ]),
                ),
                suite(
                    "streams of machines",
                    words(&[STREAMS, "--skip=namespaced::"]),
                ),
                suite(
                    "streams without machines",
                    words(&[STREAMS, "--skip=kvm::"]),
                ),
                suite("networks", words(&[NETWORKS])),
                suite(
                    "without machines",
                    words(&[
                        "--skip=kvm::",
                        "--skip=machines::",
                        "--skip=network::",
                        "--skip=streaming::",
                    ]),
                ),
            ],
            None => vec![suite(name, Vec::new())],
        }
    }

    /// Whether a part of its name is in `wanted`, or anything is wanted.
    pub(super) fn is_one_of(&self, wanted: &[String]) -> bool {
        wanted.is_empty() || wanted.iter().any(|part| self.name.contains(part.as_str()))
    }

    /// With what cargo built: the test target, and its crate's binaries.
    pub(super) fn with(self, programs: &[Program]) -> Self {
        Self {
            programs: programs.to_vec(),
            ..self
        }
    }

    fn program(&self) -> Option<&Program> {
        self.programs.iter().find(|program| program.is_test())
    }

    /// Whether it talks to a server, which it leaves running.
    pub(super) fn wants_server(&self) -> bool {
        self.wants_server
    }

    /// Whether it may leave the node another one than it was: all of e2e that may have tests of networks,
    /// such as those that are tried again.
    pub(super) fn changes_node(&self) -> bool {
        let without = [STREAMS, "--skip=network::"];
        let mut arguments = self.arguments.iter();
        self.wants_server && !arguments.any(|argument| without.contains(&argument.as_str()))
    }

    /// About how long it takes, in seconds.
    fn length(&self) -> u32 {
        let known = LENGTHS.iter().find(|(name, _)| *name == self.name);
        known.map_or(0, |&(_, seconds)| seconds)
    }

    /// It boots machines in its node.
    fn has_machines(&self) -> bool {
        self.arguments
            .iter()
            .any(|argument| [NETWORKS, "kvm::", "--skip=namespaced::"].contains(&argument.as_str()))
            || self.name.ends_with(" vm")
            || self.name.starts_with("vmm ")
    }

    fn products(&self) -> Vec<Product> {
        let product = |program: &Program| {
            let path = format!("tests/{}", file_name(&program.path));
            Product::new(program.path.clone(), path)
        };
        self.programs.iter().map(product).collect()
    }

    fn script(&self) -> Result<String> {
        let program = self.program().context("a suite has a test program")?;
        let mut script = String::from("cd /root; export RUST_BACKTRACE=1 RUST_LIB_BACKTRACE=0; ");
        let mut limit = TIME_LIMIT;
        for name in AMOUNTS {
            let amount = std::env::var(name).ok();
            if let Some(amount) = amount.filter(|amount| amount.parse::<u32>().is_ok()) {
                script += &format!("export {name}={amount}; ");
                limit = TIME_LIMIT_OF_MUCH;
            }
        }
        // Tests know the crate's binaries by where cargo built them.
        for binary in self.programs.iter().filter(|binary| !binary.is_test()) {
            let path = &binary.path;
            let parent = path.parent().context("a program has a directory")?;
            let parent = parent.display();
            let link = format!("ln -sf /opt/tests/{} {}", file_name(path), path.display());
            script += &format!("mkdir -p {parent}; {link}; ");
        }
        // The suite before in this node may have left one.
        script += &if self.wants_server {
            format!(
                "pgrep -x bulkhead > /dev/null || \
                 setsid --fork /usr/local/bin/bulkhead serve > {SERVER_LOG} 2>&1 < /dev/null; "
            )
        } else {
            "pkill -KILL -x bulkhead; ".to_owned()
        };
        let (limit, arguments) = (limit.as_secs(), self.arguments.join(" "));
        script += &format!(
            "timeout --kill-after=10 {limit} /opt/tests/{} --test-threads=1 {arguments} 2>&1",
            file_name(&program.path)
        );
        Ok(script)
    }
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Runs all suites to their end and adds their results up.
pub(super) fn run_in_nodes(suites: &[Suite]) -> Tally {
    let mut longest_first: Vec<&Suite> = suites.iter().collect();
    longest_first.sort_by_key(|suite| Reverse(suite.length()));
    let queue = Mutex::new(VecDeque::from(longest_first));
    let next = || queue.lock().map_or(None, |mut queue| queue.pop_front());
    let mut products: Vec<Product> = suites.iter().flat_map(Suite::products).collect();
    products.push(Product::of_binary(&build::TESTED_SERVER));
    let work = |number: usize| {
        let mut place = Place::new(number, &products);
        let mut tally = Tally::default();
        while let Some(suite) = next() {
            tally.add(run_fairly(suite, &mut place));
        }
        tally
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (1..=NODES.min(suites.len()))
            .map(|number| scope.spawn(move || work(number)))
            .collect();
        let mut tally = Tally::default();
        for worker in workers {
            tally.add(worker.join().expect("a worker does not panic"));
        }
        tally
    })
}

/// Runs one suite, and those of its machines' tests again that failed.
fn run_fairly(suite: &Suite, place: &mut Place) -> Tally {
    let mut tally = run(suite, place);
    if tally.has_failures() {
        // It may have left anything behind.
        place.leave();
    }
    let failed = tally.failed_tests(&suite.name, TRIED_AGAIN);
    if let Some(arguments) = failed.filter(|_| suite.has_machines()) {
        process::step(&format!("{}: again {}", suite.name, arguments.join(" ")));
        let again = Suite {
            arguments,
            ..suite.clone()
        };
        tally.correct_by(&run(&again, place));
    }
    tally
}

/// Runs one suite, and in another node whenever one dies.
fn run(suite: &Suite, place: &mut Place) -> Tally {
    let mut why = String::new();
    for _ in 0..NODES_PER_SUITE {
        let node = place.node_for(suite);
        match node.and_then(|node| run_once(suite, node)) {
            Ok(tally) => return tally,
            Err(error) => {
                place.leave();
                why = format!("{error:#}");
                process::step(&format!("{}: no result: {why}", suite.name));
                if !error.is::<Died>() {
                    break;
                }
            }
        }
    }
    let mut tally = Tally::default();
    let first_line = why.lines().next().unwrap_or_default();
    tally.unfinished(&suite.name, first_line);
    tally
}

fn run_once(suite: &Suite, node: &OwnedNode) -> Result<Tally> {
    process::step(&format!("{}: running in node {}", suite.name, node.name()));
    let mut tally = Tally::default();
    let mut stopwatch = Stopwatch::start(|| node.cpu_time());
    let code = node.channel().each_line(&suite.script()?, |line| {
        process::say(&format!("[{}] {}", suite.name, stopwatch.line(line)));
        tally.take_line(&suite.name, line);
    })?;
    if code != 0 {
        tally.must_have_failures(&suite.name, &format!("it ended with exit code {code}"));
        show_server_log(suite, node)?;
    }
    tally.must_have_results(&suite.name);
    Ok(tally)
}

/// What the server said is mostly why a test failed.
fn show_server_log(suite: &Suite, node: &OwnedNode) -> Result<()> {
    if suite.wants_server {
        process::say(&format!("[{}] the end of the server's log:", suite.name));
        let script = format!("tail -n 60 {SERVER_LOG}");
        node.channel().each_line(&script, |line| {
            process::say(&format!("[{}] {line}", suite.name))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_has_no_tests_of_networks_leaves_the_node_as_it_was() {
        let changes = |suites: Vec<Suite>| {
            let changing = suites.into_iter().filter(Suite::changes_node);
            changing.map(|suite| suite.name).collect::<Vec<_>>()
        };
        assert_eq!(changes(Suite::split("e2e", "e2e", None)), ["e2e networks"]);
        assert_eq!(changes(Suite::split("e2e", "e2e", Some("x"))), ["e2e e2e"]);
        assert!(changes(Suite::split("agent", "containers", None)).is_empty());
    }
}

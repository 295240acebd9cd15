//! What operators watch, in the OpenMetrics format: durations and counts since the start of the
//! server, and what there is now.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tonic::Code;

use crate::CriServer;

pub use config::Config;
pub(crate) use listen::open;

mod config;
mod listen;
mod now;

/// All names begin so.
const PREFIX: &str = "bulkhead";

/// Counts and durations since the start.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    rpcs: Family<RpcLabels, Histogram, fn() -> Histogram>,
    steps: Family<StepLabels, Histogram, fn() -> Histogram>,
    deaths: Family<HandlerLabel, Counter>,
    ooms: Family<HandlerLabel, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RpcLabels {
    rpc: &'static str,
    code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    handler: String,
    step: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandlerLabel {
    handler: String,
}

/// What a pod's start consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Its network namespace is made and connected.
    Network,
    /// Of that, what is neither plugins nor waiting for them: the namespace, its loopback, records.
    NetworkOwn,
    /// Its sandbox is made: a supervisor, or a machine until its agent answers.
    Sandbox,
    /// Of that, what the sandbox does to its network on the node: devices and redirections of a machine.
    NetworkWiring,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix(PREFIX),
            rpcs: Family::new_with_constructor(durations),
            steps: Family::new_with_constructor(durations),
            deaths: Family::default(),
            ooms: Family::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The server that runs", build);
        registry.register_with_unit(
            "rpc_duration",
            "How long calls of the kubelet took, by the code of the answer",
            Unit::Seconds,
            self.rpcs.clone(),
        );
        registry.register_with_unit(
            "pod_start_step_duration",
            "How long the steps of RunPodSandbox took that succeeded",
            Unit::Seconds,
            self.steps.clone(),
        );
        registry.register(
            "sandbox_deaths",
            "Sandboxes that ended without being asked to",
            self.deaths.clone(),
        );
        registry.register(
            "container_oom_kills",
            "Containers that ended because of their memory limit",
            self.ooms.clone(),
        );
    }

    /// A call was answered.
    pub(crate) fn answered(&self, rpc: &'static str, code: Code, took: Duration) {
        let code = format!("{code:?}");
        let rpc = self.rpcs.get_or_create_owned(&RpcLabels { rpc, code });
        rpc.observe(took.as_secs_f64());
    }

    /// A step of a pod's start was done.
    pub(crate) fn stepped(&self, handler: &str, step: Step, took: Duration) {
        let labels = StepLabels {
            handler: handler.to_owned(),
            step: step.name(),
        };
        let step = self.steps.get_or_create_owned(&labels);
        step.observe(took.as_secs_f64());
    }

    /// A sandbox ended without being asked to.
    pub(crate) fn died(&self, handler: &str) {
        self.deaths.get_or_create_owned(&label(handler)).inc();
    }

    /// A container ended because of its memory limit.
    pub(crate) fn out_of_memory(&self, handler: &str) {
        self.ooms.get_or_create_owned(&label(handler)).inc();
    }
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::NetworkOwn => "network_own",
            Self::Sandbox => "sandbox",
            Self::NetworkWiring => "network_wiring",
        }
    }
}

fn label(handler: &str) -> HandlerLabel {
    HandlerLabel {
        handler: handler.to_owned(),
    }
}

/// From what a local call takes to what a pull may take: 0.25 ms to 131 s.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.00025, 2.0, 20))
}

/// All of them, as a scraper reads them.
fn text(server: &CriServer) -> Result<String, fmt::Error> {
    let mut text = String::new();
    encode_registry(&mut text, &server.metrics.registry)?;
    encode_registry(&mut text, &now::registry(server))?;
    encode_eof(&mut text)?;
    Ok(text)
}

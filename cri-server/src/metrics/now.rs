//! What there is at this moment, and what parts of the server count by themselves.

use cri_streaming::Counts;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::PREFIX;
use crate::CriServer;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Population {
    handler: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CniCommand {
    command: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Way {
    way: &'static str,
}

pub(super) fn registry(server: &CriServer) -> Registry {
    let mut registry = Registry::with_prefix(PREFIX);
    pods_and_containers(server, &mut registry);
    images(server, &mut registry);
    plugins(server, &mut registry);
    if let Some(streaming) = server.streaming.get() {
        sessions(streaming.counts(), &mut registry);
    }
    registry
}

fn pods_and_containers(server: &CriServer, registry: &mut Registry) {
    let (pods, containers) = (Family::<Population, Gauge>::default(), Family::default());
    let count = |family: &Family<Population, Gauge>, handler: &str, state| {
        let handler = handler.to_owned();
        family
            .get_or_create_owned(&Population { handler, state })
            .inc();
    };
    for pod in server.pods.all() {
        let record = pod.record.get();
        let handler = server.handlers.name(&record.handler);
        count(&pods, handler, record.state.word());
        for container in server.containers.of(&pod.id) {
            count(&containers, handler, container.record.get().state.word());
        }
    }
    registry.register("pods", "Pods by handler and state", pods);
    registry.register("containers", "Containers by handler and state", containers);
}

fn images(server: &CriServer, registry: &mut Registry) {
    let usage = server.images.usage();
    let (count, bytes) = (Gauge::<i64>::default(), Gauge::<i64>::default());
    count.set(i64::try_from(server.images.list().len()).unwrap_or(i64::MAX));
    bytes.set(i64::try_from(usage.used_bytes).unwrap_or(i64::MAX));
    registry.register("images", "Images on this node", count);
    registry.register_with_unit("image_store", "Space that images take", Unit::Bytes, bytes);
}

fn plugins(server: &CriServer, registry: &mut Registry) {
    let [runs, failures, time_outs]: [Family<CniCommand, Counter>; 3] = Default::default();
    let seconds = Family::<CniCommand, Counter<f64, std::sync::atomic::AtomicU64>>::default();
    for (command, stats) in server.network.plugin_stats() {
        let label = CniCommand {
            command: command.to_string(),
        };
        runs.get_or_create(&label).inc_by(stats.runs);
        failures.get_or_create(&label).inc_by(stats.failures);
        time_outs.get_or_create(&label).inc_by(stats.timeouts);
        seconds
            .get_or_create(&label)
            .inc_by(stats.took.as_secs_f64());
    }
    registry.register("cni_plugin_runs", "Network plugins that were run", runs);
    registry.register("cni_plugin_failures", "Of these, failed", failures);
    registry.register("cni_plugin_timeouts", "Of these, took too long", time_outs);
    registry.register_with_unit(
        "cni_plugin_run",
        "How long network plugins ran together",
        Unit::Seconds,
        seconds,
    );
}

fn sessions(counts: Counts, registry: &mut Registry) {
    let mut count = |name: &str, help: &str, value: u64| {
        let counter = Counter::<u64>::default();
        counter.inc_by(value);
        registry.register(name, help, counter);
    };
    count(
        "streaming_sessions_started",
        "Exec, attach and port-forward sessions",
        counts.started,
    );
    count("streaming_sessions_ended", "Of these, over", counts.ended);
    count(
        "streaming_requests_refused",
        "Requests that were turned away",
        counts.refused,
    );
    let ends = Family::<Way, Counter>::default();
    for (way, value) in [
        ("client_gone", counts.clients_gone),
        ("timed_out", counts.timed_out),
        ("violation", counts.violations),
    ] {
        ends.get_or_create(&Way { way }).inc_by(value);
    }
    registry.register(
        "streaming_sessions_cut",
        "Sessions that ended early, by way",
        ends,
    );
}

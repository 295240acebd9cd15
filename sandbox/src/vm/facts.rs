//! What a machine tells an operator about itself.

use vmm_api::{Reply, Request};

use super::launch::Launched;
use super::sandbox::Shared;
use crate::agent::quoted;

impl Shared {
    /// Facts by name.
    pub(super) async fn facts(&self) -> Vec<(String, String)> {
        let launched = &self.launched;
        let hello = launched.agent.client().hello();
        let facts = [
            ("kind", "virtual machine".to_owned()),
            ("vmm_pid", launched.supervisor.pid().to_string()),
            ("vmm_user", launched.uid.to_string()),
            ("vmm_log", launched.places.log.display().to_string()),
            ("console", launched.places.console.display().to_string()),
            ("kernel", quoted(&hello.kernel)),
            ("agent", quoted(&hello.build)),
            ("memory", launched.size.memory_because.clone()),
            ("vcpus", launched.size.vcpus_because.clone()),
            ("network", network(launched)),
            ("counters", counters(launched).await),
            ("cgroup", launched.cgroup.path().to_owned()),
        ];
        let facts = facts.map(|(name, value)| (name.to_owned(), value));
        let server = self.shares.server_pid().await;
        let server = server.map(|pid| ("fsd_pid".to_owned(), pid.to_string()));
        facts
            .into_iter()
            .chain(server)
            .chain(self.notes())
            .collect()
    }
}

fn network(launched: &Launched) -> String {
    match launched.network.as_str() {
        "" => "none: an earlier build made the machine, without network devices".to_owned(),
        network => network.to_owned(),
    }
}

/// What the VMM and its devices have counted since the machine began.
async fn counters(launched: &Launched) -> String {
    match launched.control.ask(&Request::Status, &[]).await {
        Ok(Reply::Status(status)) => {
            let counters = status.counters.iter();
            let words = counters.map(|(name, count)| format!("{} {count}", quoted(name)));
            words.collect::<Vec<_>>().join(", ")
        }
        Ok(other) => format!("the VMM answered {other:?}"),
        Err(error) => format!("unknown: {}", error.chain()),
    }
}

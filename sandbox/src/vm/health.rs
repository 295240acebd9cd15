//! Whether a guest still answers.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::agent::Agent;

/// How often the agent is asked.
const INTERVAL: Duration = Duration::from_secs(10);

/// Resolves when the agent has not answered for `limit`. No limit never resolves.
pub(super) async fn hung(agent: &Agent, limit: Option<Duration>) {
    let Some(limit) = limit else {
        return std::future::pending().await;
    };
    // The clock does not run while the node is suspended, so waking up is no reason to kill a guest.
    let mut answered = Instant::now();
    loop {
        sleep(INTERVAL.min(limit / 2)).await;
        match agent.client().list_containers(None).await {
            Ok(_) => answered = Instant::now(),
            Err(error) => {
                tracing::debug!(%error, silent = ?answered.elapsed(), "a guest does not answer");
            }
        }
        if answered.elapsed() >= limit {
            return;
        }
    }
}

//! What an agent tells without being asked, followed for as long as the sandbox lives.

use std::sync::Arc;
use std::time::Duration;

use agent_api::client::Client;
use agent_api::v1::{self, event::Event as Told};
use tokio::time::{Instant, sleep};

use super::Pids;
use super::life::exit;
use super::table::Table;
use crate::ContainerId;

/// Between two attempts to follow.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// No more than so many events are looked at in one such time. An agent that has more to tell waits;
/// a guest that floods us costs no more than this.
const BURST: u32 = 256;
const BURST_TIME: Duration = Duration::from_millis(250);

/// Follows the agent's events and writes them into `table`. Ends only by being aborted.
pub(super) async fn follow(client: Client, table: Arc<Table>) {
    let mut after = 0;
    let mut pause = FIRST_PAUSE;
    loop {
        let heard = after;
        if let Err(error) = follow_once(&client, &table, &mut after).await {
            tracing::debug!(%error, after, "the agent's events broke off");
        }
        pause = if after == heard {
            (pause * 2).min(LONGEST_PAUSE)
        } else {
            FIRST_PAUSE
        };
        sleep(pause).await;
    }
}

async fn follow_once(
    client: &Client,
    table: &Table,
    after: &mut u64,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut events = client.events(*after).await?;
    // The agent remembers a limited number of events; what is past shows in the list as well.
    for listed in client.list_containers(None).await? {
        if let Some(life) = table.get(&ContainerId(listed.container_id.clone())) {
            life.recalled(&listed, Pids::OfGuest);
        }
    }
    let mut throttle = Throttle::default();
    while let Some(event) = events.message().await? {
        throttle.admit().await;
        *after = event.number;
        apply(&event, table);
    }
    Ok(())
}

fn apply(event: &v1::Event, table: &Table) {
    match &event.event {
        Some(Told::Exited(exited)) => {
            if let Some(life) = table.get(&ContainerId(exited.container_id.clone())) {
                life.left(&exited.last_words);
                life.ended(exit(exited.exit.unwrap_or_default()));
            }
        }
        // The end of the container says so too, and until then CRI has no word for it.
        Some(Told::Oom(_)) | None => {}
    }
}

/// Lets a burst through at once and then no more until its time is over.
#[derive(Default)]
struct Throttle {
    since: Option<Instant>,
    admitted: u32,
}

impl Throttle {
    async fn admit(&mut self) {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        if now - since >= BURST_TIME {
            (self.since, self.admitted) = (Some(now), 0);
        } else if self.admitted == BURST {
            sleep(BURST_TIME - (now - since)).await;
            (self.since, self.admitted) = (Some(Instant::now()), 0);
        }
        self.admitted += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_written_down_and_strangers_are_ignored() {
        let table = Table::default();
        let life = table.insert(&ContainerId("c1".into()));
        let exited = |id: &str, code| v1::Event {
            event: Some(Told::Exited(v1::ContainerExited {
                container_id: id.into(),
                exit: Some(v1::ContainerExit {
                    code,
                    ..v1::ContainerExit::default()
                }),
                last_words: Vec::new(),
            })),
            ..v1::Event::default()
        };
        apply(&exited("stranger", 1), &table);
        assert_eq!(life.status().exit, None);
        apply(&exited("c1", 9), &table);
        assert_eq!(life.status().exit.map(|exit| exit.code), Some(9));
        assert!(table.get(&ContainerId("stranger".into())).is_none());
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn a_flood_is_let_in_by_bursts() {
        let mut throttle = Throttle::default();
        let start = Instant::now();
        for _ in 0..BURST {
            throttle.admit().await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..BURST * 4 {
            throttle.admit().await;
        }
        assert!(start.elapsed() >= BURST_TIME * 4);
    }
}

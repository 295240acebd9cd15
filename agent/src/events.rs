//! What happened to containers, numbered, so that whoever lost the connection misses nothing.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use agent_api::v1;
use parking_lot::Mutex;
use tokio::sync::watch;

/// Events that are kept for those who come late. A pod has few.
const KEPT: usize = 4096;

/// All events since the agent started, or the latest of them.
#[derive(Debug)]
pub(crate) struct Events {
    kept: Mutex<VecDeque<v1::Event>>,
    last: watch::Sender<u64>,
}

/// Some of the events asked for are forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("events up to {0} are no longer known; list the containers instead")]
pub(crate) struct Forgotten(u64);

impl Default for Events {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            last: watch::Sender::new(0),
        }
    }
}

impl Events {
    /// Records an event and wakes those who wait for it.
    pub(crate) fn publish(&self, event: v1::event::Event) {
        let mut kept = self.kept.lock();
        let number = *self.last.borrow() + 1;
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(v1::Event {
            number,
            time_ns: now_ns(),
            event: Some(event),
        });
        self.last.send_replace(number);
    }

    /// The events with numbers above `after`; waits for one if there is none.
    pub(crate) async fn after(&self, after: u64) -> Result<Vec<v1::Event>, Forgotten> {
        let mut last = self.last.subscribe();
        // The sender lives as long as we do.
        let _ = last.wait_for(|last| *last > after).await;
        let kept = self.kept.lock();
        match kept.front() {
            Some(first) if first.number > after + 1 => Err(Forgotten(first.number - 1)),
            _ => Ok(kept
                .iter()
                .filter(|event| event.number > after)
                .cloned()
                .collect()),
        }
    }
}

/// Nanoseconds since 1970.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oom(container_id: &str) -> v1::event::Event {
        v1::event::Event::Oom(v1::ContainerOom {
            container_id: container_id.to_owned(),
        })
    }

    #[tokio::test(flavor = "current_thread")]
    async fn who_comes_late_gets_what_was_missed_and_then_waits() {
        let events = Events::default();
        events.publish(oom("a"));
        events.publish(oom("b"));
        let numbers: Vec<_> = events
            .after(1)
            .await
            .unwrap()
            .iter()
            .map(|e| e.number)
            .collect();
        assert_eq!(numbers, [2]);
        let (next, ()) = tokio::join!(events.after(2), async { events.publish(oom("c")) });
        assert_eq!(next.unwrap()[0].number, 3);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_forgotten_is_said_to_be() {
        let events = Events::default();
        for _ in 0..=KEPT {
            events.publish(oom("a"));
        }
        assert_eq!(events.after(0).await, Err(Forgotten(1)));
        assert_eq!(events.after(1).await.unwrap().len(), KEPT);
    }
}

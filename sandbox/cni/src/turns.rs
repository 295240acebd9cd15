//! Who may run plugins when: one operation per container, so many at once, garbage collection alone.
//!
//! CNI 1.1 §3: no two operations on one container at a time, and no ADD or DEL during GC.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{
    Mutex as AsyncMutex, OwnedMutexGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard,
    OwnedSemaphorePermit, RwLock, Semaphore,
};
use tokio::time::timeout;

/// The turns of one node.
#[derive(Debug)]
pub(crate) struct Turns {
    /// How many plugins run.
    running: Arc<Semaphore>,
    /// How many of these run for an ADD.
    adding: Arc<Semaphore>,
    /// How many undo what nobody waits for.
    cleaning: Arc<Semaphore>,
    collecting: Arc<RwLock<()>>,
    containers: Arc<Containers>,
}

type Containers = Mutex<HashMap<String, Arc<AsyncMutex<()>>>>;

/// The right to run plugins for one container, one plugin at a time.
#[derive(Debug)]
pub(crate) struct Turn {
    _permits: Vec<OwnedSemaphorePermit>,
    _not_collecting: OwnedRwLockReadGuard<()>,
    container: Option<OwnedMutexGuard<()>>,
    id: String,
    containers: Arc<Containers>,
}

/// The right to run plugins, one at a time, while nobody else has a turn.
#[derive(Debug)]
pub(crate) struct Alone {
    _collecting: OwnedRwLockWriteGuard<()>,
}

const OPEN: &str = "the semaphore is never closed";

impl Turns {
    /// At most `most` plugins at once, of which ADD leaves a quarter and at least one to others. Of
    /// these, what nobody waits for leaves half to those that somebody does, as far as it can be halved.
    pub(crate) fn new(most: usize) -> Self {
        let kept = (most / 4).max(1);
        let adding = most.saturating_sub(kept).max(1);
        Self {
            running: Arc::new(Semaphore::new(most.max(2))),
            adding: Arc::new(Semaphore::new(adding)),
            cleaning: Arc::new(Semaphore::new((kept / 2).max(1))),
            collecting: Arc::default(),
            containers: Arc::default(),
        }
    }

    /// A turn for an ADD, or nothing if it does not come within `limit`.
    pub(crate) async fn add(&self, container_id: &str, limit: Duration) -> Option<Turn> {
        let wait = async {
            let mut turn = self.begin(container_id).await;
            turn._permits.push(acquire(&self.adding).await);
            turn._permits.push(acquire(&self.running).await);
            turn
        };
        timeout(limit, wait).await.ok()
    }

    /// A turn for anything else. It comes, however long it takes: nothing is dropped.
    pub(crate) async fn other(&self, container_id: &str) -> Turn {
        let mut turn = self.begin(container_id).await;
        turn._permits.push(acquire(&self.running).await);
        turn
    }

    /// A turn to undo what nobody waits for. However many of these hang, others get theirs.
    pub(crate) async fn cleaning(&self, container_id: &str) -> Turn {
        let permit = acquire(&self.cleaning).await;
        let mut turn = self.other(container_id).await;
        turn._permits.push(permit);
        turn
    }

    async fn begin(&self, container_id: &str) -> Turn {
        let lock = {
            let mut containers = self.containers.lock();
            containers
                .entry(container_id.to_owned())
                .or_default()
                .clone()
        };
        Turn {
            container: Some(lock.lock_owned().await),
            _not_collecting: self.collecting.clone().read_owned().await,
            _permits: Vec::new(),
            id: container_id.to_owned(),
            containers: self.containers.clone(),
        }
    }

    /// Alone, or nothing if others are not done within `limit`: new turns have to wait meanwhile.
    pub(crate) async fn alone(&self, limit: Duration) -> Option<Alone> {
        let collecting = timeout(limit, self.collecting.clone().write_owned());
        Some(Alone {
            _collecting: collecting.await.ok()?,
        })
    }

    /// How many more plugins could run now.
    pub(crate) fn free(&self) -> usize {
        self.running.available_permits()
    }
}

async fn acquire(semaphore: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    semaphore.clone().acquire_owned().await.expect(OPEN)
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut containers = self.containers.lock();
        drop(self.container.take());
        // Held by the table alone: nobody waits. Who only asked for it and went away leaves it to the next.
        containers.retain(|id, lock| *id != self.id || Arc::strong_count(lock) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    async fn waits<T>(turn: impl Future<Output = T>) -> bool {
        timeout(SHORT, turn).await.is_err()
    }

    #[tokio::test]
    async fn slow_adds_leave_room_for_dels() {
        let turns = Turns::new(4);
        let mut adds = Vec::new();
        for id in ["a", "b", "c"] {
            adds.push(turns.add(id, SHORT).await.unwrap());
        }
        assert!(turns.add("d", SHORT).await.is_none());
        let del = turns.other("e").await;
        assert!(waits(turns.other("f")).await, "no more than four at once");
        drop(del);
        assert!(!waits(turns.other("f")).await);
    }

    #[tokio::test]
    async fn a_container_has_one_operation_at_a_time_and_leaves_nothing_behind() {
        let turns = Turns::new(8);
        let add = turns.add("a", SHORT).await.unwrap();
        assert!(waits(turns.other("a")).await);
        assert!(!waits(turns.other("b")).await);
        drop(add);
        assert!(!waits(turns.other("a")).await);
        assert!(turns.containers.lock().is_empty());
        assert_eq!(turns.free(), 8);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_keeps_nobody_waiting() {
        let turns = Turns::new(8);
        let cleaning = turns.cleaning("a").await;
        assert!(waits(turns.cleaning("b")).await);
        assert!(!waits(turns.other("b")).await);
        let mut adds = Vec::new();
        for id in ["c", "d", "e", "f", "g", "h"] {
            adds.push(turns.add(id, SHORT).await.unwrap());
        }
        assert!(!waits(turns.other("b")).await);
        drop(cleaning);
        assert!(!waits(turns.cleaning("b")).await);
    }

    #[tokio::test]
    async fn a_waiting_del_gets_its_turn_after_the_add() {
        let turns = Arc::new(Turns::new(8));
        let add = turns.add("a", SHORT).await.unwrap();
        let del = tokio::spawn({
            let turns = turns.clone();
            async move { drop(turns.other("a").await) }
        });
        tokio::time::sleep(SHORT).await;
        drop(add);
        del.await.unwrap();
        assert!(turns.containers.lock().is_empty());
    }

    #[tokio::test]
    async fn collecting_excludes_everything_else_and_gives_up_in_time() {
        let turns = Turns::new(8);
        let add = turns.add("a", SHORT).await.unwrap();
        assert!(turns.alone(SHORT).await.is_none());
        drop(add);
        let alone = turns.alone(SHORT).await.unwrap();
        assert!(waits(turns.other("a")).await);
        drop(alone);
        assert!(!waits(turns.other("a")).await);
    }
}

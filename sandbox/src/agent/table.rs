//! The containers of one agent that the server knows of.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::life::{Life, lost};
use crate::{ContainerExit, ContainerId, RunState};

/// The containers of one agent that the server knows of. Only the server adds to it.
#[derive(Debug, Default)]
pub(crate) struct Table {
    lives: Mutex<HashMap<ContainerId, Arc<Life>>>,
}

impl Table {
    /// The container's life, begun now if it was unknown.
    pub(super) fn insert(&self, id: &ContainerId) -> Arc<Life> {
        let mut lives = self.lives.lock();
        lives
            .entry(id.clone())
            .or_insert_with(|| Arc::new(Life::new()))
            .clone()
    }

    /// The container's life, if it is known.
    pub(crate) fn get(&self, id: &ContainerId) -> Option<Arc<Life>> {
        self.lives.lock().get(id).cloned()
    }

    /// Forgets a container. Whoever waits for its end waits no longer.
    pub(crate) fn remove(&self, id: &ContainerId) {
        let removed = self.lives.lock().remove(id);
        if let Some(life) = removed {
            life.ended(lost("it was removed"));
        }
    }

    /// All containers whose end isn't known.
    pub(crate) fn living(&self) -> Vec<(ContainerId, Arc<Life>)> {
        let lives = self.lives.lock();
        lives
            .iter()
            .filter(|(_, life)| life.status().state != RunState::Exited)
            .map(|(id, life)| (id.clone(), life.clone()))
            .collect()
    }

    /// Ends all containers that still live: there is no agent any more.
    pub(super) fn end_all(&self, exit: &ContainerExit) {
        for (_id, life) in self.living() {
            life.ended(exit.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn nobody_waits_for_the_end_of_what_was_removed() {
        let (table, id) = (Table::default(), ContainerId("c".into()));
        let life = table.insert(&id);
        table.remove(&id);
        let exit = tokio::time::timeout(std::time::Duration::from_secs(5), life.exit());
        assert_eq!(exit.await.unwrap().message, "it was removed");
    }
}

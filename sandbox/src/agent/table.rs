//! The containers of one agent that the server knows of.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::life::Life;
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

    /// Forgets a container.
    pub(crate) fn remove(&self, id: &ContainerId) {
        self.lives.lock().remove(id);
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

//! Sandboxes made of host namespaces: one `bulkhead-agent` per pod supervises its containers.

use std::sync::Arc;

use async_trait::async_trait;

mod config;
mod container;
mod exits;
mod files;
mod launch;
mod sandbox;
mod saved;
mod sealed;

pub use config::Config;

use crate::leftovers::Leftovers;
use crate::{
    Adopted, Error, Features, ImageForm, Result, Sandbox, SandboxId, SandboxSpec, Sandboxer,
    SavedSandbox, cgroup,
};
use launch::Planned;
use sandbox::NamespacedSandbox;
use saved::{Found, Saved};
use sealed::SealedProgram;

/// Makes sandboxes of host namespaces.
#[derive(Debug)]
pub struct Namespaced {
    config: Config,
    agent: SealedProgram,
    leftovers: Leftovers,
}

impl Namespaced {
    /// Prepares this node for sandboxes of this kind.
    pub fn open(config: Config) -> Result<Self> {
        let dir = &config.runtime_dir;
        std::fs::create_dir_all(dir)
            .map_err(|e| Error::io(format!("make {}", dir.display()), e))?;
        Ok(Self {
            agent: SealedProgram::new(config.agent.clone(), dir.clone()),
            leftovers: Leftovers::in_dir(dir.clone()),
            config,
        })
    }
}

#[async_trait]
impl Sandboxer for Namespaced {
    fn features(&self) -> Features {
        Features {
            image_form: ImageForm::Mounted,
            host_network: true,
            host_namespaces: true,
            recursive_read_only_mounts: true,
            user_namespaces: false,
        }
    }

    fn available(&self) -> Result<(), String> {
        let agent = &self.config.agent;
        if !agent.is_file() {
            return Err(format!("the agent {} is missing", agent.display()));
        }
        cgroup::check_hierarchy()
    }

    async fn create(&self, spec: SandboxSpec) -> Result<Arc<dyn Sandbox>> {
        let id = spec.id.clone();
        let planned = Planned::new(&self.config, spec)?;
        self.leftovers.note(&id, &planned.leftover())?;
        let launched = match planned.prepare() {
            Ok(prepared) => prepared.launch(&self.agent).await,
            Err(error) => Err(error),
        };
        match launched {
            Ok(launched) => Ok(NamespacedSandbox::new(launched, self.leftovers.clone())),
            Err(error) => {
                if let Err(left) = self.leftovers.clear(&id).await {
                    tracing::error!(sandbox_id = %id, error = %left.chain(), "a half-made sandbox is left");
                }
                Err(error)
            }
        }
    }

    async fn adopt(&self, saved: SavedSandbox) -> Result<Adopted> {
        let content = Saved::read(&saved)?;
        match content.find(&saved.id, &self.config).await? {
            Found::Living(launched) => Ok(Adopted::Living(NamespacedSandbox::new(
                *launched,
                self.leftovers.clone(),
            ))),
            Found::Ended(places) => Ok(Adopted::Ended(exits::all(&places)?)),
        }
    }

    async fn discard(&self, id: &SandboxId) -> Result<()> {
        self.leftovers.clear(id).await
    }

    async fn sweep(&self, keep: &[SandboxId]) -> Result<()> {
        self.leftovers.sweep(keep).await
    }
}

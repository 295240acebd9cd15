//! Sandboxes made of a virtual machine: one `bulkhead-vmm` per pod, and the agent in its guest.

use std::sync::Arc;

use async_trait::async_trait;

mod config;

pub use config::{Config, Machine};

use crate::{
    Error, Features, ImageForm, Kind, Result, Sandbox, SandboxId, SandboxSpec, Sandboxer,
    SavedSandbox,
};

/// Makes sandboxes of virtual machines.
#[derive(Debug)]
pub struct Vm {
    config: Config,
}

impl Vm {
    /// Prepares this node for sandboxes of this kind.
    pub fn open(config: Config) -> Result<Self> {
        for dir in [&config.runtime_dir, &config.cache_dir] {
            std::fs::create_dir_all(dir).map_err(|source| {
                Error::caused(Kind::Internal, format!("make {}", dir.display()), source)
            })?;
        }
        Ok(Self { config })
    }
}

#[async_trait]
impl Sandboxer for Vm {
    fn features(&self) -> Features {
        Features {
            image_form: ImageForm::Extents,
            host_network: false,
            host_namespaces: false,
            recursive_read_only_mounts: true,
            user_namespaces: false,
        }
    }

    fn available(&self) -> std::result::Result<(), String> {
        Err(format!("{}: not built yet", self.config.vmm.display()))
    }

    async fn create(&self, _spec: SandboxSpec) -> Result<Arc<dyn Sandbox>> {
        Err(Error::new(
            Kind::Unsupported,
            "make a sandbox: not built yet",
        ))
    }

    async fn adopt(&self, _saved: SavedSandbox) -> Result<Arc<dyn Sandbox>> {
        Err(Error::new(
            Kind::Unsupported,
            "adopt a sandbox: not built yet",
        ))
    }

    async fn sweep(&self, _keep: &[SandboxId]) -> Result<()> {
        Ok(())
    }
}

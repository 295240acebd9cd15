//! Sandboxes made of host namespaces: one `bulkhead-agent` per pod supervises its containers.

use std::sync::Arc;

use async_trait::async_trait;

mod config;

pub use config::Config;

use crate::{
    Error, Features, ImageForm, Kind, Result, Sandbox, SandboxId, SandboxSpec, Sandboxer,
    SavedSandbox,
};

/// Makes sandboxes of host namespaces.
#[derive(Debug)]
pub struct Namespaced {
    config: Config,
}

impl Namespaced {
    /// Prepares this node for sandboxes of this kind.
    pub fn open(config: Config) -> Result<Self> {
        std::fs::create_dir_all(&config.runtime_dir).map_err(|source| {
            Error::caused(
                Kind::Internal,
                format!("make {}", config.runtime_dir.display()),
                source,
            )
        })?;
        Ok(Self { config })
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

    fn available(&self) -> std::result::Result<(), String> {
        Err(format!("{}: not built yet", self.config.agent.display()))
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

//! A node that belongs to this process and ends with it.

use super::boot;
use super::channel::Channel;
use super::products::Product;
use super::qemu::Lifetime;
use super::runtime_dir::RuntimeDir;
use crate::{process, repository};
use anyhow::Result;
use std::fs::File;
use std::time::Duration;

/// Switched off when it is dropped, and by the kernel when this process dies before that.
pub(crate) struct OwnedNode {
    channel: Channel,
    _lock: File,
}

impl OwnedNode {
    /// Boots the node `name`, with `extra` beside all that was built. One left by an earlier run of
    /// ours is ended.
    pub(crate) fn boot(name: &str, memory_mib: u32, extra: &[Product]) -> Result<Self> {
        let dir = RuntimeDir::open(name)?;
        let lock = repository::lock(&format!("node-{name}"))?;
        dir.down()?;
        let channel = boot::boot(dir, memory_mib, Lifetime::WithParent, extra)?;
        Ok(Self {
            channel,
            _lock: lock,
        })
    }

    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// How much CPU time it has used since it was switched on; none when it died.
    pub(crate) fn cpu_time(&self) -> Duration {
        self.channel.dir().cpu_time().unwrap_or_default()
    }

    pub(crate) fn name(&self) -> String {
        self.channel.dir().name()
    }
}

impl Drop for OwnedNode {
    fn drop(&mut self) {
        if let Err(error) = self.channel.dir().down() {
            process::step(&format!("node {}: {error:#}", self.name()));
        }
    }
}

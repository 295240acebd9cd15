//! Looks at configurations and plugins, again and again, so that nobody has to wait for a look.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::chain::Chain;
use crate::conf_dir;
use crate::config::Config;
use crate::error::{ConfigError, chain};
use crate::network_config::NetworkConfig;
use crate::plugins::Plugins;
use crate::readiness::{Found, ReadinessState};
use crate::version::{SpecVersion, Spoken, negotiate};
use crate::watch::Watch;

/// Looks at the network of a node.
pub(crate) struct Survey {
    conf_dir: PathBuf,
    plugin_dirs: Vec<PathBuf>,
    wanted: Option<String>,
    plugins: Arc<Plugins>,
}

impl Survey {
    pub(crate) fn new(config: &Config, plugins: Arc<Plugins>) -> Self {
        Self {
            conf_dir: config.conf_dir.clone(),
            plugin_dirs: config.plugin_dirs.clone(),
            wanted: config.network.clone(),
            plugins,
        }
    }

    /// Looks for ever, and tells what is new.
    pub(crate) async fn run(self, told: watch::Sender<ReadinessState>) {
        let mut state = ReadinessState::new();
        loop {
            let watch = Watch::arm(&self.watched(&state));
            let before = state.readiness();
            state = state.apply(self.look().await, Instant::now());
            let after = state.readiness();
            if before != after {
                log(&after);
            }
            told.send_replace(state.clone());
            watch.changed(state.pause()).await;
        }
    }

    fn watched(&self, state: &ReadinessState) -> Vec<PathBuf> {
        let mut dirs = self.plugin_dirs.clone();
        dirs.push(self.conf_dir.clone());
        // Plugins of a network may be in files there.
        dirs.extend(
            state
                .found()
                .map(|found| self.conf_dir.join(&found.config.name)),
        );
        dirs
    }

    /// A network that can be used now, or why there is none.
    async fn look(&self) -> Result<Arc<Found>, String> {
        let (dir, wanted) = (self.conf_dir.clone(), self.wanted.clone());
        let choose = move || conf_dir::choose(&dir, wanted.as_deref());
        let chosen = tokio::task::spawn_blocking(choose)
            .await
            .map_err(|error| error.to_string())??;
        for reason in &chosen.skipped {
            debug!(reason, "network configuration is passed over");
        }
        let file = chosen.file.clone();
        let named = |reason: String| format!("{}: {reason}", file.display());
        let config = self.settle(chosen.config).await.map_err(named)?;
        let network = Chain {
            plugins: &self.plugins,
            network: &config,
        };
        network
            .status()
            .await
            .map_err(|error| chain(&error))
            .map_err(named)?;
        Ok(Arc::new(Found {
            config,
            file: chosen.file,
        }))
    }

    /// All plugins are there, and a version is found that they speak.
    async fn settle(&self, config: NetworkConfig) -> Result<NetworkConfig, String> {
        let mut spoken = Vec::new();
        for plugin in &config.plugins {
            let answer = self.plugins.spoken(&plugin.program).await;
            spoken.push(answer.map_err(|error| chain(&error))?);
        }
        match negotiate(&config.versions, spoken.iter()) {
            Some(version) => Ok(config.with_version(version)),
            None => Err(chain(&no_version(&config, &spoken))),
        }
    }
}

fn no_version(config: &NetworkConfig, spoken: &[Spoken]) -> ConfigError {
    let list = |versions: &[SpecVersion]| {
        let versions = versions.iter().map(ToString::to_string);
        versions.collect::<Vec<_>>().join(" ")
    };
    let plugins = config.plugins.iter().zip(spoken);
    let plugins = plugins.map(|(plugin, spoken)| match spoken {
        Spoken::Versions(versions) => format!("{} speaks {}", plugin.program, list(versions)),
        Spoken::Unknown => format!("{} does not say", plugin.program),
    });
    ConfigError::Version {
        offered: list(&config.versions),
        spoken: plugins.collect::<Vec<_>>().join(", "),
    }
}

fn log(readiness: &crate::readiness::Readiness) {
    use crate::readiness::Readiness;
    match readiness {
        Readiness::Ready {
            doubt: Some(doubt),
            network,
            ..
        } => {
            warn!(network, doubt, "network is in doubt");
        }
        Readiness::Ready {
            network,
            version,
            file,
            ..
        } => {
            info!(network, %version, ?file, "network is ready");
        }
        Readiness::NotReady { reason } => warn!(reason, "network is not ready"),
    }
}

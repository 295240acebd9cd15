//! Everything that an operator may set. The shipped `config.toml` holds every key with its default;
//! an operator's file changes some of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sandbox::Rlimit;
use serde::Deserialize;
use toml::{Table, Value};

use crate::{metrics, network};

/// The shipped file, which is the default.
pub const SHIPPED: &str = include_str!("../../manifests/config.toml");

/// Everything that an operator may set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Unix socket that the kubelet talks to.
    pub socket: PathBuf,
    /// What has to survive a reboot: the database, and what containers write.
    pub state_dir: PathBuf,
    /// What a reboot may empty.
    pub runtime_dir: PathBuf,
    /// The handler of pods whose RuntimeClass names none.
    pub default_handler: String,
    /// How long a sandbox may take to be taken back after a restart, in seconds.
    pub adopt_timeout_s: u64,
    /// How long stopping a pod waits for its containers to be gone, in seconds.
    pub stop_timeout_s: u64,
    /// What is logged, and how.
    pub log: LogConfig,
    /// What containers get that say nothing else.
    pub containers: ContainersConfig,
    /// Networks of pods.
    pub network: network::Config,
    /// Images.
    pub images: image_service::Config,
    /// Where metrics are served.
    pub metrics: metrics::Config,
    /// Where clients of exec, attach and port-forward connect, and for how long.
    pub streaming: cri_streaming::Config,
    /// Runtime handlers by name.
    pub handlers: BTreeMap<String, HandlerConfig>,
    /// All of the above as it was read, for those who ask what is in force.
    #[serde(skip)]
    pub effective: Table,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// One line of text or one JSON object per event.
    pub format: LogFormat,
    /// Levels by module: `info,cri_server=debug`.
    pub filter: String,
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// What containers get that say nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainersConfig {
    /// Resource limits by name: soft and hard.
    pub rlimits: BTreeMap<String, [u64; 2]>,
}

/// One runtime handler.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum HandlerConfig {
    /// Pods made of namespaces of the node.
    Namespaced(sandbox::namespaced::Config),
    /// Pods made of a virtual machine.
    Vm(Box<sandbox::vm::Config>),
}

/// A configuration that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is not TOML.
    #[error("parse {path}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where it goes wrong.
        source: toml::de::Error,
    },
    /// It has keys or values that mean nothing.
    #[error("{path}: {}", mistakes.join("; "))]
    Mistakes {
        /// The file.
        path: PathBuf,
        /// All of them, one sentence each.
        mistakes: Vec<String>,
    },
}

impl Config {
    /// The shipped configuration with what the file changes.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_path_buf(),
            source,
        })?;
        Self::parse(&text, path)
    }

    /// The same, from the text of a file.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let changes: Table = text.parse().map_err(|source| ConfigError::Parse {
            path: path.to_path_buf(),
            source,
        })?;
        let mistaken = |mistakes| ConfigError::Mistakes {
            path: path.to_path_buf(),
            mistakes,
        };
        let shipped: Table = SHIPPED.parse().expect("the shipped file is tested");
        let effective = inherit(overlaid(shipped, changes)).map_err(mistaken)?;
        let mut config: Self = Value::Table(effective.clone())
            .try_into()
            .map_err(|error: toml::de::Error| mistaken(vec![error.to_string().trim().into()]))?;
        config.effective = effective;
        let mistakes = config.validate();
        if mistakes.is_empty() {
            Ok(config)
        } else {
            Err(mistaken(mistakes))
        }
    }

    /// All that is wrong with it, one sentence each.
    pub fn validate(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        for (key, path) in [
            ("socket", &self.socket),
            ("state_dir", &self.state_dir),
            ("runtime_dir", &self.runtime_dir),
        ] {
            if !path.is_absolute() {
                mistakes.push(format!("{key} = {path:?} is not an absolute path"));
            }
        }
        for (key, value) in [
            ("adopt_timeout_s", self.adopt_timeout_s),
            ("stop_timeout_s", self.stop_timeout_s),
        ] {
            if value == 0 {
                mistakes.push(format!("{key} must be more than 0"));
            }
        }
        if !self.handlers.contains_key(&self.default_handler) {
            let handler = &self.default_handler;
            mistakes.push(format!(
                "default_handler = {handler:?}: [handlers.{handler}] is missing"
            ));
        }
        mistakes.extend(self.containers.validate());
        mistakes.extend(self.network.validate());
        mistakes.extend(prefixed("images", self.images.validate()));
        mistakes.extend(prefixed("streaming", self.streaming.validate()));
        for (name, handler) in &self.handlers {
            let place = format!("handlers.{name}");
            if name.is_empty() {
                mistakes.push("handlers: a handler needs a name".into());
            }
            mistakes.extend(prefixed(&place, handler.validate()));
        }
        mistakes
    }
}

impl ContainersConfig {
    fn validate(&self) -> Vec<String> {
        let wrong = |(name, [soft, hard]): (&String, &[u64; 2])| match name {
            name if !name.starts_with("RLIMIT_") => Some(format!(
                "containers.rlimits: {name:?} does not begin with RLIMIT_"
            )),
            name if soft > hard => Some(format!(
                "containers.rlimits.{name}: soft {soft} is more than hard {hard}"
            )),
            _ => None,
        };
        self.rlimits.iter().filter_map(wrong).collect()
    }

    /// As sandboxes take them.
    pub fn rlimits(&self) -> Vec<Rlimit> {
        let rlimit = |(kind, [soft, hard]): (&String, &[u64; 2])| Rlimit {
            kind: kind.clone(),
            soft: *soft,
            hard: *hard,
        };
        self.rlimits.iter().map(rlimit).collect()
    }
}

impl HandlerConfig {
    fn validate(&self) -> Vec<String> {
        match self {
            Self::Namespaced(config) => config.validate(),
            Self::Vm(config) => config.validate(),
        }
    }
}

fn prefixed(place: &str, mistakes: Vec<String>) -> impl Iterator<Item = String> {
    mistakes
        .into_iter()
        .map(move |mistake| format!("{place}: {mistake}"))
}

/// `base` with what `changes` says, table by table.
fn overlaid(mut base: Table, changes: Table) -> Table {
    for (key, change) in changes {
        let value = match (base.remove(&key), change) {
            (Some(Value::Table(old)), Value::Table(new)) => Value::Table(overlaid(old, new)),
            (_, new) => new,
        };
        base.insert(key, value);
    }
    base
}

/// A handler that is `like` another one has its keys, but for those that it names itself.
fn inherit(mut config: Table) -> Result<Table, Vec<String>> {
    let Some(Value::Table(handlers)) = config.get_mut("handlers") else {
        return Ok(config);
    };
    let all = handlers.clone();
    let mut mistakes = Vec::new();
    for (name, handler) in handlers.iter_mut() {
        let Value::Table(own) = handler else { continue };
        let Some(like) = own.remove("like") else {
            continue;
        };
        match like.as_str().and_then(|like| all.get(like)) {
            Some(Value::Table(base)) if !base.contains_key("like") => {
                *handler = Value::Table(overlaid(base.clone(), own.clone()));
            }
            Some(_) => mistakes.push(format!(
                "handlers.{name}: like = {like} is itself like another"
            )),
            None => mistakes.push(format!("handlers.{name}: like = {like} names no handler")),
        }
    }
    if mistakes.is_empty() {
        Ok(config)
    } else {
        Err(mistakes)
    }
}

#[cfg(test)]
mod tests;

//! Runtime handlers: which name makes which kind of sandbox.

use std::collections::BTreeMap;
use std::sync::Arc;

use sandbox::namespaced::Namespaced;
use sandbox::vm::Vm;
use sandbox::{Features, Sandboxer};
use tracing::warn;

use crate::config::{Config, HandlerConfig};
use crate::error::{Error, Kind, Result, chain};

/// All runtime handlers.
pub struct Handlers {
    by_name: BTreeMap<String, Handler>,
    default: String,
}

/// What is behind a name: a sandboxer, or why there is none.
type Handler = Result<Arc<dyn Sandboxer>, String>;

/// A handler as the runtime status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandlerStatus {
    /// Its name; empty for the default.
    pub name: String,
    /// What it can do, if it could be opened at all.
    pub features: Option<Features>,
    /// Why no pod can be run under it now.
    pub unavailable: Option<String>,
}

impl Handlers {
    /// Opens all handlers. One that can't be opened is there, and says why it is of no use.
    pub fn open(config: &Config) -> Self {
        let open = |(name, config): (&String, &HandlerConfig)| {
            let handler = open(config);
            if let Err(reason) = &handler {
                warn!(handler = name, reason, "runtime handler can't be opened");
            }
            (name.clone(), handler)
        };
        Self {
            by_name: config.handlers.iter().map(open).collect(),
            default: config.default_handler.clone(),
        }
    }

    /// Handlers made elsewhere.
    pub fn new(sandboxers: BTreeMap<String, Arc<dyn Sandboxer>>, default: &str) -> Self {
        let sandboxers = sandboxers.into_iter();
        Self {
            by_name: sandboxers.map(|(name, made)| (name, Ok(made))).collect(),
            default: default.to_string(),
        }
    }

    /// What makes sandboxes for the handler `name`, of pods from before too.
    pub fn get(&self, name: &str) -> Result<&Arc<dyn Sandboxer>> {
        let name = self.name(name);
        match self.by_name.get(name) {
            Some(Ok(sandboxer)) => Ok(sandboxer),
            Some(Err(reason)) => Err(unavailable(name, reason)),
            None => {
                let known: Vec<_> = self.by_name.keys().map(String::as_str).collect();
                Err(Error::new(
                    Kind::NotFound,
                    format!(
                        "there is no runtime handler {name:?}; this node has {}: change the handler \
                         of the RuntimeClass, or add [handlers.{name}] to the configuration",
                        known.join(", ")
                    ),
                ))
            }
        }
    }

    /// What a pod's handler is called, also where the pod names none.
    pub fn name<'a>(&'a self, asked: &'a str) -> &'a str {
        if asked.is_empty() {
            &self.default
        } else {
            asked
        }
    }

    /// The same, if a pod can be run now.
    pub fn available(&self, name: &str) -> Result<&Arc<dyn Sandboxer>> {
        let sandboxer = self.get(name)?;
        match sandboxer.available() {
            Ok(()) => Ok(sandboxer),
            Err(reason) => Err(unavailable(name, &reason)),
        }
    }

    /// All of them by name, without the alias for the default.
    pub fn all(&self) -> impl Iterator<Item = (&String, &Arc<dyn Sandboxer>)> {
        let handlers = self.by_name.iter();
        handlers.filter_map(|(name, handler)| Some((name, handler.as_ref().ok()?)))
    }

    /// All of them, the default under its empty name first.
    pub fn status(&self) -> Vec<HandlerStatus> {
        let default = self.by_name.get(&self.default).map(|handler| ("", handler));
        let named = self
            .by_name
            .iter()
            .map(|(name, handler)| (name.as_str(), handler));
        default
            .into_iter()
            .chain(named)
            .map(|(name, handler)| status(name, handler))
            .collect()
    }
}

fn open(config: &HandlerConfig) -> Handler {
    let told = |error: sandbox::Error| chain(&error);
    Ok(match config.clone() {
        HandlerConfig::Namespaced(config) => Arc::new(Namespaced::open(config).map_err(told)?),
        HandlerConfig::Vm(config) => Arc::new(Vm::open(*config).map_err(told)?),
    })
}

fn status(name: &str, handler: &Handler) -> HandlerStatus {
    let (features, unavailable) = match handler {
        Ok(sandboxer) => (Some(sandboxer.features()), sandboxer.available().err()),
        Err(reason) => (None, Some(reason.clone())),
    };
    HandlerStatus {
        name: name.to_string(),
        features,
        unavailable,
    }
}

fn unavailable(name: &str, reason: &str) -> Error {
    Error::new(
        Kind::Unavailable,
        format!("runtime handler {name:?} is not available on this node: {reason}"),
    )
}

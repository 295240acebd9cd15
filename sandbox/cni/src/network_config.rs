//! A network configuration: a name, versions, and plugins in their order.

use serde_json::{Map, Value, json};

use crate::attachment::is_name;
use crate::capabilities::CapabilityArgs;
use crate::error::{ConfigError, Invalid};
use crate::version::SpecVersion;

/// A network as its configuration describes it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NetworkConfig {
    pub(crate) name: String,
    /// What the configuration can be run with; the chosen one alone, once it is chosen.
    pub(crate) versions: Vec<SpecVersion>,
    pub(crate) disable_check: bool,
    pub(crate) disable_gc: bool,
    /// More plugins may be in files beside it.
    pub(crate) load_more: bool,
    pub(crate) plugins: Vec<PluginConfig>,
    /// Keys of the list that we don't know are kept.
    raw: Map<String, Value>,
}

/// One plugin of a network.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PluginConfig {
    /// Its `type`: the name of its program.
    pub(crate) program: String,
    capabilities: Vec<String>,
    raw: Map<String, Value>,
}

/// More plugins than this are a mistake.
const MOST_PLUGINS: usize = 64;

impl NetworkConfig {
    /// From a list (`.conflist`) or, as before 1.0.0, from the configuration of one plugin (`.conf`).
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let mut raw: Map<String, Value> = serde_json::from_slice(bytes)?;
        if !raw.contains_key("plugins") && raw.contains_key("type") {
            raw = list_of_one(raw);
        }
        let name = raw.get("name").and_then(Value::as_str);
        let name = name.ok_or(key("name", "a text"))?;
        if !is_name(name) {
            let shape = "of letters, digits, '_', '.' and '-'";
            return Err(Invalid::new("network name", name, shape).into());
        }
        let load_more = !yes(&raw, "loadOnlyInlinedPlugins")?;
        let plugins = match raw.get("plugins") {
            None if load_more => Vec::new(),
            Some(Value::Array(plugins)) => plugins
                .iter()
                .map(PluginConfig::parse)
                .collect::<Result<_, _>>()?,
            _ => return Err(key("plugins", "a list of plugins")),
        };
        Ok(Self {
            name: name.to_owned(),
            versions: versions(&raw)?,
            disable_check: yes(&raw, "disableCheck")?,
            disable_gc: yes(&raw, "disableGC")?,
            load_more,
            plugins,
            raw,
        })
    }

    /// With plugins from files beside it, in their order. Without any plugin it is a mistake.
    pub(crate) fn with_more(mut self, more: Vec<PluginConfig>) -> Result<Self, ConfigError> {
        self.plugins.extend(more);
        self.load_more = false;
        match self.plugins.len() {
            1..=MOST_PLUGINS => Ok(self),
            _ => Err(key("plugins", "a list of 1 to 64 plugins")),
        }
    }

    /// Settled on one of its versions.
    pub(crate) fn with_version(mut self, version: SpecVersion) -> Self {
        self.versions = vec![version];
        self
    }

    /// The version it is run with: the settled one, or the highest that we speak.
    pub(crate) fn version(&self) -> SpecVersion {
        let spoken = self
            .versions
            .iter()
            .copied()
            .filter(|version| version.is_spoken());
        spoken.max().unwrap_or(SpecVersion::OLDEST)
    }

    /// A list that says the same without files beside it and without a choice of versions, so that
    /// whoever reads it later runs what was run.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut raw = self.raw.clone();
        raw.remove("cniVersions");
        raw.insert("cniVersion".into(), self.version().to_string().into());
        raw.insert("loadOnlyInlinedPlugins".into(), true.into());
        let plugins = self.plugins.iter().map(|plugin| json!(plugin.raw));
        raw.insert("plugins".into(), plugins.collect());
        Value::Object(raw).to_string().into_bytes()
    }

    /// What `plugin` gets on its standard input, apart from what belongs to one command.
    pub(crate) fn request(&self, plugin: &PluginConfig) -> Map<String, Value> {
        let mut request = plugin.raw.clone();
        request.insert("name".into(), self.name.clone().into());
        request.insert("cniVersion".into(), self.version().to_string().into());
        request
    }

    /// The same for one attachment, with the result so far.
    pub(crate) fn attachment_request(
        &self,
        plugin: &PluginConfig,
        capabilities: &CapabilityArgs,
        result: Option<Map<String, Value>>,
    ) -> Map<String, Value> {
        let mut request = self.request(plugin);
        let declared = plugin.capabilities.iter().map(String::as_str);
        let told = capabilities.only(declared);
        if !told.is_empty() {
            request.insert("runtimeConfig".into(), told.into());
        }
        if let Some(result) = result {
            request.insert("prevResult".into(), result.into());
        }
        request
    }
}

impl PluginConfig {
    pub(crate) fn parse_bytes(bytes: &[u8]) -> Result<Self, ConfigError> {
        Self::parse(&serde_json::from_slice(bytes)?)
    }

    fn parse(json: &Value) -> Result<Self, ConfigError> {
        let raw = json
            .as_object()
            .ok_or(key("plugins", "a list of objects"))?;
        let program = raw.get("type").and_then(Value::as_str);
        let program = program.ok_or(key("type", "a text"))?;
        // It becomes part of a path.
        if !is_name(program) {
            return Err(Invalid::new("plugin type", program, "the name of a program").into());
        }
        let capabilities = match raw.get("capabilities") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Object(declared)) => declared
                .iter()
                .filter(|(_, wanted)| wanted.as_bool() == Some(true))
                .map(|(name, _)| name.clone())
                .collect(),
            Some(_) => return Err(key("capabilities", "an object")),
        };
        Ok(Self {
            program: program.to_owned(),
            capabilities,
            raw: raw.clone(),
        })
    }
}

fn key(key: &'static str, shape: &'static str) -> ConfigError {
    ConfigError::Key { key, shape }
}

fn list_of_one(plugin: Map<String, Value>) -> Map<String, Value> {
    let mut list = Map::new();
    for key in ["name", "cniVersion"] {
        if let Some(value) = plugin.get(key) {
            list.insert(key.into(), value.clone());
        }
    }
    // This format had no files beside it.
    list.insert("loadOnlyInlinedPlugins".into(), true.into());
    list.insert("plugins".into(), json!([plugin]));
    list
}

/// libcni also takes the words "true" and "false".
fn yes(raw: &Map<String, Value>, name: &'static str) -> Result<bool, ConfigError> {
    match raw.get(name) {
        None => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(_) => Err(key(name, "true or false")),
    }
}

/// All that it offers, those that we don't speak included.
fn versions(raw: &Map<String, Value>) -> Result<Vec<SpecVersion>, ConfigError> {
    let text = |json: &Value| match json.as_str() {
        Some(text) => Ok(text.parse::<SpecVersion>()?),
        None => Err(key("cniVersion", "a text")),
    };
    let mut versions = match raw.get("cniVersions") {
        None => Vec::new(),
        Some(Value::Array(list)) => list.iter().map(text).collect::<Result<_, _>>()?,
        Some(_) => return Err(key("cniVersions", "a list of versions")),
    };
    if let Some(version) = raw.get("cniVersion") {
        versions.push(text(version)?);
    }
    // The specification's meaning of none is 0.1.0, which we don't speak: better a clear error.
    if versions.is_empty() {
        return Err(key("cniVersion", "there"));
    }
    Ok(versions)
}

#[cfg(test)]
mod tests;

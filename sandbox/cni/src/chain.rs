//! A network's plugins, one after another: what each gets, and in which order.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::attachment::{Attachment, AttachmentId};
use crate::error::{Failure, PluginError};
use crate::exec::Command;
use crate::network_config::{NetworkConfig, PluginConfig};
use crate::plugins::{Call, Plugins};
use crate::result::AddResult;
use crate::version::SpecVersion;

/// A network, and who runs its plugins.
pub(crate) struct Chain<'a> {
    pub(crate) plugins: &'a Plugins,
    pub(crate) network: &'a NetworkConfig,
}

impl Chain<'_> {
    /// Each plugin gets the result of the one before it. The first failure ends it; what was made
    /// until then is for the caller to undo.
    pub(crate) async fn add(
        &self,
        attachment: &Attachment,
        deadline: Instant,
    ) -> Result<AddResult, PluginError> {
        let version = self.network.version();
        let mut result: Option<AddResult> = None;
        for plugin in &self.network.plugins {
            let previous = result.as_ref().map(|result| result.as_version(version));
            let limit = deadline.saturating_duration_since(Instant::now());
            let answer = self
                .run(Command::Add, plugin, attachment, previous, limit)
                .await?;
            result = Some(read_result(plugin, answer, version)?);
        }
        Ok(result.expect("a network has a plugin"))
    }

    /// In reverse. The first failure ends it, because a later plugin relies on those before it: an
    /// address must not be given to another container while rules for it are still there.
    pub(crate) async fn del(
        &self,
        attachment: &Attachment,
        result: Option<&Map<String, Value>>,
        limit: Duration,
    ) -> Result<(), PluginError> {
        let result = self.recorded(result);
        for plugin in self.network.plugins.iter().rev() {
            let result = result.clone();
            self.run(Command::Del, plugin, attachment, result, limit)
                .await?;
        }
        Ok(())
    }

    /// Nothing where the network does not want it, or is of a version without it.
    pub(crate) async fn check(
        &self,
        attachment: &Attachment,
        result: Option<&Map<String, Value>>,
    ) -> Result<(), PluginError> {
        if self.network.disable_check || self.network.version() < SpecVersion::V0_4_0 {
            return Ok(());
        }
        let (result, limit) = (self.recorded(result), self.plugins.query_limit());
        for plugin in &self.network.plugins {
            let result = result.clone();
            self.run(Command::Check, plugin, attachment, result, limit)
                .await?;
        }
        Ok(())
    }

    /// Whether attachments can be made now; the first plugin that says no is the answer.
    pub(crate) async fn status(&self) -> Result<(), PluginError> {
        if self.network.version() < SpecVersion::V1_1_0 {
            return Ok(());
        }
        for plugin in &self.network.plugins {
            let request = self.network.request(plugin);
            let limit = self.plugins.query_limit();
            self.query(Command::Status, plugin, request, limit).await?;
        }
        Ok(())
    }

    /// Whether plugins of this network collect garbage at all.
    pub(crate) fn collects(&self) -> bool {
        !self.network.disable_gc && self.network.version() >= SpecVersion::V1_1_0
    }

    /// Has each plugin undo what is not in `valid`, all of them within `limit`. One that fails does
    /// not hold up the next; one that hangs leaves no time for it.
    pub(crate) async fn gc(
        &self,
        valid: &BTreeSet<AttachmentId>,
        limit: Duration,
    ) -> Vec<PluginError> {
        let pair =
            |id: &AttachmentId| json!({"containerID": id.container_id(), "ifname": id.ifname()});
        let valid: Value = valid.iter().map(pair).collect();
        let deadline = Instant::now() + limit;
        let mut failures = Vec::new();
        for plugin in &self.network.plugins {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let mut request = self.network.request(plugin);
            // The second is what an early text of the specification called it.
            for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
                request.insert(key.into(), valid.clone());
            }
            let asked = self.query(Command::Gc, plugin, request, left).await;
            failures.extend(asked.err());
        }
        failures
    }

    /// The result of ADD for the plugins of now; before 0.4.0 they get none.
    fn recorded(&self, result: Option<&Map<String, Value>>) -> Option<Map<String, Value>> {
        let version = self.network.version();
        if version < SpecVersion::V0_4_0 {
            return None;
        }
        let result = AddResult::parse(Value::Object(result?.clone()), version).ok()?;
        Some(result.as_version(version))
    }

    async fn run(
        &self,
        command: Command,
        plugin: &PluginConfig,
        attachment: &Attachment,
        result: Option<Map<String, Value>>,
        limit: Duration,
    ) -> Result<Option<Value>, PluginError> {
        let capabilities = &attachment.capabilities;
        let request = self
            .network
            .attachment_request(plugin, capabilities, result);
        let call = Call {
            plugin: &plugin.program,
            command,
            request,
            attachment: Some(attachment),
            limit,
        };
        self.plugins.call(call).await
    }

    async fn query(
        &self,
        command: Command,
        plugin: &PluginConfig,
        request: Map<String, Value>,
        limit: Duration,
    ) -> Result<Option<Value>, PluginError> {
        let call = Call {
            plugin: &plugin.program,
            command,
            request,
            attachment: None,
            limit,
        };
        self.plugins.call(call).await
    }
}

fn read_result(
    plugin: &PluginConfig,
    answer: Option<Value>,
    version: SpecVersion,
) -> Result<AddResult, PluginError> {
    let refuse = |expected: String, output: String| PluginError {
        plugin: plugin.program.clone(),
        command: Command::Add,
        failure: Failure::Nonsense { expected, output },
    };
    let Some(answer) = answer else {
        return Err(refuse("a CNI result".into(), String::new()));
    };
    let text = crate::error::excerpt(answer.to_string().as_bytes());
    AddResult::parse(answer, version).map_err(|expected| refuse(expected, text))
}

//! What a server tells of a pod beyond its status.

use anyhow::{Context, Result};
use k8s_cri::v1::PodSandboxStatusRequest;
use serde_json::Value;

use crate::runtime::Runtime;

/// The facts of a pod that its verbose status has under `name`.
pub(super) async fn facts(runtime: &mut Runtime, pod_id: &str, name: &str) -> Result<Value> {
    let request = PodSandboxStatusRequest {
        pod_sandbox_id: pod_id.to_owned(),
        verbose: true,
    };
    let status = runtime.runtime.pod_sandbox_status(request).await?;
    let info = status.into_inner().info;
    let text = info.get(name).with_context(|| format!("{name} of a pod"))?;
    serde_json::from_str(text).with_context(|| format!("read {name} of a pod"))
}

/// One of them that is a text.
pub(super) fn text<'a>(facts: &'a Value, name: &str) -> Result<&'a str> {
    facts[name]
        .as_str()
        .with_context(|| format!("{name} of a pod"))
}

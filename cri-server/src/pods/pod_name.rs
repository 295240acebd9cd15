//! What makes a pod the same pod to the kubelet.

use std::fmt;

use cri_api::v1::PodSandboxMetadata;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Name of a pod. Two pods never have the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PodKey {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Pod name.
    pub name: String,
    /// Kubernetes uid.
    pub uid: String,
    /// Which sandbox of this pod it is.
    pub attempt: u32,
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            namespace,
            name,
            uid,
            attempt,
        } = self;
        write!(f, "pod {namespace}/{name} (uid {uid}, attempt {attempt})")
    }
}

impl TryFrom<Option<&PodSandboxMetadata>> for PodKey {
    type Error = Error;

    fn try_from(metadata: Option<&PodSandboxMetadata>) -> Result<Self> {
        let metadata = metadata.ok_or_else(|| Error::invalid("the pod config has no metadata"))?;
        let named = |field: &str, value: &str| match value {
            "" => Err(Error::invalid(format!(
                "metadata.{field} of the pod config is empty"
            ))),
            value => Ok(value.to_string()),
        };
        Ok(Self {
            namespace: named("namespace", &metadata.namespace)?,
            name: named("name", &metadata.name)?,
            uid: named("uid", &metadata.uid)?,
            attempt: metadata.attempt,
        })
    }
}

impl From<&PodKey> for PodSandboxMetadata {
    fn from(key: &PodKey) -> Self {
        Self {
            name: key.name.clone(),
            uid: key.uid.clone(),
            namespace: key.namespace.clone(),
            attempt: key.attempt,
        }
    }
}

//! Whose processes a container sees.

use cri_api::v1::{LinuxContainerSecurityContext, NamespaceMode};
use sandbox::{ContainerId, Features, Kind, PidMode};

use crate::error::{Error, Result};
use crate::pods::SavedPod;

/// The PID namespace of a container. A container that says nothing follows its pod.
pub(super) fn pid(
    security: &LinuxContainerSecurityContext,
    pod: &SavedPod,
    features: &Features,
) -> Result<PidMode> {
    let Some(options) = &security.namespace_options else {
        return Ok(match pod {
            pod if pod.host_pid => PidMode::Node,
            pod if pod.shared_pid => PidMode::Pod,
            _ => PidMode::Container,
        });
    };
    match options.pid() {
        NamespaceMode::Pod if pod.host_pid => Ok(PidMode::Node),
        NamespaceMode::Pod if pod.shared_pid => Ok(PidMode::Pod),
        NamespaceMode::Pod => Err(Error::invalid(
            "namespace_options.pid is POD for the container, but the pod was made with another; \
             give both the same",
        )),
        NamespaceMode::Container => Ok(PidMode::Container),
        NamespaceMode::Node if features.host_namespaces => Ok(PidMode::Node),
        NamespaceMode::Node => Err(Error::new(
            Kind::Unsupported,
            "namespace_options.pid is NODE, which this runtime handler can't do",
        )),
        NamespaceMode::Target if options.target_id.is_empty() => Err(Error::invalid(
            "namespace_options.pid is TARGET without target_id",
        )),
        NamespaceMode::Target => Ok(PidMode::Target(ContainerId(options.target_id.clone()))),
    }
}

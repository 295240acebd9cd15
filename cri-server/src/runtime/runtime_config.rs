//! `RuntimeConfig`: which cgroup driver the kubelet must use.

use std::sync::Arc;

use cri_api::v1::{
    CgroupDriver, LinuxRuntimeConfiguration, RuntimeConfigRequest, RuntimeConfigResponse,
};

use crate::CriServer;
use crate::error::Result;

/// Cgroups are directories to us; systemd is not asked. Absent, the kubelet would take its own setting.
pub(super) async fn runtime_config(
    _: Arc<CriServer>,
    _: RuntimeConfigRequest,
) -> Result<RuntimeConfigResponse> {
    Ok(RuntimeConfigResponse {
        linux: Some(LinuxRuntimeConfiguration {
            cgroup_driver: CgroupDriver::Cgroupfs.into(),
        }),
    })
}

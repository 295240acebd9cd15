//! The calls that only a guest's agent answers.

use std::sync::Arc;

use agent_api::v1::{Empty, ReleaseDiskRequest, RescanDisksRequest, UpdateGuestRequest};

use crate::Error;
use crate::agent::Agent;
use crate::guest::{clock, cpus, disks, only};
use crate::mode::Mode;

pub(super) async fn rescan_disks(
    agent: Arc<Agent>,
    request: RescanDisksRequest,
) -> Result<Empty, Error> {
    disks::rescan(agent.mode, &request.serials).await?;
    Ok(Empty {})
}

pub(super) fn release_disk(agent: &Agent, request: &ReleaseDiskRequest) -> Result<Empty, Error> {
    only(agent.mode, "letting a disk go")?;
    agent.disks.detach(&request.serial)?;
    Ok(Empty {})
}

pub(super) fn update(mode: Mode, request: UpdateGuestRequest) -> Result<Empty, Error> {
    only(mode, "changing CPUs or the clock")?;
    cpus::bring_online(request.cpus)?;
    clock::set(request.time_ns)?;
    Ok(Empty {})
}

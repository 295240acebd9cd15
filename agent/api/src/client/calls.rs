//! The short calls: one request, one reply, a limit in time each.

use std::future::Future;
use std::time::Duration;

use tonic::{Response, Status};

use super::{Client, Error};
use crate::v1;

/// For what only looks or writes a few small files.
const SHORT: Duration = Duration::from_secs(10);

/// For what mounts, starts processes or waits for devices. A node with too little CPU is slow, not broken.
const LONG: Duration = Duration::from_secs(60);

/// Waits for `reply`, but not for ever.
async fn within<T>(
    limit: Duration,
    doing: &'static str,
    reply: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Error> {
    match tokio::time::timeout(limit, reply).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Error::Refused {
            doing,
            source: Box::new(status),
        }),
        Err(_) => Err(Error::TimedOut { doing }),
    }
}

impl Client {
    /// Makes the sandbox that containers join.
    pub async fn configure_sandbox(
        &self,
        request: v1::ConfigureSandboxRequest,
    ) -> Result<(), Error> {
        let reply = async { self.calls.clone().configure_sandbox(request).await };
        within(LONG, "configure sandbox", reply).await.map(drop)
    }

    /// Makes a container up to the point before its first instruction.
    pub async fn create_container(
        &self,
        request: v1::CreateContainerRequest,
    ) -> Result<v1::CreateContainerReply, Error> {
        let reply = async { self.calls.clone().create_container(request).await };
        within(LONG, "create container", reply).await
    }

    /// Lets a created container run.
    pub async fn start_container(&self, container_id: &str) -> Result<(), Error> {
        let request = container(container_id);
        let reply = async { self.calls.clone().start_container(request).await };
        within(LONG, "start container", reply).await.map(drop)
    }

    /// Sends a signal to a container's first process, or to all of its processes.
    pub async fn signal_container(&self, request: v1::SignalContainerRequest) -> Result<(), Error> {
        let reply = async { self.calls.clone().signal_container(request).await };
        within(SHORT, "signal container", reply).await.map(drop)
    }

    /// Changes a container's limits.
    pub async fn update_container(&self, request: v1::UpdateContainerRequest) -> Result<(), Error> {
        let reply = async { self.calls.clone().update_container(request).await };
        within(LONG, "update container", reply).await.map(drop)
    }

    /// Kills what is left of a container and forgets it; an unknown one is fine.
    pub async fn remove_container(&self, container_id: &str) -> Result<(), Error> {
        let request = container(container_id);
        let reply = async { self.calls.clone().remove_container(request).await };
        within(LONG, "remove container", reply).await.map(drop)
    }

    /// All containers, or the one named.
    pub async fn list_containers(
        &self,
        container_id: Option<&str>,
    ) -> Result<Vec<v1::Container>, Error> {
        let request = one_or_all(container_id);
        let reply = async { self.calls.clone().list_containers(request).await };
        within(SHORT, "list containers", reply)
            .await
            .map(|reply| reply.containers)
    }

    /// What all containers use, or the one named.
    pub async fn container_stats(
        &self,
        container_id: Option<&str>,
    ) -> Result<Vec<v1::ContainerStats>, Error> {
        let request = one_or_all(container_id);
        let reply = async { self.calls.clone().container_stats(request).await };
        within(SHORT, "read container stats", reply)
            .await
            .map(|reply| reply.containers)
    }

    /// Opens a container's log path anew. Host only.
    pub async fn reopen_log(&self, container_id: &str) -> Result<(), Error> {
        let request = container(container_id);
        let reply = async { self.calls.clone().reopen_log(request).await };
        within(SHORT, "reopen log", reply).await.map(drop)
    }

    /// Waits until the guest sees the disks with these serial numbers. Guest only.
    pub async fn rescan_disks(&self, serials: Vec<String>) -> Result<(), Error> {
        let request = v1::RescanDisksRequest { serials };
        let reply = async { self.calls.clone().rescan_disks(request).await };
        within(LONG, "find disks", reply).await.map(drop)
    }

    /// Makes the guest let go of a disk. Guest only.
    pub async fn release_disk(&self, serial: &str) -> Result<(), Error> {
        let request = v1::ReleaseDiskRequest {
            serial: serial.to_owned(),
        };
        let reply = async { self.calls.clone().release_disk(request).await };
        within(LONG, "release disk", reply).await.map(drop)
    }

    /// Brings CPUs into use and sets the clock. Guest only.
    pub async fn update_guest(&self, request: v1::UpdateGuestRequest) -> Result<(), Error> {
        let reply = async { self.calls.clone().update_guest(request).await };
        within(LONG, "update guest", reply).await.map(drop)
    }

    /// Ends every container, with `grace` between SIGTERM and SIGKILL, then the agent.
    pub async fn shutdown(&self, grace: Duration) -> Result<(), Error> {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let request = v1::ShutdownRequest { grace_ms };
        let reply = async { self.calls.clone().shutdown(request).await };
        within(LONG.saturating_add(grace), "shut down", reply)
            .await
            .map(drop)
    }
}

fn container(container_id: &str) -> v1::ContainerRequest {
    v1::ContainerRequest {
        container_id: container_id.to_owned(),
    }
}

fn one_or_all(container_id: Option<&str>) -> v1::ListContainersRequest {
    v1::ListContainersRequest {
        container_id: container_id.unwrap_or_default().to_owned(),
    }
}

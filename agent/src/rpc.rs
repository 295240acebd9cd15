//! The protocol's server: one line per call here, one file per call below.
//!
//! What changes something runs in a task of its own, so that a client that goes away does not cut it in
//! half.

mod attach;
mod container;
mod dial;
mod events;
mod exec;
mod guest;
mod hello;
mod sandbox;
mod server;
mod stream;

use std::sync::Arc;

use agent_api::v1::agent_server::Agent as Protocol;
use agent_api::v1::{self, Empty};
pub(crate) use server::serve;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::Error;
use crate::agent::Agent;

/// Answers for one agent.
struct Service {
    agent: Arc<Agent>,
}

type Reply<T> = Result<Response<T>, Status>;
type Outgoing<T> = ReceiverStream<Result<T, Status>>;

/// Runs `body` to its end, whether or not the client waits for it.
async fn whole<T: Send + 'static>(
    body: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Reply<T> {
    match tokio::spawn(body).await {
        Ok(done) => Ok(Response::new(done?)),
        // It was neither cancelled nor, where we abort on panic, did it panic.
        Err(_) => Err(Error::GaveUp.into()),
    }
}

#[tonic::async_trait]
impl Protocol for Service {
    type ExecStream = Outgoing<v1::StreamOutput>;
    type AttachStream = Outgoing<v1::StreamOutput>;
    type DialStream = Outgoing<v1::DialOutput>;
    type EventsStream = Outgoing<v1::Event>;

    async fn hello(&self, request: Request<v1::HelloRequest>) -> Reply<v1::HelloReply> {
        Ok(Response::new(hello::hello(
            self.agent.mode,
            *request.get_ref(),
        )?))
    }

    async fn configure_sandbox(
        &self,
        request: Request<v1::ConfigureSandboxRequest>,
    ) -> Reply<Empty> {
        whole(sandbox::configure(
            Arc::clone(&self.agent),
            request.into_inner(),
        ))
        .await
    }

    async fn create_container(
        &self,
        request: Request<v1::CreateContainerRequest>,
    ) -> Reply<v1::CreateContainerReply> {
        whole(container::create(
            Arc::clone(&self.agent),
            request.into_inner(),
        ))
        .await
    }

    async fn start_container(&self, request: Request<v1::ContainerRequest>) -> Reply<Empty> {
        whole(container::start(
            Arc::clone(&self.agent),
            request.into_inner(),
        ))
        .await
    }

    async fn signal_container(&self, request: Request<v1::SignalContainerRequest>) -> Reply<Empty> {
        whole(container::signal(
            Arc::clone(&self.agent),
            request.into_inner(),
        ))
        .await
    }

    async fn update_container(&self, request: Request<v1::UpdateContainerRequest>) -> Reply<Empty> {
        whole(container::update(
            Arc::clone(&self.agent),
            request.into_inner(),
        ))
        .await
    }

    async fn remove_container(&self, request: Request<v1::ContainerRequest>) -> Reply<Empty> {
        whole(container::remove(
            Arc::clone(&self.agent),
            request.into_inner(),
        ))
        .await
    }

    async fn list_containers(
        &self,
        request: Request<v1::ListContainersRequest>,
    ) -> Reply<v1::ListContainersReply> {
        Ok(Response::new(container::list(
            &self.agent,
            request.get_ref(),
        )))
    }

    async fn container_stats(
        &self,
        request: Request<v1::ListContainersRequest>,
    ) -> Reply<v1::ContainerStatsReply> {
        Ok(Response::new(
            container::stats(&self.agent, request.get_ref()).await,
        ))
    }

    async fn exec(&self, request: Request<Streaming<v1::StreamInput>>) -> Reply<Self::ExecStream> {
        exec::exec(&self.agent, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn attach(
        &self,
        request: Request<Streaming<v1::StreamInput>>,
    ) -> Reply<Self::AttachStream> {
        attach::attach(&self.agent, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn dial(&self, request: Request<Streaming<v1::DialInput>>) -> Reply<Self::DialStream> {
        dial::dial(&self.agent, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn events(&self, request: Request<v1::EventsRequest>) -> Reply<Self::EventsStream> {
        Ok(Response::new(events::events(
            Arc::clone(&self.agent),
            request.get_ref().after,
        )))
    }

    async fn reopen_log(&self, request: Request<v1::ContainerRequest>) -> Reply<Empty> {
        Ok(Response::new(container::reopen_log(
            &self.agent,
            request.get_ref(),
        )?))
    }

    async fn rescan_disks(&self, request: Request<v1::RescanDisksRequest>) -> Reply<Empty> {
        whole(guest::rescan_disks(
            Arc::clone(&self.agent),
            request.into_inner(),
        ))
        .await
    }

    async fn release_disk(&self, request: Request<v1::ReleaseDiskRequest>) -> Reply<Empty> {
        Ok(Response::new(guest::release_disk(
            &self.agent,
            request.get_ref(),
        )?))
    }

    async fn update_guest(&self, request: Request<v1::UpdateGuestRequest>) -> Reply<Empty> {
        Ok(Response::new(guest::update(
            self.agent.mode,
            *request.get_ref(),
        )?))
    }

    async fn shutdown(&self, request: Request<v1::ShutdownRequest>) -> Reply<Empty> {
        whole(sandbox::shut_down(
            Arc::clone(&self.agent),
            request.into_inner(),
        ))
        .await
    }
}

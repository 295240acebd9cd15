//! `RuntimeService`: one line per call; each call in a file of its own.

use std::pin::Pin;
use std::sync::Arc;

pub(crate) use stream::pieces;

use cri_api::v1::runtime_service_server::RuntimeService;
use cri_api::v1::*;
use futures::Stream;
use tonic::{Request, Response, Status};

use crate::CriServer;
use crate::grpc_status::unimplemented;
use crate::instrument::Rpc::{Change, Poll};
use crate::instrument::call;

mod attach;
mod container_stats;
pub(crate) mod container_status;
pub(crate) mod create_container;
mod exec;
mod exec_sync;
mod get_container_events;
mod list_container_stats;
mod list_containers;
mod list_pod_sandbox;
mod list_pod_sandbox_stats;
mod pod_sandbox_stats;
pub(crate) mod pod_sandbox_status;
mod port_forward;
pub(crate) mod remove_container;
pub(crate) mod remove_pod_sandbox;
mod reopen_container_log;
mod run_pod_sandbox;
mod runtime_config;
mod start_container;
mod status;
mod stop_container;
pub(crate) mod stop_pod_sandbox;
mod stream;
mod update_container_resources;
mod update_pod_sandbox_resources;
mod update_runtime_config;
mod version;

/// Serves pods and containers.
pub(crate) struct Runtime(pub(crate) Arc<CriServer>);

type Answer<A> = Result<Response<A>, Status>;
type Streamed<A> = Pin<Box<dyn Stream<Item = Result<A, Status>> + Send>>;

#[rustfmt::skip]
#[tonic::async_trait]
impl RuntimeService for Runtime {
    async fn version(&self, r: Request<VersionRequest>) -> Answer<VersionResponse> {
        call(&self.0, Poll("Version"), nothing, r, version::version).await
    }
    async fn status(&self, r: Request<StatusRequest>) -> Answer<StatusResponse> {
        call(&self.0, Poll("Status"), nothing, r, status::status).await
    }
    async fn runtime_config(&self, r: Request<RuntimeConfigRequest>) -> Answer<RuntimeConfigResponse> {
        call(&self.0, Poll("RuntimeConfig"), nothing, r, runtime_config::runtime_config).await
    }
    async fn update_runtime_config(&self, r: Request<UpdateRuntimeConfigRequest>) -> Answer<UpdateRuntimeConfigResponse> {
        call(&self.0, Change("UpdateRuntimeConfig"), nothing, r, update_runtime_config::update_runtime_config).await
    }

    async fn run_pod_sandbox(&self, r: Request<RunPodSandboxRequest>) -> Answer<RunPodSandboxResponse> {
        let pod = |r: &RunPodSandboxRequest| run_pod_sandbox::subject(r);
        call(&self.0, Change("RunPodSandbox"), pod, r, run_pod_sandbox::run_pod_sandbox).await
    }
    async fn stop_pod_sandbox(&self, r: Request<StopPodSandboxRequest>) -> Answer<StopPodSandboxResponse> {
        let pod = |r: &StopPodSandboxRequest| r.pod_sandbox_id.clone();
        call(&self.0, Change("StopPodSandbox"), pod, r, stop_pod_sandbox::stop_pod_sandbox).await
    }
    async fn remove_pod_sandbox(&self, r: Request<RemovePodSandboxRequest>) -> Answer<RemovePodSandboxResponse> {
        let pod = |r: &RemovePodSandboxRequest| r.pod_sandbox_id.clone();
        call(&self.0, Change("RemovePodSandbox"), pod, r, remove_pod_sandbox::remove_pod_sandbox).await
    }
    async fn pod_sandbox_status(&self, r: Request<PodSandboxStatusRequest>) -> Answer<PodSandboxStatusResponse> {
        let pod = |r: &PodSandboxStatusRequest| r.pod_sandbox_id.clone();
        call(&self.0, Poll("PodSandboxStatus"), pod, r, pod_sandbox_status::pod_sandbox_status).await
    }
    async fn list_pod_sandbox(&self, r: Request<ListPodSandboxRequest>) -> Answer<ListPodSandboxResponse> {
        call(&self.0, Poll("ListPodSandbox"), nothing, r, list_pod_sandbox::list_pod_sandbox).await
    }
    async fn pod_sandbox_stats(&self, r: Request<PodSandboxStatsRequest>) -> Answer<PodSandboxStatsResponse> {
        let pod = |r: &PodSandboxStatsRequest| r.pod_sandbox_id.clone();
        call(&self.0, Poll("PodSandboxStats"), pod, r, pod_sandbox_stats::pod_sandbox_stats).await
    }
    async fn list_pod_sandbox_stats(&self, r: Request<ListPodSandboxStatsRequest>) -> Answer<ListPodSandboxStatsResponse> {
        call(&self.0, Poll("ListPodSandboxStats"), nothing, r, list_pod_sandbox_stats::list_pod_sandbox_stats).await
    }
    async fn update_pod_sandbox_resources(&self, r: Request<UpdatePodSandboxResourcesRequest>) -> Answer<UpdatePodSandboxResourcesResponse> {
        let pod = |r: &UpdatePodSandboxResourcesRequest| r.pod_sandbox_id.clone();
        call(&self.0, Change("UpdatePodSandboxResources"), pod, r, update_pod_sandbox_resources::update_pod_sandbox_resources).await
    }

    async fn create_container(&self, r: Request<CreateContainerRequest>) -> Answer<CreateContainerResponse> {
        let container = |r: &CreateContainerRequest| create_container::subject(r);
        call(&self.0, Change("CreateContainer"), container, r, create_container::create_container).await
    }
    async fn start_container(&self, r: Request<StartContainerRequest>) -> Answer<StartContainerResponse> {
        let container = |r: &StartContainerRequest| r.container_id.clone();
        call(&self.0, Change("StartContainer"), container, r, start_container::start_container).await
    }
    async fn stop_container(&self, r: Request<StopContainerRequest>) -> Answer<StopContainerResponse> {
        let container = |r: &StopContainerRequest| r.container_id.clone();
        call(&self.0, Change("StopContainer"), container, r, stop_container::stop_container).await
    }
    async fn remove_container(&self, r: Request<RemoveContainerRequest>) -> Answer<RemoveContainerResponse> {
        let container = |r: &RemoveContainerRequest| r.container_id.clone();
        call(&self.0, Change("RemoveContainer"), container, r, remove_container::remove_container).await
    }
    async fn container_status(&self, r: Request<ContainerStatusRequest>) -> Answer<ContainerStatusResponse> {
        let container = |r: &ContainerStatusRequest| r.container_id.clone();
        call(&self.0, Poll("ContainerStatus"), container, r, container_status::container_status).await
    }
    async fn list_containers(&self, r: Request<ListContainersRequest>) -> Answer<ListContainersResponse> {
        call(&self.0, Poll("ListContainers"), nothing, r, list_containers::list_containers).await
    }
    async fn container_stats(&self, r: Request<ContainerStatsRequest>) -> Answer<ContainerStatsResponse> {
        let container = |r: &ContainerStatsRequest| r.container_id.clone();
        call(&self.0, Poll("ContainerStats"), container, r, container_stats::container_stats).await
    }
    async fn list_container_stats(&self, r: Request<ListContainerStatsRequest>) -> Answer<ListContainerStatsResponse> {
        call(&self.0, Poll("ListContainerStats"), nothing, r, list_container_stats::list_container_stats).await
    }
    async fn update_container_resources(&self, r: Request<UpdateContainerResourcesRequest>) -> Answer<UpdateContainerResourcesResponse> {
        let container = |r: &UpdateContainerResourcesRequest| r.container_id.clone();
        call(&self.0, Change("UpdateContainerResources"), container, r, update_container_resources::update_container_resources).await
    }
    async fn reopen_container_log(&self, r: Request<ReopenContainerLogRequest>) -> Answer<ReopenContainerLogResponse> {
        let container = |r: &ReopenContainerLogRequest| r.container_id.clone();
        call(&self.0, Change("ReopenContainerLog"), container, r, reopen_container_log::reopen_container_log).await
    }
    async fn exec_sync(&self, r: Request<ExecSyncRequest>) -> Answer<ExecSyncResponse> {
        let container = |r: &ExecSyncRequest| r.container_id.clone();
        call(&self.0, Poll("ExecSync"), container, r, exec_sync::exec_sync).await
    }

    // The same lists in pieces, for nodes whose lists are too long for one message.
    type StreamPodSandboxesStream = Streamed<StreamPodSandboxesResponse>;
    async fn stream_pod_sandboxes(&self, r: Request<StreamPodSandboxesRequest>) -> Answer<Self::StreamPodSandboxesStream> {
        call(&self.0, Poll("StreamPodSandboxes"), nothing, r, stream::pod_sandboxes).await
    }
    type StreamContainersStream = Streamed<StreamContainersResponse>;
    async fn stream_containers(&self, r: Request<StreamContainersRequest>) -> Answer<Self::StreamContainersStream> {
        call(&self.0, Poll("StreamContainers"), nothing, r, stream::containers).await
    }
    type StreamContainerStatsStream = Streamed<StreamContainerStatsResponse>;
    async fn stream_container_stats(&self, r: Request<StreamContainerStatsRequest>) -> Answer<Self::StreamContainerStatsStream> {
        call(&self.0, Poll("StreamContainerStats"), nothing, r, stream::container_stats).await
    }
    type StreamPodSandboxStatsStream = Streamed<StreamPodSandboxStatsResponse>;
    async fn stream_pod_sandbox_stats(&self, r: Request<StreamPodSandboxStatsRequest>) -> Answer<Self::StreamPodSandboxStatsStream> {
        call(&self.0, Poll("StreamPodSandboxStats"), nothing, r, stream::pod_sandbox_stats).await
    }

    async fn exec(&self, r: Request<ExecRequest>) -> Answer<ExecResponse> {
        let container = |r: &ExecRequest| r.container_id.clone();
        call(&self.0, Change("Exec"), container, r, exec::exec).await
    }
    async fn attach(&self, r: Request<AttachRequest>) -> Answer<AttachResponse> {
        let container = |r: &AttachRequest| r.container_id.clone();
        call(&self.0, Change("Attach"), container, r, attach::attach).await
    }
    async fn port_forward(&self, r: Request<PortForwardRequest>) -> Answer<PortForwardResponse> {
        let pod = |r: &PortForwardRequest| r.pod_sandbox_id.clone();
        call(&self.0, Change("PortForward"), pod, r, port_forward::port_forward).await
    }
    type GetContainerEventsStream = Streamed<ContainerEventResponse>;
    async fn get_container_events(&self, r: Request<GetEventsRequest>) -> Answer<Self::GetContainerEventsStream> {
        call(&self.0, Poll("GetContainerEvents"), nothing, r, get_container_events::get_container_events).await
    }

    // Not served; the kubelet does without.
    async fn checkpoint_container(&self, _: Request<CheckpointContainerRequest>) -> Answer<CheckpointContainerResponse> {
        Err(unimplemented("CheckpointContainer"))
    }
    async fn checkpoint_pod(&self, _: Request<CheckpointPodRequest>) -> Answer<CheckpointPodResponse> {
        Err(unimplemented("CheckpointPod"))
    }
    async fn restore_pod(&self, _: Request<RestorePodRequest>) -> Answer<RestorePodResponse> {
        Err(unimplemented("RestorePod"))
    }
    async fn list_metric_descriptors(&self, _: Request<ListMetricDescriptorsRequest>) -> Answer<ListMetricDescriptorsResponse> {
        Err(unimplemented("ListMetricDescriptors"))
    }
    async fn list_pod_sandbox_metrics(&self, _: Request<ListPodSandboxMetricsRequest>) -> Answer<ListPodSandboxMetricsResponse> {
        Err(unimplemented("ListPodSandboxMetrics"))
    }
    type StreamPodSandboxMetricsStream = Streamed<StreamPodSandboxMetricsResponse>;
    async fn stream_pod_sandbox_metrics(&self, _: Request<StreamPodSandboxMetricsRequest>) -> Answer<Self::StreamPodSandboxMetricsStream> {
        Err(unimplemented("StreamPodSandboxMetrics"))
    }
}

/// For calls that are about nothing in particular.
fn nothing<Q>(_: &Q) -> String {
    String::new()
}

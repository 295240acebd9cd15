//! What happens to pods and containers, told to clients of `GetContainerEvents` as it happens.
//!
//! One task follows each record for as long as it is there, so that no call and no watcher has to think of
//! events. Nothing is kept for clients to come: they list what there is first.

use std::sync::Arc;

use cri_api::v1::ContainerEventType::{self, *};
use cri_api::v1::{ContainerEventResponse, PodSandboxStatus};
use parking_lot::Mutex;
use sandbox::SandboxId;
use tokio::sync::broadcast;

use crate::CriServer;
use crate::clock::now_ns;
use crate::containers::{Container, ContainerState, SavedContainer};
use crate::pods::{Pod, PodState, SavedPod};
use crate::runtime::{container_status, pod_sandbox_status};

/// How many events a client may be behind. With more it is told that it missed some.
const BACKLOG: usize = 1024;

/// Where clients hear of events.
pub(crate) struct Events {
    /// Nobody, once the server is about to end.
    sender: Mutex<Option<broadcast::Sender<ContainerEventResponse>>>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            sender: Mutex::new(Some(broadcast::Sender::new(BACKLOG))),
        }
    }
}

impl Events {
    /// Events from now on, unless the server is about to end.
    pub(crate) fn subscribe(&self) -> Option<broadcast::Receiver<ContainerEventResponse>> {
        Some(self.sender.lock().as_ref()?.subscribe())
    }

    /// Lets all clients go.
    pub(crate) fn end(&self) {
        self.sender.lock().take();
    }

    /// What `event` makes is told, if anybody listens.
    fn tell(&self, event: impl FnOnce() -> ContainerEventResponse) {
        let sender = self.sender.lock().clone();
        if let Some(sender) = sender.filter(|sender| sender.receiver_count() > 0) {
            // The last listener may have gone meanwhile.
            let _ = sender.send(event());
        }
    }
}

/// Tells of a container that is listed now, to its removal.
pub(crate) fn container(server: &Arc<CriServer>, container: &Arc<Container>) {
    let (server, container) = (server.clone(), container.clone());
    tokio::spawn(async move {
        let mut told = Told::default();
        let see = |record: &SavedContainer, gone: bool| {
            for kind in told.news(of_container(record), gone) {
                let status = || {
                    let pod = server.pods.find(&container.pod.0).ok().flatten()?;
                    Some(pod_sandbox_status::status(&pod.record.get()))
                };
                tell(&server, &container.id.0, &container.pod, status, kind);
            }
        };
        container.record.follow(see).await;
    });
}

/// Tells of a pod that is listed now, to its removal: as of a container with the pod's id, which is what
/// clients know from runtimes whose pods have one.
pub(crate) fn pod(server: &Arc<CriServer>, pod: &Arc<Pod>) {
    let (server, pod) = (server.clone(), pod.clone());
    tokio::spawn(async move {
        let mut told = Told::default();
        let see = |record: &SavedPod, gone: bool| {
            for kind in told.news(of_pod(record), gone) {
                let status = || Some(pod_sandbox_status::status(record));
                tell(&server, &pod.id.0, &pod.id, status, kind);
            }
        };
        pod.record.follow(see).await;
    });
}

/// Nothing is put together unless somebody listens.
fn tell(
    server: &CriServer,
    id: &str,
    pod: &SandboxId,
    status: impl FnOnce() -> Option<PodSandboxStatus>,
    kind: ContainerEventType,
) {
    tracing::debug!(id, pod_id = %pod, event = kind.as_str_name(), "event");
    server.events.tell(|| {
        let containers = server.containers.of(pod);
        let records = containers.iter().map(|container| container.record.get());
        ContainerEventResponse {
            container_id: id.to_owned(),
            container_event_type: kind.into(),
            created_at: now_ns(),
            pod_sandbox_status: status(),
            containers_statuses: records
                .map(|record| container_status::status(&record))
                .collect(),
        }
    });
}

/// What was told already of something: changes that come quickly may be seen as one.
#[derive(Default)]
struct Told(Vec<ContainerEventType>);

impl Told {
    /// What is new where all of `happened` has, in this order.
    fn news(&mut self, happened: &[ContainerEventType], gone: bool) -> Vec<ContainerEventType> {
        let end = gone.then_some(ContainerDeletedEvent);
        let all = happened.iter().copied().chain(end);
        let news: Vec<_> = all.filter(|kind| !self.0.contains(kind)).collect();
        self.0.extend(&news);
        news
    }
}

fn of_container(record: &SavedContainer) -> &'static [ContainerEventType] {
    match record.state {
        ContainerState::Creating => &[],
        ContainerState::Created => &[ContainerCreatedEvent],
        ContainerState::Running => &[ContainerCreatedEvent, ContainerStartedEvent],
        ContainerState::Exited | ContainerState::Removing if record.started_at_ns == 0 => {
            &[ContainerCreatedEvent, ContainerStoppedEvent]
        }
        ContainerState::Exited | ContainerState::Removing => &[
            ContainerCreatedEvent,
            ContainerStartedEvent,
            ContainerStoppedEvent,
        ],
    }
}

fn of_pod(record: &SavedPod) -> &'static [ContainerEventType] {
    match record.state {
        PodState::Creating => &[],
        PodState::Ready => &[ContainerCreatedEvent, ContainerStartedEvent],
        PodState::NotReady | PodState::Removing => &[
            ContainerCreatedEvent,
            ContainerStartedEvent,
            ContainerStoppedEvent,
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_at_once_is_told_in_order_and_nothing_twice() {
        let mut told = Told::default();
        let stopped = [
            ContainerCreatedEvent,
            ContainerStartedEvent,
            ContainerStoppedEvent,
        ];
        assert_eq!(told.news(&stopped[..1], false), stopped[..1]);
        assert_eq!(told.news(&stopped, false), stopped[1..]);
        assert_eq!(told.news(&stopped, false), []);
        assert_eq!(told.news(&stopped, true), [ContainerDeletedEvent]);
        assert_eq!(told.news(&stopped, true), []);
    }

    #[test]
    fn clients_hear_nothing_once_the_server_is_to_end() {
        let events = Events::default();
        events.tell(|| unreachable!("nobody listens"));
        let mut client = events.subscribe().unwrap();
        events.tell(ContainerEventResponse::default);
        events.end();
        assert!(client.try_recv().is_ok());
        let over = client.try_recv().unwrap_err();
        assert_eq!(over, broadcast::error::TryRecvError::Closed);
        assert!(events.subscribe().is_none());
    }
}

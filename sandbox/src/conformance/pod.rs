//! A sandbox for a check, with what the check makes in it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{Bench, ok, within};
use crate::{Adopted, Container, ContainerSpec, Sandbox, SandboxSpec};

/// A sandbox with its specification.
#[derive(Clone)]
pub(super) struct Pod {
    pub(super) bench: Arc<dyn Bench>,
    pub(super) spec: SandboxSpec,
    pub(super) sandbox: Arc<dyn Sandbox>,
    containers: Arc<Mutex<Vec<Arc<dyn Container>>>>,
}

impl Pod {
    pub(super) async fn new(bench: Arc<dyn Bench>, name: &str) -> Self {
        let spec = bench.sandbox(name);
        let sandbox = ok(bench.sandboxer().create(spec.clone())).await;
        Self {
            bench,
            spec,
            sandbox,
            containers: Arc::default(),
        }
    }

    /// The same as a server that has just started finds it.
    pub(super) async fn adopted(self) -> Self {
        let saved = self.sandbox.save();
        let Self {
            bench,
            spec,
            sandbox,
            containers,
        } = self;
        drop((sandbox, containers));
        let Adopted::Living(sandbox) = ok(bench.sandboxer().adopt(saved)).await else {
            panic!("it has ended");
        };
        Self {
            bench,
            spec,
            sandbox,
            containers: Arc::default(),
        }
    }

    pub(super) fn container_spec(&self, name: &str, script: &str) -> ContainerSpec {
        self.bench.container(&self.spec, name, script)
    }

    pub(super) async fn make(&self, spec: ContainerSpec) -> Arc<dyn Container> {
        let made = within(self.sandbox.create_container(spec)).await;
        let made = made.unwrap_or_else(|error| panic!("{}", error.chain()));
        self.containers.lock().push(made.clone());
        made
    }

    /// A container that runs.
    pub(super) async fn run(&self, name: &str, script: &str) -> Arc<dyn Container> {
        self.run_spec(self.container_spec(name, script)).await
    }

    pub(super) async fn run_spec(&self, spec: ContainerSpec) -> Arc<dyn Container> {
        let container = self.make(spec).await;
        ok(container.start()).await;
        container
    }

    /// Leaves nothing in it.
    pub(super) async fn clear(&self) {
        let containers = std::mem::take(&mut *self.containers.lock());
        for container in containers {
            ok(container.remove()).await;
        }
    }

    /// Takes everything down.
    pub(super) async fn end(self) {
        ok(self.sandbox.stop(Duration::ZERO)).await;
        ok(self.sandbox.remove()).await;
    }
}

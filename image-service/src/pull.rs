//! Pulling: what a name means, what of it is missing here, and the work of getting that.

mod convert;
mod error;
mod in_flight;
mod layer;
mod prepare;
mod slots;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use tracing::{info, warn};

pub use error::{PullCause, PullError};
use in_flight::InFlight;
use layer::LayerSpec;
use slots::{OwnSlot, Slots};

use crate::auth::Auth;
use crate::blocking::blocking;
use crate::config::Config;
use crate::digest::Digest;
use crate::error::ErrorKind;
use crate::image::ImageId;
use crate::platform::Runnable;
use crate::reference::Reference;
use crate::registry::{Registry, Session};
use crate::store::{Prepared, Store};

const MIB: u64 = 1 << 20;

/// Pulls images into a store.
pub(crate) struct Puller {
    store: Arc<Store>,
    registry: Arc<Registry>,
    node: Runnable,
    layers_per_pull: usize,
    min_free_bytes: u64,
    max_layer_bytes: u64,
    keep_unfinished: Duration,
    slots: Slots,
    /// By `repository@digest` of the manifest or index, because one repository proves nothing about
    /// another.
    running_images: InFlight<String, Prepared>,
    /// By registry, so that nobody waits for another's, and layer.
    running_layers: InFlight<(String, LayerSpec), ()>,
}

/// One pull: its conversation with the registry, and a slot for a layer beyond those that all share.
/// A registry that trickles would otherwise fill all slots and hold up everybody's pulls.
struct Job {
    session: Session,
    own_slot: OwnSlot,
}

impl Job {
    fn registry(&self) -> String {
        self.session.reference.registry.clone()
    }
}

impl Puller {
    pub(crate) fn new(config: &Config, store: Arc<Store>) -> Self {
        Self {
            store,
            registry: Arc::new(Registry::new(config)),
            node: Runnable::here(),
            layers_per_pull: config.layers_per_pull,
            min_free_bytes: config.min_free_mib.saturating_mul(MIB),
            max_layer_bytes: config.max_layer_mib.saturating_mul(MIB),
            keep_unfinished: config.keep_unfinished(),
            slots: Slots::new(config.layers_at_once),
            running_images: InFlight::default(),
            running_layers: InFlight::default(),
        }
    }

    /// See [`Images::pull`](crate::Images::pull).
    pub(crate) async fn pull(
        self: &Arc<Self>,
        reference: &str,
        auth: Option<&Auth>,
    ) -> Result<ImageId, PullError> {
        let began = Instant::now();
        let pulled = self.try_pull(reference, auth).await;
        let store = self.store.clone();
        let keep = match &pulled {
            // Nobody but us can free what failed pulls left, and the next try may need the room.
            Err(cause) if cause.kind() == ErrorKind::NoSpace => Duration::ZERO,
            _ => self.keep_unfinished,
        };
        if let Err(error) = blocking(move || store.sweep(keep)).await {
            warn!(%error, "leftovers of failed pulls can't be removed");
        }
        let (id, digest) = pulled.map_err(|source| PullError {
            image: reference.chars().take(300).collect(),
            source,
        })?;
        info!(image = reference, %id, %digest, took = ?began.elapsed(), "image pulled");
        Ok(id)
    }

    async fn try_pull(
        self: &Arc<Self>,
        reference: &str,
        auth: Option<&Auth>,
    ) -> Result<(ImageId, Digest), Arc<PullCause>> {
        let reference = Reference::parse(reference).map_err(PullCause::from)?;
        let job = self.job(reference.clone(), auth).await?;
        // Asking proves that these credentials may have the image, even if it is here already: if
        // it came from this repository. Any other has to show manifest and configuration itself,
        // because whoever knows a digest can claim it.
        let known = |digest: &Digest| {
            let repo_digest = reference.with_digest(*digest);
            self.store.find_repo_digest(&repo_digest).is_some()
        };
        let resolved = job.session.resolve(known).await;
        let resolved = resolved.map_err(PullCause::Resolve)?;
        let digest = resolved.digest;
        if let Some(id) = self.name_known(&reference, digest).await? {
            return Ok((id, digest));
        }
        let begin = || {
            let document = resolved.document.clone();
            let prepare = self.clone().prepare(job.clone(), digest, document);
            async move { prepare.await.map(Arc::new).map_err(Arc::new) }.boxed()
        };
        let prepared = self
            .running_images
            .join(reference.with_digest(digest), begin)
            .await?;
        let id = prepared.id;
        let store = self.store.clone();
        let commit = move || {
            store
                .commit_image(&prepared, &reference, digest)
                .map_err(PullCause::from)
        };
        blocking(commit).await?;
        Ok((id, digest))
    }

    async fn job(&self, reference: Reference, auth: Option<&Auth>) -> Result<Arc<Job>, PullCause> {
        let (registry, auth) = (self.registry.clone(), auth.cloned());
        let session =
            blocking(move || Ok::<_, PullCause>(registry.session(reference, auth.as_ref())?));
        Ok(Arc::new(Job {
            session: session.await?,
            own_slot: OwnSlot::default(),
        }))
    }

    /// Adds the name to an image that is here already, from the same repository.
    async fn name_known(
        &self,
        reference: &Reference,
        digest: Digest,
    ) -> Result<Option<ImageId>, PullCause> {
        let (store, reference) = (self.store.clone(), reference.clone());
        blocking(move || {
            let Some(id) = store.find_repo_digest(&reference.with_digest(digest)) else {
                return Ok(None);
            };
            Ok(store.name_image(&id, &reference, digest)?.then_some(id))
        })
        .await
    }
}

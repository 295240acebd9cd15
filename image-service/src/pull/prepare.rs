//! A whole image: manifest, configuration, layers, and the merge of them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::Arc;

use erofs_image::{CONVERTER_VERSION, ImageUuid, Limits, MergeError, MergeOptions, merge};
use futures::FutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::error::PullCause;
use super::layer::LayerSpec;
use super::{Job, Puller};
use crate::blocking::blocking;
use crate::configuration::{Configuration, parse_config};
use crate::digest::Digest;
use crate::image::ImageId;
use crate::manifest::{BadImage, Manifest, Parsed, parse};
use crate::registry::{Document, Session};
use crate::store::{BlobKey, BlobKind, FileError, Lease, Prepared};

/// An index may point to an index, in theory for ever.
const MAX_DOCUMENTS: usize = 4;

impl Puller {
    /// Brings everything that the manifest or index `digest` leads to into the store.
    pub(super) async fn prepare(
        self: Arc<Self>,
        job: Arc<Job>,
        digest: Digest,
        document: Option<Document>,
    ) -> Result<Prepared, PullCause> {
        let manifest = self.manifest(&job.session, digest, document).await?;
        let id = ImageId(manifest.config.digest);
        let configuration = self.configuration(&job.session, &manifest).await?;
        let chain_id = chain_id(&configuration.diff_ids);
        let merged = BlobKey {
            kind: BlobKind::Merged,
            digest: chain_id,
            converter: CONVERTER_VERSION,
        };
        let layers: Vec<LayerSpec> = manifest
            .layers
            .iter()
            .zip(&configuration.diff_ids)
            .map(|(blob, diff_id)| LayerSpec {
                blob: *blob,
                diff_id: *diff_id,
            })
            .collect();
        let keys = layers.iter().map(LayerSpec::key).chain([merged]).collect();
        let lease = Lease::take(&self.store, keys);
        self.layers(&job, &layers).await?;
        self.merged(layers, merged).await?;
        Ok(Prepared {
            id,
            configuration,
            chain_id,
            converter: CONVERTER_VERSION,
            _lease: lease,
        })
    }

    async fn manifest(
        &self,
        session: &Session,
        mut digest: Digest,
        mut document: Option<Document>,
    ) -> Result<Manifest, PullCause> {
        for _ in 0..MAX_DOCUMENTS {
            let found = match document.take() {
                Some(document) => document,
                None => {
                    let fetched = session.document(digest).await;
                    fetched.map_err(|source| PullCause::Manifest { digest, source })?
                }
            };
            match parse(&found, &self.node)? {
                Parsed::Manifest(manifest) => return Ok(manifest),
                Parsed::Instance(instance) => digest = instance,
            }
        }
        Err(BadImage::Limit("its indexes are nested too deeply".to_owned()).into())
    }

    async fn configuration(
        &self,
        session: &Session,
        manifest: &Manifest,
    ) -> Result<Configuration, PullCause> {
        let digest = manifest.config.digest;
        let bytes = session.small_blob(manifest.config).await;
        let bytes = bytes.map_err(|source| PullCause::Config { digest, source })?;
        Ok(parse_config(&bytes, manifest.layers.len(), &self.node)?)
    }

    /// Fetches what is missing, several at a time, each once however often the image has it.
    async fn layers(
        self: &Arc<Self>,
        job: &Arc<Job>,
        layers: &[LayerSpec],
    ) -> Result<(), PullCause> {
        let mut seen = BTreeSet::new();
        let missing = layers
            .iter()
            .copied()
            .filter(|layer| seen.insert(layer.key()) && !self.store.has_blob(&layer.key()));
        let fetch = |layer: LayerSpec| {
            let (puller, job) = (self.clone(), job.clone());
            async move { puller.join_layer(job, layer).await }
        };
        let fetches: Vec<_> = missing.map(fetch).collect();
        stream::iter(fetches)
            .buffer_unordered(self.layers_per_pull)
            .try_collect::<()>()
            .await
            .map_err(PullCause::Shared)
    }

    async fn join_layer(
        self: Arc<Self>,
        job: Arc<Job>,
        layer: LayerSpec,
    ) -> Result<(), Arc<PullCause>> {
        let begin = || {
            let fetch = self.clone().fetch_layer(job.clone(), layer);
            async move { fetch.await.map(Arc::new).map_err(Arc::new) }.boxed()
        };
        self.running_layers
            .join((job.registry(), layer), begin)
            .await
            .map(drop)
    }

    async fn merged(
        self: &Arc<Self>,
        layers: Vec<LayerSpec>,
        key: BlobKey,
    ) -> Result<(), PullCause> {
        if self.store.has_blob(&key) {
            return Ok(());
        }
        let slot = self.slots.merge().await?;
        let puller = self.clone();
        blocking(move || {
            let _slot = slot;
            // Another pull may have brought it while we waited.
            if puller.store.has_blob(&key) {
                return Ok(());
            }
            puller.merge(&layers, key)
        })
        .await
    }

    /// Blocking.
    fn merge(&self, layers: &[LayerSpec], key: BlobKey) -> Result<(), PullCause> {
        let open = |layer: &LayerSpec| {
            let path = self.store.paths.blob(&layer.key());
            File::open(&path).map_err(FileError::of("open", &path))
        };
        let files: Vec<File> = layers.iter().map(open).collect::<Result<_, _>>()?;
        let options = MergeOptions {
            uuid: ImageUuid::from_sha256(key.digest.as_bytes()),
            limits: Limits::default(),
        };
        let mut output = BufWriter::new(self.store.ingest(self.min_free_bytes, 0)?);
        merge(&files, &mut output, &options)?;
        output.flush().map_err(MergeError::Write)?;
        let ingest = output
            .into_inner()
            .map_err(|error| MergeError::Write(error.into_error()))?;
        Ok(self.store.commit_blob(ingest, key)?)
    }
}

/// OCI image-spec, config.md, "Layer ChainID": names the layers and their order.
fn chain_id(diff_ids: &[Digest]) -> Digest {
    let joined = diff_ids
        .iter()
        .copied()
        .reduce(|chain, diff_id| Digest::of(format!("{chain} {diff_id}").as_bytes()));
    joined.expect("a configuration without layers is refused")
}

#[cfg(test)]
mod tests;

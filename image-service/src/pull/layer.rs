//! One layer: downloaded, unpacked and checked in one go.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::{Sender, channel};
use tracing::info;

use super::convert::{ConvertError, Expected, Feed, convert};
use super::error::PullCause;
use super::slots::Slot;
use super::{Job, Puller};
use crate::blocking::{CutShort, blocking};
use crate::digest::Digest;
use crate::registry::{Attempts, BlobSpec, BlobStream, Piece};
use crate::store::{BlobKey, BlobKind, Ingest};

/// Chunks between the download and the conversion: some hundred kilobytes.
const QUEUE_CHUNKS: usize = 32;

/// A layer as the image describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct LayerSpec {
    /// The compressed bytes.
    pub(super) blob: BlobSpec,
    /// The digest of the uncompressed ones.
    pub(super) diff_id: Digest,
}

impl LayerSpec {
    pub(super) fn key(&self) -> BlobKey {
        BlobKey {
            kind: BlobKind::Layer,
            digest: self.diff_id,
            converter: erofs_image::CONVERTER_VERSION,
        }
    }
}

/// How a download ended that did not fail.
enum Fed {
    Verified,
    /// These are not the bytes that were asked for.
    Corrupt(Attempts),
    /// The conversion wanted no more.
    Refused,
}

impl Puller {
    /// Makes sure that the layer is in the store. The caller has a lease on it.
    pub(super) async fn fetch_layer(
        self: Arc<Self>,
        job: Arc<Job>,
        layer: LayerSpec,
    ) -> Result<(), PullCause> {
        let session = &job.session;
        let slot = self.slots.layer(&job.own_slot).await?;
        // Another pull may have brought it while we waited.
        if self.store.has_blob(&layer.key()) {
            return Ok(());
        }
        let (digest, max_bytes) = (layer.blob.digest, self.max_layer_bytes);
        if layer.blob.size > max_bytes {
            return Err(PullCause::LayerTooLarge { digest, max_bytes });
        }
        let began = Instant::now();
        let mut distrusted = Vec::new();
        loop {
            let mut stream = session.blob(layer.blob, &distrusted);
            let Err(cause) = self.try_layer(&mut stream, layer, &slot).await? else {
                break;
            };
            // Whoever sent this may be broken, and others not.
            if !session.distrust(&mut distrusted, &stream.sources) {
                return Err(cause);
            }
        }
        info!(
            image = %session.reference, layer = %layer.blob.digest, bytes = layer.blob.size,
            took = ?began.elapsed(), "layer unpacked"
        );
        Ok(())
    }

    /// One try. The outer error is final; after the inner one, another host may do better.
    async fn try_layer(
        &self,
        stream: &mut BlobStream<'_>,
        layer: LayerSpec,
        slot: &Slot,
    ) -> Result<Result<(), PullCause>, PullCause> {
        let (store, min_free_bytes) = (self.store.clone(), self.min_free_bytes);
        let size = layer.blob.size;
        let ingest = blocking(move || Ok::<_, PullCause>(store.ingest(min_free_bytes, size)?));
        let ingest = ingest.await?;
        let expected = Expected {
            diff_id: layer.diff_id,
            max_bytes: self.max_layer_bytes,
        };
        let (sender, receiver) = channel(QUEUE_CHUNKS);
        let slot = slot.clone();
        let conversion = tokio::task::spawn_blocking(move || {
            // Also when nobody waits any more: the memory is in use until the end.
            let _slot = slot;
            convert(receiver, ingest, &expected)
        });
        let fed = feed(stream, sender).await;
        let converted = conversion.await.map_err(|_| CutShort)?;
        let digest = layer.blob.digest;
        match (fed, converted) {
            (Err(source), _) => Err(PullCause::Layer { digest, source }),
            (Ok(Fed::Corrupt(source)), _) => Ok(Err(PullCause::Layer { digest, source })),
            (Ok(_), Ok((ingest, _))) => self.keep(ingest, layer.key()).await.map(Ok),
            (Ok(_), Err(error)) => self.convert_error(layer, error),
        }
    }

    fn convert_error(
        &self,
        layer: LayerSpec,
        error: ConvertError,
    ) -> Result<Result<(), PullCause>, PullCause> {
        let digest = layer.blob.digest;
        match error {
            ConvertError::Cut => Err(CutShort.into()),
            ConvertError::Layer(source) => match source.kind() {
                erofs_image::LayerErrorKind::Write => Err(PullCause::Unpack { digest, source }),
                _ => Ok(Err(PullCause::Unpack { digest, source })),
            },
            ConvertError::DiffId(found) => Ok(Err(PullCause::DiffId {
                digest,
                found,
                expected: layer.diff_id,
            })),
            ConvertError::TooLarge => Ok(Err(PullCause::LayerTooLarge {
                digest,
                max_bytes: self.max_layer_bytes,
            })),
        }
    }

    pub(super) async fn keep(&self, ingest: Ingest, key: BlobKey) -> Result<(), PullCause> {
        let store = self.store.clone();
        blocking(move || Ok(store.commit_blob(ingest, key)?)).await
    }
}

/// Hands the download to the conversion, and says at the end that it is right.
async fn feed(stream: &mut BlobStream<'_>, sender: Sender<Feed>) -> Result<Fed, Attempts> {
    loop {
        let (item, last) = match stream.next().await? {
            Some(Piece::Bytes(chunk)) => (Feed::Bytes(chunk), false),
            Some(Piece::Corrupt(attempts)) => return Ok(Fed::Corrupt(attempts)),
            None => (Feed::End, true),
        };
        // The time that this waits is ours, and the registry's clock does not run.
        if sender.send(item).await.is_err() {
            return Ok(Fed::Refused);
        }
        if last {
            return Ok(Fed::Verified);
        }
    }
}

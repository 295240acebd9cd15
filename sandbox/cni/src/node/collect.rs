//! Garbage collection: attachments that nobody has any more are undone.

use std::collections::BTreeSet;

use tokio::task::JoinSet;
use tracing::info;

use super::{Cni, Inner, failed, joined, warn_failed};
use crate::attachment::AttachmentId;
use crate::cache::SavedAttachment;
use crate::error::Error;
use crate::turns::Alone;

/// What a garbage collection did.
#[derive(Debug, Default)]
pub struct GcReport {
    /// Attachments that were undone.
    pub undone: Vec<AttachmentId>,
    /// Attachments that could not be undone yet; they are tried again until they are.
    pub left: Vec<(AttachmentId, Error)>,
    /// Plugins whose own collection failed.
    pub failures: Vec<Error>,
}

impl Cni {
    /// Undoes all attachments of this owner but those that `valid` returns, and has plugins of CNI
    /// 1.1 do the same with what they keep. `valid` is asked while no ADD and no DEL runs; it has
    /// to include containers whose ADD is still to come. Fails if those that run do not end
    /// within [`Config::query_timeout`](crate::Config::query_timeout), because others wait meanwhile.
    ///
    /// Good at the start, and when the network becomes ready for the first time.
    pub async fn gc<F>(&self, valid: F) -> Result<GcReport, Error>
    where
        F: FnOnce() -> BTreeSet<AttachmentId> + Send + 'static,
    {
        let inner = self.inner.clone();
        joined(tokio::spawn(async move {
            let waited = inner.config.query_timeout;
            let alone = inner.turns.alone(waited).await;
            let alone = alone.ok_or(Error::Busy { waited })?;
            inner.collect(&alone, valid()).await
        }))
        .await
    }
}

impl Inner {
    async fn collect(
        &self,
        alone: &Alone,
        valid: BTreeSet<AttachmentId>,
    ) -> Result<GcReport, Error> {
        let (leaked, kept): (Vec<_>, Vec<_>) = self
            .cache
            .all()?
            .into_iter()
            .partition(|saved| self.owns(saved) && !valid.contains(&saved.attachment.id));
        let mut report = self.undo_all(alone, leaked).await;
        report.failures = self.collect_in_plugins(alone, valid, &kept).await;
        let (undone, left) = (report.undone.len(), report.left.len());
        let failures = report.failures.len();
        info!(undone, left, failures, "network attachments are collected");
        Ok(report)
    }

    /// As many at once as may run.
    async fn undo_all(&self, alone: &Alone, leaked: Vec<SavedAttachment>) -> GcReport {
        let mut running = JoinSet::new();
        for saved in leaked {
            let permit = alone.permit().await;
            let Some(inner) = self.this.upgrade() else {
                break;
            };
            running.spawn(async move {
                let _permit = permit;
                let result = inner.undo(&saved).await;
                (saved, result)
            });
        }
        let mut report = GcReport::default();
        for (saved, result) in running.join_all().await {
            let id = saved.attachment.id.clone();
            match result {
                Ok(()) => report.undone.push(id),
                Err(error) => {
                    warn_failed(&saved, &error, "leaked attachment could not be undone");
                    report.left.push((id, error));
                    self.undo_later(saved);
                }
            }
        }
        report
    }

    /// Other owners' attachments to the same network are as valid as ours.
    async fn collect_in_plugins(
        &self,
        alone: &Alone,
        mut valid: BTreeSet<AttachmentId>,
        kept: &[SavedAttachment],
    ) -> Vec<Error> {
        let Ok(found) = self.network() else {
            return Vec::new();
        };
        let network = &found.config;
        let same = kept.iter().filter(|saved| saved.network == network.name);
        valid.extend(same.map(|saved| saved.attachment.id.clone()));
        let _permit = alone.permit().await;
        let failures = self.chain(network).gc(&valid).await;
        failures
            .into_iter()
            .map(|source| failed(network, source))
            .collect()
    }
}

//! Garbage collection: attachments that nobody has any more are undone.

use std::collections::BTreeSet;

use tokio::task::JoinSet;
use tracing::{info, warn};

use super::{Cni, Inner, failed, joined, warn_failed};
use crate::attachment::AttachmentId;
use crate::cache::SavedAttachment;
use crate::error::{Error, chain};

/// What a garbage collection did.
#[derive(Debug, Default)]
pub struct GcReport {
    /// Attachments that were undone.
    pub undone: Vec<AttachmentId>,
    /// Attachments that could not be undone yet; they are tried again until they are.
    pub left: Vec<(AttachmentId, Error)>,
    /// Plugins whose own collection failed, or why none was asked.
    pub failures: Vec<Error>,
}

impl Cni {
    /// Undoes all attachments of this owner but those that `valid` returns, while others are made and
    /// undone; then has plugins of CNI 1.1 do the same with what they keep. That waits until no ADD and
    /// no DEL runs, and they wait for it: each at most for
    /// [`Config::query_timeout`](crate::Config::query_timeout). `valid` is asked before both, and has
    /// to include containers whose ADD is still to come. Fails only if the records can't be read.
    ///
    /// Good at the start, and when the network becomes ready for the first time.
    pub async fn gc<F>(&self, valid: F) -> Result<GcReport, Error>
    where
        F: Fn() -> BTreeSet<AttachmentId> + Send + 'static,
    {
        let inner = self.inner.clone();
        joined(tokio::spawn(async move { inner.collect(valid).await })).await
    }
}

impl Inner {
    async fn collect<F>(&self, valid: F) -> Result<GcReport, Error>
    where
        F: Fn() -> BTreeSet<AttachmentId> + Send,
    {
        let leaked = self.leaked(&valid)?;
        let mut report = self.undo_all(leaked).await;
        report.failures = self.collect_in_plugins(valid).await?;
        for failure in &report.failures {
            let error = chain(failure);
            warn!(
                error,
                "plugins may keep what is of attachments that are gone"
            );
        }
        let (undone, left) = (report.undone.len(), report.left.len());
        let failures = report.failures.len();
        info!(undone, left, failures, "network attachments are collected");
        Ok(report)
    }

    /// What is recorded, and not valid after that: a new attachment is valid before it is recorded.
    fn leaked(
        &self,
        valid: impl Fn() -> BTreeSet<AttachmentId>,
    ) -> Result<Vec<SavedAttachment>, Error> {
        let mut all = self.cache.all()?;
        let valid = valid();
        all.retain(|saved| self.owns(saved) && !valid.contains(&saved.attachment.id));
        Ok(all)
    }

    /// Some at once, beside what others do.
    async fn undo_all(&self, leaked: Vec<SavedAttachment>) -> GcReport {
        let mut running = JoinSet::new();
        for saved in leaked {
            let Some(inner) = self.this.upgrade() else {
                break;
            };
            running.spawn(async move {
                let result = inner.undo_again(&saved, &Some(saved.clone())).await;
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

    /// Alone, as CNI 1.1 has it. Other owners' attachments to the same network are as valid as ours.
    async fn collect_in_plugins(
        &self,
        valid: impl Fn() -> BTreeSet<AttachmentId>,
    ) -> Result<Vec<Error>, Error> {
        let Ok(found) = self.network() else {
            return Ok(Vec::new());
        };
        let (network, limit) = (&found.config, self.config.query_timeout);
        let chain = self.chain(network);
        if !chain.collects() {
            return Ok(Vec::new());
        }
        let Some(_alone) = self.turns.alone(limit).await else {
            return Ok(vec![Error::Busy { waited: limit }]);
        };
        let mut valid = valid();
        let of_others = self.cache.all()?.into_iter();
        let of_others =
            of_others.filter(|saved| saved.network == network.name && !self.owns(saved));
        valid.extend(of_others.map(|saved| saved.attachment.id));
        let failures = chain.gc(&valid, limit).await;
        let failures = failures.into_iter().map(|source| failed(network, source));
        Ok(failures.collect())
    }
}

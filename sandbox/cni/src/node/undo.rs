//! Undoing attachments: asked for, after a failed ADD, and once more when it failed.

use std::time::Duration;

use rustix::fs::{FsWord, statfs};
use tokio::time::sleep;
use tracing::info;

use super::{Inner, failed, warn_failed};
use crate::attachment::{Attachment, AttachmentId};
use crate::cache::SavedAttachment;
use crate::error::{ConfigError, Error};
use crate::network_config::NetworkConfig;

/// An undoing that failed is tried again after the first, and at last after the second of these.
const RETRY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

impl Inner {
    pub(super) async fn del(&self, attachment: Attachment) -> Result<(), Error> {
        let id = attachment.id.clone();
        let _turn = self.turns.other(id.container_id()).await;
        let records = self.cache.of(&id)?;
        if records.is_empty() {
            self.del_unrecorded(attachment).await;
        }
        for saved in records {
            self.undo(&saved).await?;
        }
        Ok(())
    }

    pub(super) async fn abandon(&self, attachment: Attachment) -> Result<(), Error> {
        let _turn = self.turns.other(attachment.id.container_id()).await;
        let records = self.cache.of(&attachment.id)?;
        if records.is_empty() {
            self.del_unrecorded(attachment).await;
        }
        for saved in records {
            self.undo_or_later(saved).await;
        }
        Ok(())
    }

    /// Nobody knows whether there is anything to undo, so a failure is nobody's either.
    async fn del_unrecorded(&self, mut attachment: Attachment) {
        let Ok(found) = self.network() else { return };
        let chain = self.chain(&found.config);
        forget_lost_namespace(&mut attachment);
        let limit = self.config.del_timeout;
        if let Err(source) = chain.del(&attachment, None, limit).await {
            let error = failed(&found.config, source);
            let saved = SavedAttachment {
                attachment,
                network: found.config.name.clone(),
                owner: None,
                config: Vec::new(),
                result: None,
            };
            warn_failed(
                &saved,
                &error,
                "attachment without a record could not be undone",
            );
        }
    }

    /// Undoes what a record says, and removes the record. The caller has the container's turn.
    pub(super) async fn undo(&self, saved: &SavedAttachment) -> Result<(), Error> {
        let network = self.recorded_network(saved)?;
        let mut attachment = saved.attachment.clone();
        forget_lost_namespace(&mut attachment);
        let (chain, limit) = (self.chain(&network), self.config.del_timeout);
        let done = chain.del(&attachment, saved.result.as_ref(), limit).await;
        done.map_err(|source| failed(&network, source))?;
        self.cache.remove(&saved.network, &saved.attachment.id)?;
        info!(
            container_id = attachment.id.container_id(),
            ifname = attachment.id.ifname(),
            network = saved.network,
            "detached"
        );
        Ok(())
    }

    /// The network as it was; should that be lost, the network of now if it has the same name.
    pub(super) fn recorded_network(&self, saved: &SavedAttachment) -> Result<NetworkConfig, Error> {
        let parse = || NetworkConfig::parse(&saved.config)?.with_more(Vec::new());
        parse().or_else(|source: ConfigError| match self.network() {
            Ok(found) if found.config.name == saved.network => Ok(found.config.clone()),
            _ => Err(Error::Config {
                path: format!("recorded for {}", saved.network).into(),
                source,
            }),
        })
    }

    /// An ADD that died half-way, or whose undoing failed, left a record without a result.
    pub(super) async fn undo_unfinished(&self, id: &AttachmentId) -> Result<(), Error> {
        for saved in self.cache.of(id)? {
            if saved.result.is_some() {
                return Err(Error::Attached {
                    container_id: id.container_id().to_owned(),
                    ifname: id.ifname().to_owned(),
                    network: saved.network,
                });
            }
            self.undo(&saved).await?;
        }
        Ok(())
    }

    /// Where nobody asks again, as after a failed ADD: what can't be undone now is undone later.
    pub(super) async fn undo_or_later(&self, saved: SavedAttachment) {
        if let Err(error) = self.undo(&saved).await {
            warn_failed(
                &saved,
                &error,
                "attachment could not be undone: tried again later",
            );
            self.undo_later(saved);
        }
    }

    /// Tries again until it is undone, whoever does it.
    pub(super) fn undo_later(&self, saved: SavedAttachment) {
        let this = self.this.clone();
        // Not what was to be recorded: that it couldn't be may be why it is to be undone.
        let recorded = self.cache.get(&saved.network, &saved.attachment.id);
        let recorded = recorded.unwrap_or_else(|_| Some(saved.clone()));
        tokio::spawn(async move {
            let mut pause = RETRY.0;
            loop {
                sleep(pause).await;
                pause = (pause * 2).min(RETRY.1);
                let Some(inner) = this.upgrade() else { return };
                match inner.undo_again(&saved, &recorded).await {
                    Ok(()) => return,
                    Err(error) => {
                        warn_failed(&saved, &error, "attachment could still not be undone")
                    }
                }
            }
        });
    }

    /// Nothing to do where it was undone meanwhile, or made anew with success.
    pub(super) async fn undo_again(
        &self,
        saved: &SavedAttachment,
        recorded: &Option<SavedAttachment>,
    ) -> Result<(), Error> {
        let id = &saved.attachment.id;
        let _turn = self.turns.cleaning(id.container_id()).await;
        let now = self.cache.get(&saved.network, id)?;
        match now.is_some() && now == *recorded {
            true => self.undo(saved).await,
            false => Ok(()),
        }
    }
}

/// `NSFS_MAGIC` of the kernel.
const NSFS: FsWord = 0x6e73_6673;

/// Plugins are told no namespace where it is gone: what is left of its path, such as the file that
/// it was mounted on, would be an error to them.
fn forget_lost_namespace(attachment: &mut Attachment) {
    let lives = statfs(&attachment.netns).is_ok_and(|found| found.f_type == NSFS);
    if !lives {
        attachment.netns.clear();
    }
}

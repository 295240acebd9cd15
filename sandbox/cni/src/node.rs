//! The network of one node: attachments are made, undone, checked, and collected when they leak.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle, spawn_blocking};
use tracing::{info, warn};

use crate::attachment::{Attachment, AttachmentId};
use crate::cache::{Cache, SavedAttachment};
use crate::chain::Chain;
use crate::config::Config;
use crate::error::{Error, Invalid, PluginError, chain};
use crate::exec::Command;
use crate::network_config::NetworkConfig;
use crate::plugins::Plugins;
use crate::readiness::{Found, Readiness, ReadinessState};
use crate::result::AddResult;
use crate::runs::Runs;
use crate::stats::CommandStats;
use crate::survey::Survey;
use crate::turns::Turns;

mod collect;
mod pod_cidr;
mod undo;

pub use collect::GcReport;
pub use pod_cidr::PodCidrOutcome;

/// The network of this node. Clones share it; when the last is gone, nothing is watched any more.
///
/// Operations run in tasks of their own: a caller that goes away does not cut them in half.
#[derive(Clone, Debug)]
pub struct Cni {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    plugins: Arc<Plugins>,
    cache: Cache,
    turns: Turns,
    seen: watch::Receiver<ReadinessState>,
    survey: AbortHandle,
    /// For tasks that must not keep this alive.
    this: Weak<Self>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.survey.abort();
    }
}

/// An attachment that was made.
#[derive(Clone, Debug)]
pub struct Added {
    /// What its plugins made.
    pub result: AddResult,
    /// How long it waited for its turn.
    pub waited: Duration,
    /// How long its plugins ran.
    pub plugins: Duration,
    /// How long all of it took: what is neither of those is this crate's doing.
    pub took: Duration,
}

/// How long [`Cni::open`] waits for the first look at the network.
const FIRST_LOOK: Duration = Duration::from_secs(2);

impl Cni {
    /// Begins to watch the network of this node. There need not be one yet. Plugins are run to
    /// learn their versions; if they are slow, this does not wait for them. Those that an earlier
    /// process of this owner left running are killed first.
    pub async fn open(config: Config) -> Result<Self, Error> {
        let cache = Cache::open(config.cache_dir.clone())?;
        let (dir, owner) = (config.cache_dir.clone(), config.owner.clone());
        let runs = joined(spawn_blocking(move || Runs::open(&dir, &owner))).await?;
        let plugins = Arc::new(Plugins::new(
            config.plugin_dirs.clone(),
            config.query_timeout,
            runs,
        ));
        let (told, mut seen) = watch::channel(ReadinessState::new());
        let survey = Survey::new(&config, plugins.clone());
        let survey = tokio::spawn(survey.run(told)).abort_handle();
        let turns = Turns::new(config.max_plugins);
        tokio::time::timeout(FIRST_LOOK, seen.changed()).await.ok();
        let inner = Arc::new_cyclic(|this| Inner {
            config,
            plugins,
            cache,
            turns,
            seen,
            survey,
            this: this.clone(),
        });
        Ok(Self { inner })
    }

    /// Whether attachments can be made, as last seen. Runs nothing and waits for nothing.
    pub fn readiness(&self) -> Readiness {
        self.inner.seen.borrow().readiness()
    }

    /// Waits until attachments can be made.
    pub async fn ready(&self) {
        let mut seen = self.inner.seen.clone();
        let ready = seen.wait_for(|state| state.readiness().is_ready());
        // What it returns locks the state, and must not be held any longer.
        let watched = ready.await.is_ok();
        if !watched {
            // The survey ends with the runtime only.
            std::future::pending::<()>().await;
        }
    }

    /// Makes an attachment. On failure everything is undone; what can't be undone now is tried again later.
    pub async fn add(&self, attachment: Attachment) -> Result<Added, Error> {
        let inner = self.inner.clone();
        joined(tokio::spawn(async move { inner.add(attachment).await })).await
    }

    /// Undoes an attachment, with the configuration and arguments it was made with. Waits for its
    /// turn as long as it takes. Idempotent. An attachment of which nothing is recorded is undone
    /// with the network of now, as well as that goes.
    pub async fn del(&self, attachment: Attachment) -> Result<(), Error> {
        let inner = self.inner.clone();
        joined(tokio::spawn(async move { inner.del(attachment).await })).await
    }

    /// Undoes an attachment that nobody will ask about again: what can't be undone now is tried
    /// again until it is. Fails only if the records can't be read.
    pub async fn abandon(&self, attachment: Attachment) -> Result<(), Error> {
        let inner = self.inner.clone();
        joined(tokio::spawn(async move { inner.abandon(attachment).await })).await
    }

    /// Whether an attachment is as it was made.
    pub async fn check(&self, id: &AttachmentId) -> Result<(), Error> {
        let (inner, id) = (self.inner.clone(), id.clone());
        joined(tokio::spawn(async move { inner.check(&id).await })).await
    }

    /// All attachments of this owner that were made or begun, from their records.
    pub fn attachments(&self) -> Result<Vec<SavedAttachment>, Error> {
        let mut all = self.inner.cache.all()?;
        all.retain(|saved| self.inner.owns(saved));
        Ok(all)
    }

    /// What plugins did since this began.
    pub fn stats(&self) -> Vec<(Command, CommandStats)> {
        self.inner.plugins.counters().read().to_vec()
    }

    /// How many more plugins could run now, of [`Config::max_plugins`].
    pub fn free_turns(&self) -> usize {
        self.inner.turns.free()
    }
}

/// A panic of the task is the caller's.
async fn joined<T>(task: JoinHandle<T>) -> T {
    match task.await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

impl Inner {
    async fn add(&self, attachment: Attachment) -> Result<Added, Error> {
        attachment.check()?;
        let (started, limit) = (Instant::now(), self.config.add_timeout);
        let turn = self.turns.add(attachment.id.container_id(), limit).await;
        let waited = started.elapsed();
        let _turn = turn.ok_or(Error::Busy { waited })?;
        let found = self.network()?;
        self.undo_unfinished(&attachment.id).await?;
        let mut saved = SavedAttachment {
            attachment,
            network: found.config.name.clone(),
            owner: Some(self.config.owner.clone()),
            config: found.config.to_bytes(),
            result: None,
        };
        // Before any plugin runs: whatever happens from here on, there is something to undo it by.
        self.save(&saved).await?;
        let made = self.make(&found.config, &mut saved, started + limit).await;
        let (result, plugins) = match made {
            Ok(made) => made,
            Err(error) => {
                self.undo_or_later(saved).await;
                return Err(error);
            }
        };
        let took = started.elapsed();
        info!(
            container_id = saved.attachment.id.container_id(),
            ifname = saved.attachment.id.ifname(),
            network = saved.network,
            ?waited,
            ?plugins,
            ?took,
            "attached"
        );
        Ok(Added {
            result,
            waited,
            plugins,
            took,
        })
    }

    /// With how long the plugins ran.
    async fn make(
        &self,
        network: &NetworkConfig,
        saved: &mut SavedAttachment,
        deadline: Instant,
    ) -> Result<(AddResult, Duration), Error> {
        let (chain, begun) = (self.chain(network), Instant::now());
        let result = chain.add(&saved.attachment, deadline).await;
        let plugins = begun.elapsed();
        let result = result.map_err(|source| failed(network, source))?;
        saved.result = Some(result.as_version(network.version()));
        self.save(saved).await?;
        Ok((result, plugins))
    }

    async fn check(&self, id: &AttachmentId) -> Result<(), Error> {
        let _turn = self.turns.other(id.container_id()).await;
        let records = self.cache.of(id)?;
        let made = records.iter().find(|saved| saved.result.is_some());
        let Some(saved) = made else {
            let container = id.container_id();
            return Err(Invalid::new("container", container, "attached to a network").into());
        };
        let network = self.recorded_network(saved)?;
        let chain = self.chain(&network);
        let checked = chain.check(&saved.attachment, saved.result.as_ref()).await;
        checked.map_err(|source| failed(&network, source))
    }

    /// The network to attach to now.
    fn network(&self) -> Result<Arc<Found>, Error> {
        let state = self.seen.borrow();
        match state.found() {
            Some(found) => Ok(found.clone()),
            None => Err(Error::NotReady {
                reason: state.readiness().to_string(),
            }),
        }
    }

    fn chain<'a>(&'a self, network: &'a NetworkConfig) -> Chain<'a> {
        Chain {
            plugins: &self.plugins,
            network,
        }
    }

    fn owns(&self, saved: &SavedAttachment) -> bool {
        saved.owner.as_ref() == Some(&self.config.owner)
    }

    async fn save(&self, saved: &SavedAttachment) -> Result<(), Error> {
        let (cache, saved) = (self.cache.clone(), saved.clone());
        joined(spawn_blocking(move || cache.save(&saved))).await
    }
}

fn failed(network: &NetworkConfig, source: PluginError) -> Error {
    Error::Plugin {
        network: network.name.clone(),
        source: Box::new(source),
    }
}

fn warn_failed(saved: &SavedAttachment, error: &Error, message: &'static str) {
    warn!(
        container_id = saved.attachment.id.container_id(),
        ifname = saved.attachment.id.ifname(),
        network = saved.network,
        error = chain(error),
        message
    );
}

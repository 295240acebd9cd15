//! Calls under way, by what they make: a retry of a call in flight joins it and gets its answer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Display;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::Instrument;

use crate::error::{Error, Kind, Result};

/// What a call asked for, in a form that can be compared.
pub type Fingerprint = String;

type Answer<A> = Option<Result<A>>;

/// Calls under way. The reservation of a name dies with the call that made it.
pub struct InFlight<K, A> {
    calls: Mutex<HashMap<K, Call<A>>>,
}

struct Call<A> {
    fingerprint: Fingerprint,
    answer: watch::Receiver<Answer<A>>,
}

impl<K, A> Default for InFlight<K, A> {
    fn default() -> Self {
        Self {
            calls: Mutex::default(),
        }
    }
}

impl<K, A> InFlight<K, A>
where
    K: Clone + Eq + Hash + Display + Send + Sync + 'static,
    A: Clone + Send + Sync + 'static,
{
    /// What is being made now.
    pub fn under_way(&self) -> Vec<K> {
        self.calls.lock().keys().cloned().collect()
    }

    /// Runs `make`, or waits for the same call that is under way already.
    ///
    /// `existing` is asked first, and no call for this key can end between the question and the
    /// reservation. `make` runs on even if nobody waits for its answer any more.
    pub async fn join<F>(
        self: &Arc<Self>,
        key: K,
        fingerprint: Fingerprint,
        existing: impl FnOnce() -> Option<Result<A>>,
        make: impl FnOnce() -> F,
    ) -> Result<A>
    where
        F: Future<Output = Result<A>> + Send + 'static,
    {
        let mut answer = match self.calls.lock().entry(key.clone()) {
            Entry::Occupied(call) if call.get().fingerprint == fingerprint => {
                call.get().answer.clone()
            }
            Entry::Occupied(_) => return Err(busy(&key)),
            Entry::Vacant(_) if let Some(answer) = existing() => return answer,
            Entry::Vacant(free) => {
                let (sender, answer) = watch::channel(None);
                let reservation = Reservation {
                    calls: self.clone(),
                    key: key.clone(),
                };
                tokio::spawn(run(make(), sender, reservation).in_current_span());
                free.insert(Call {
                    fingerprint,
                    answer: answer.clone(),
                });
                answer
            }
        };
        match answer.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().expect("waited for it"),
            Err(_) => Err(Error::new(
                Kind::Internal,
                format!("the call for {key} broke off"),
            )),
        }
    }
}

async fn run<K: Eq + Hash, A>(
    make: impl Future<Output = Result<A>>,
    sender: watch::Sender<Answer<A>>,
    reservation: Reservation<K, A>,
) {
    let answer = make.await;
    // Freed before the answer is out: whoever got it may use the name again at once.
    drop(reservation);
    sender.send_replace(Some(answer));
}

fn busy(key: &impl Display) -> Error {
    Error::new(
        Kind::AlreadyExists,
        format!("{key} is being made with another configuration; wait for that call to end"),
    )
}

/// Frees the key when the call ends, by a panic too.
struct Reservation<K: Eq + Hash, A> {
    calls: Arc<InFlight<K, A>>,
    key: K,
}

impl<K: Eq + Hash, A> Drop for Reservation<K, A> {
    fn drop(&mut self) {
        self.calls.calls.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests;

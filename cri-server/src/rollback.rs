//! Undo steps for half-done work, each written next to what it undoes.

use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;

use tracing::warn;

use crate::error::{Error, Result, chain};

type Step = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// Steps that undo what an RPC has done so far. Dropped without [`Rollback::settle`], it undoes nothing.
#[derive(Default)]
#[must_use = "undoes nothing unless settled"]
pub(crate) struct Rollback {
    steps: Vec<(String, Step)>,
}

impl Rollback {
    /// Should the whole fail later, does `undo`. `what` is for the log.
    pub(crate) fn on_failure<E>(
        &mut self,
        what: impl Display,
        undo: impl Future<Output = Result<(), E>> + Send + 'static,
    ) where
        E: Into<Error>,
    {
        let step = async move { undo.await.map_err(Into::into) };
        self.steps.push((what.to_string(), Box::pin(step)));
    }

    /// Ends the work: after a failure everything is undone, the last first.
    pub(crate) async fn settle<T>(self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.unwind().await;
        }
        result
    }

    async fn unwind(self) {
        for (what, undo) in self.steps.into_iter().rev() {
            if let Err(error) = undo.await {
                // What could not be undone now is swept at the next start.
                warn!(step = what, error = chain(&error), "undo failed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;
    use crate::error::Kind;

    async fn run(result: Result<()>) -> Vec<&'static str> {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut undo = Rollback::default();
        for (step, ends) in [
            ("first", Ok(())),
            ("second", Err(Error::new(Kind::Internal, "x"))),
        ] {
            let seen = seen.clone();
            undo.on_failure(step, async move {
                seen.lock().push(step);
                ends
            });
        }
        undo.settle(result).await.ok();
        Arc::into_inner(seen).unwrap().into_inner()
    }

    #[tokio::test]
    async fn success_undoes_nothing() {
        assert!(run(Ok(())).await.is_empty());
    }

    #[tokio::test]
    async fn failure_undoes_the_last_first_and_goes_on_past_a_failed_step() {
        let failure = Err(Error::new(Kind::Internal, "no"));
        assert_eq!(run(failure).await, ["second", "first"]);
    }
}

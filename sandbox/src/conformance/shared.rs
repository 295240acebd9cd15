//! The one sandbox that all checks of containers run in, one after the other.

use std::sync::Arc;
use std::time::Instant;

use super::{Bench, Check, Checked, OF_CONTAINERS, Outcome, Pod, left_behind, panic_text, run};

/// What is checked at its end.
const AT_THE_END: &str = "a_sandbox_in_which_containers_came_and_went_leaves_nothing";

/// Made when it is first needed, and again after a check that failed.
struct Shared {
    bench: Arc<dyn Bench>,
    pod: Option<Pod>,
}

/// Runs those of the checks that are `wanted`.
pub(super) async fn check_all(
    bench: &Arc<dyn Bench>,
    wanted: impl Fn(&str) -> bool,
    report: impl Fn(&Outcome),
) -> Vec<Outcome> {
    let before = bench.traces();
    let mut shared = Shared {
        bench: bench.clone(),
        pod: None,
    };
    let mut outcomes = Vec::new();
    let mut add = |outcome| {
        report(&outcome);
        outcomes.push(outcome);
    };
    for (name, check) in OF_CONTAINERS.iter().filter(|(name, _)| wanted(name)) {
        add(shared.check(name, *check).await);
    }
    if shared.pod.is_some() {
        add(shared.end(&before).await);
    }
    outcomes
}

impl Shared {
    async fn check(&mut self, name: &str, check: Check<Pod>) -> Outcome {
        let start = Instant::now();
        let outcome = match self.pod().await {
            Ok(pod) => run(&self.bench, name, and_clear(check, pod)).await,
            Err(why) => Outcome {
                check: name.to_owned(),
                failure: Some(why),
                took: start.elapsed(),
            },
        };
        if outcome.failure.is_some()
            && let Some(pod) = self.pod.take()
        {
            // Whatever comes of it: what failed has been told.
            let _ = tokio::spawn(pod.end()).await;
        }
        outcome
    }

    async fn pod(&mut self) -> Result<Pod, String> {
        if let Some(pod) = &self.pod {
            return Ok(pod.clone());
        }
        let made = tokio::spawn(Pod::new(self.bench.clone(), "shared")).await;
        let pod = made.map_err(panic_text)?;
        self.pod = Some(pod.clone());
        Ok(pod)
    }

    async fn end(&mut self, before: &[String]) -> Outcome {
        let start = Instant::now();
        let ended = match self.pod.take() {
            Some(pod) => tokio::spawn(pod.end()).await,
            None => Ok(()),
        };
        let failure = match ended {
            Err(error) => Some(panic_text(error)),
            Ok(()) => left_behind(before, &self.bench.traces()),
        };
        Outcome {
            check: AT_THE_END.to_owned(),
            failure,
            took: start.elapsed(),
        }
    }
}

fn and_clear(check: Check<Pod>, pod: Pod) -> Checked {
    Box::pin(async move {
        check(pod.clone()).await;
        pod.clear().await;
    })
}

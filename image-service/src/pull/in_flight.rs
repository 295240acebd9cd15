//! The same work wanted twice is done once, for as long as anybody wants it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;

use super::error::PullCause;

/// How often one who joined others' work that failed tries again, before giving up.
const MAX_JOINS: usize = 3;

pub(super) type Outcome<T> = Result<Arc<T>, Arc<PullCause>>;
type Work<T> = Shared<BoxFuture<'static, Outcome<T>>>;
type WeakWork<T> = WeakShared<BoxFuture<'static, Outcome<T>>>;

/// Work that is being done, by what it is for.
pub(super) struct InFlight<K, T> {
    running: Mutex<HashMap<K, WeakWork<T>>>,
}

impl<K, T> Default for InFlight<K, T> {
    fn default() -> Self {
        Self {
            running: Mutex::default(),
        }
    }
}

impl<K: Eq + Hash + Clone, T: Send + Sync> InFlight<K, T> {
    /// The outcome of the work for `key`: of what is running already, or of `begin`. Dropping the
    /// last future that waits for some work drops the work.
    ///
    /// Others' work may fail for reasons of theirs, such as their credentials; then we do our own.
    pub(super) async fn join(
        &self,
        key: K,
        begin: impl Fn() -> BoxFuture<'static, Outcome<T>>,
    ) -> Outcome<T> {
        let mut joins = 0;
        loop {
            let (work, ours) = self.join_once(&key, &begin);
            match work.await {
                Err(_) if !ours && joins < MAX_JOINS => joins += 1,
                outcome => return outcome,
            }
        }
    }

    fn join_once(
        &self,
        key: &K,
        begin: impl Fn() -> BoxFuture<'static, Outcome<T>>,
    ) -> (Work<T>, bool) {
        let mut running = self.running.lock();
        let found = running.get(key).and_then(WeakShared::upgrade);
        // What has failed already is not worth joining.
        if let Some(work) = found.filter(|work| !matches!(work.peek(), Some(Err(_)))) {
            return (work, false);
        }
        let work = begin().shared();
        running.retain(|_, weak| weak.upgrade().is_some());
        running.extend(work.downgrade().map(|weak| (key.clone(), weak)));
        (work, true)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;
    use crate::blocking::CutShort;

    #[tokio::test]
    async fn work_wanted_twice_is_done_once() {
        let (in_flight, begun) = (InFlight::<u8, u8>::default(), AtomicUsize::new(0));
        let begin = || {
            begun.fetch_add(1, Ordering::SeqCst);
            async {
                tokio::task::yield_now().await;
                Ok(Arc::new(7))
            }
            .boxed()
        };
        let (one, two) = tokio::join!(in_flight.join(1, begin), in_flight.join(1, begin));
        assert_eq!((*one.unwrap(), *two.unwrap()), (7, 7));
        assert_eq!(begun.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn who_joined_failing_work_does_its_own() {
        let (in_flight, begun) = (InFlight::<u8, u8>::default(), AtomicUsize::new(0));
        let begin = || {
            let fails = begun.fetch_add(1, Ordering::SeqCst) == 0;
            async move {
                tokio::task::yield_now().await;
                if fails {
                    Err(Arc::new(CutShort.into()))
                } else {
                    Ok(Arc::new(7))
                }
            }
            .boxed()
        };
        let (one, two) = tokio::join!(in_flight.join(1, begin), in_flight.join(1, begin));
        assert!(one.is_err());
        assert_eq!(*two.unwrap(), 7);
    }

    #[tokio::test]
    async fn work_ends_when_the_last_who_waits_is_gone() {
        let in_flight = InFlight::<u8, u8>::default();
        let dropped = Arc::new(Notify::new());
        struct Tell(Arc<Notify>);
        impl Drop for Tell {
            fn drop(&mut self) {
                self.0.notify_one();
            }
        }
        let begin = || {
            let tell = Tell(dropped.clone());
            async move {
                std::future::pending::<()>().await;
                drop(tell);
                Ok(Arc::new(7))
            }
            .boxed()
        };
        let waiting = async { tokio::join!(in_flight.join(1, begin), in_flight.join(1, begin)) };
        let _ = tokio::time::timeout(std::time::Duration::from_millis(10), waiting).await;
        dropped.notified().await;
    }
}

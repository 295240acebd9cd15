//! How much is worked on at once over all pulls, and with it threads, memory and downloads.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::blocking::CutShort;

/// Pulls that work on a layer beyond those that all share.
pub(super) const OWN_SLOTS: usize = 8;

/// Each has the names of a whole image in memory: up to 1.5 GiB of them. What it takes, in time too, is
/// bounded by the limits of `erofs_image`, and it waits for nobody.
const MERGES: usize = 1;

/// The slots of a node.
pub(super) struct Slots {
    shared: Arc<Semaphore>,
    own: Arc<Semaphore>,
    merge: Arc<Semaphore>,
}

/// A slot of one pull for a layer that the pull's other layers can't take twice.
pub(super) struct OwnSlot(Arc<Semaphore>);

/// Leave to do one thing, for as long as it or a clone lives.
#[derive(Clone)]
pub(super) struct Slot {
    _permits: Arc<[OwnedSemaphorePermit]>,
}

impl Slots {
    pub(super) fn new(layers_at_once: usize) -> Self {
        let slots = |count| Arc::new(Semaphore::new(count));
        Self {
            shared: slots(layers_at_once),
            own: slots(OWN_SLOTS),
            merge: slots(MERGES),
        }
    }

    /// Waits until the pull with this slot may work on a layer. Whoever gets one needs no other
    /// while holding it, so that all get one in the end.
    pub(super) async fn layer(&self, pull: &OwnSlot) -> Result<Slot, CutShort> {
        let own = async { Ok(vec![permit(&pull.0).await?, permit(&self.own).await?]) };
        let shared = async { Ok(vec![permit(&self.shared).await?]) };
        let permits = tokio::select! {
            biased;
            own = own => own,
            shared = shared => shared,
        };
        permits.map(Slot::from)
    }

    /// Waits until an image may be merged.
    pub(super) async fn merge(&self) -> Result<Slot, CutShort> {
        Ok(Slot::from(vec![permit(&self.merge).await?]))
    }
}

async fn permit(slots: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, CutShort> {
    slots.clone().acquire_owned().await.map_err(|_| CutShort)
}

impl Default for OwnSlot {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl From<Vec<OwnedSemaphorePermit>> for Slot {
    fn from(permits: Vec<OwnedSemaphorePermit>) -> Self {
        Self {
            _permits: permits.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn layer(slots: &Slots, pull: &OwnSlot) -> Option<Slot> {
        slots.layer(pull).now_or_never().map(Result::unwrap)
    }

    #[test]
    fn a_pull_gets_a_layer_of_its_own_when_others_have_all_shared_ones() {
        let (slots, [greedy, other]) = (Slots::new(2), [(); 2].map(|()| OwnSlot::default()));
        let held: Vec<_> = (0..3).map(|_| layer(&slots, &greedy).unwrap()).collect();
        assert!(layer(&slots, &greedy).is_none());
        assert!(layer(&slots, &other).is_some());
        drop(held);
        assert!(layer(&slots, &greedy).is_some());
    }

    #[test]
    fn layers_at_once_are_bounded_however_many_pulls_there_are() {
        let slots = Slots::new(2);
        let pulls: Vec<_> = (0..2 * OWN_SLOTS).map(|_| OwnSlot::default()).collect();
        let mut held: Vec<_> = pulls
            .iter()
            .filter_map(|pull| layer(&slots, pull))
            .collect();
        assert_eq!(held.len(), OWN_SLOTS + 2);
        let late = OwnSlot::default();
        let ended = held.pop();
        let still_worked_on = ended.clone();
        drop(ended);
        assert!(layer(&slots, &late).is_none());
        drop(still_worked_on);
        assert!(layer(&slots, &late).is_some());
    }

    #[test]
    fn one_image_is_merged_at_a_time() {
        let slots = Slots::new(1);
        let first = slots.merge().now_or_never().unwrap();
        assert!(slots.merge().now_or_never().is_none());
        drop(first);
        assert!(slots.merge().now_or_never().is_some());
    }
}

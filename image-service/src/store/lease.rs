//! A running pull's claim on blobs: while it lasts, they are not collected.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::Store;
use super::saved::BlobKey;

/// Keeps blobs, present or yet to be written, until dropped.
pub(crate) struct Lease {
    store: Arc<Store>,
    keys: Vec<BlobKey>,
}

impl Lease {
    /// Claims `keys`. From here on, what is present stays present.
    pub(crate) fn take(store: &Arc<Store>, keys: Vec<BlobKey>) -> Self {
        let mut state = store.state.write();
        for key in &keys {
            *state.leases.entry(*key).or_default() += 1;
        }
        Self {
            store: store.clone(),
            keys,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.store.state.write();
        for key in &self.keys {
            if let Entry::Occupied(mut count) = state.leases.entry(*key) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
    }
}

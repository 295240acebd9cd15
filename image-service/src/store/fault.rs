//! Places where tests cut the power.

/// Ends the process here if a test asked for that; nothing otherwise.
#[cfg(not(test))]
pub(super) fn point(_name: &str) {}

/// Ends the process, as `kill -9` would, at the n-th passing of any point; n is in the environment.
#[cfg(test)]
pub(super) fn point(name: &str) {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static PASSED: AtomicUsize = AtomicUsize::new(1);
    let Ok(fatal) = std::env::var(VARIABLE) else {
        return;
    };
    if fatal == PASSED.fetch_add(1, Ordering::SeqCst).to_string() {
        eprintln!("cut at {name}");
        std::process::abort();
    }
}

/// Which passing is fatal.
#[cfg(test)]
pub(super) const VARIABLE: &str = "BULKHEAD_TEST_CUT";

//! Times as CRI counts them: ns since 1970.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now.
pub fn now_ns() -> i64 {
    to_ns(SystemTime::now())
}

/// A time; before 1970 counts as 1970.
pub fn to_ns(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

//! The CPUs of the node.

use std::fs;

use crate::{Error, Kind, Result};

/// Lists them as ranges: `0-3,7`.
const ONLINE: &str = "/sys/devices/system/cpu/online";

/// How many CPUs the node has online. Not what the standard library says, which is how many *we* may
/// use: the server's own limits are no pod's.
pub(super) fn online() -> Result<u32> {
    let list = fs::read_to_string(ONLINE).map_err(|e| Error::io(format!("read {ONLINE}"), e))?;
    count(list.trim()).ok_or_else(|| {
        let doing = format!("count the CPUs in {ONLINE}: {list:?} is no list");
        Error::new(Kind::Internal, doing)
    })
}

fn count(list: &str) -> Option<u32> {
    list.split(',')
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
            last.checked_sub(first)?.checked_add(1)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(list: &str, expected: Option<u32>) {
        assert_eq!(count(list), expected, "{list}");
    }

    #[test]
    fn ranges_and_single_cpus_are_counted() {
        check("0", Some(1));
        check("0-3", Some(4));
        check("0-3,7,9-10", Some(7));
        check("", None);
        check("3-1", None);
        check("all", None);
    }

    #[test]
    fn this_node_has_some() {
        assert!(online().unwrap() > 0);
    }
}

//! How many files of the node a guest may have open.
//!
//! Each costs the node a descriptor and memory of its kernel. The memory counts as the pod's, but the number
//! of open files is bounded for all of the node together, and who comes late gets none.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

/// As many as are of use. A guest has a descriptor for each file that it knows and one more for each time that
/// a process of it opened the file. It does not know files for longer than somebody there uses them, as it is
/// told to cache no names.
const MOST: u64 = 128 * 1024;
/// A guest gets no more than this part of what the whole node may have open,
const SHARE: u64 = 16;
/// but so many in any case: less is of no use.
const LEAST: u64 = 4 * 1024;

/// Where the kernel says how many a process may have, and how many there may be at all.
const OF_A_PROCESS: &str = "/proc/sys/fs/nr_open";
const OF_THE_NODE: &str = "/proc/sys/fs/file-max";

/// Allows this process as many as its guest may want, and tells how many that is.
pub(crate) fn limit() -> io::Result<u64> {
    let limit = fair(read(OF_A_PROCESS)?, read(OF_THE_NODE)?);
    let both = Rlimit {
        current: Some(limit),
        maximum: Some(limit),
    };
    setrlimit(Resource::Nofile, both)?;
    Ok(limit)
}

fn fair(of_a_process: u64, of_the_node: u64) -> u64 {
    let share = (of_the_node / SHARE).max(LEAST);
    MOST.min(share).min(of_a_process)
}

fn read(path: &str) -> io::Result<u64> {
    let text = std::fs::read_to_string(path)?;
    text.trim().parse().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_gets_a_fair_share_of_what_the_node_may_have_open() {
        assert_eq!(fair(1 << 20, i64::MAX.unsigned_abs()), 131_072);
        assert_eq!(fair(1 << 20, 800_000), 50_000);
        assert_eq!(fair(1 << 20, 20_000), 4096);
        assert_eq!(fair(1024, 800_000), 1024);
    }

    #[test]
    fn the_kernel_says_how_many_there_may_be() {
        assert!(fair(read(OF_A_PROCESS).unwrap(), read(OF_THE_NODE).unwrap()) > 0);
    }
}

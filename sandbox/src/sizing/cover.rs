//! Whether a machine that runs already has room for what its containers need.
//!
//! Machines do not grow yet, so a container may come that the sum at the start did not cover. Where
//! only defaults don't fit, the machine is merely fuller than planned, and its explanation says so. Where
//! *limits* don't fit, a container would be killed far below what it was promised; that is refused.

use super::{Policy, Size, mib_of_bytes};

/// What one container needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Its memory limit in bytes; `None` or 0 or less means that it has none.
    pub memory_bytes: Option<i64>,
}

impl Need {
    fn limit_mib(self) -> Option<u64> {
        self.memory_bytes.map(mib_of_bytes).filter(|mib| *mib > 0)
    }
}

/// How a machine's memory compares with what its containers need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cover {
    /// There is enough.
    Enough,
    /// The defaults of containers without a limit don't all fit; in words.
    Tight(String),
    /// The limits don't fit; in words.
    Short(String),
}

/// Compares a machine's memory with the needs of all containers that live in it.
pub fn cover(policy: &Policy, size: &Size, needs: &[Need]) -> Cover {
    let limits: u64 = needs.iter().filter_map(|need| need.limit_mib()).sum();
    let without = needs
        .iter()
        .filter(|need| need.limit_mib().is_none())
        .count();
    let defaults = policy
        .default_container_memory_mib
        .saturating_mul(without as u64);
    let system = policy.system_memory_mib;
    let has = size.memory_mib;
    let needed = limits.saturating_add(defaults).saturating_add(system);
    let told = format!(
        "{needed} MiB = {limits} (limits) + {defaults} (defaults of {without} without a limit) \
         + {system} (system), the machine has {has}"
    );
    if needed <= has {
        Cover::Enough
    } else if limits.saturating_add(system) <= has {
        Cover::Tight(told)
    } else {
        Cover::Short(told)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::POLICY;
    use super::*;

    #[track_caller]
    fn check(memory_mib: u64, limits_mib: &[i64]) -> Cover {
        let size = Size {
            memory_mib,
            vcpus: 1,
            memory_because: String::new(),
            vcpus_because: String::new(),
        };
        let needs: Vec<_> = limits_mib
            .iter()
            .map(|mib| Need {
                memory_bytes: Some(mib << 20),
            })
            .collect();
        cover(&POLICY, &size, &needs)
    }

    #[test]
    fn a_machine_covers_what_it_was_made_for() {
        assert_eq!(check(640, &[256, 256]), Cover::Enough);
        assert_eq!(check(256, &[0]), Cover::Enough);
        assert_eq!(check(128, &[]), Cover::Enough);
    }

    #[test]
    fn a_container_without_a_limit_only_makes_it_tight() {
        let told = "768 MiB = 512 (limits) + 128 (defaults of 1 without a limit) \
                    + 128 (system), the machine has 640";
        assert_eq!(check(640, &[512, 0]), Cover::Tight(told.into()));
    }

    #[test]
    fn a_limit_that_cannot_be_reached_is_short() {
        let told = "1152 MiB = 1024 (limits) + 0 (defaults of 0 without a limit) \
                    + 128 (system), the machine has 256";
        assert_eq!(check(256, &[1024]), Cover::Short(told.into()));
    }
}

//! CPU shares as CRI states them → `cpu.weight` of cgroup v2.

/// The range of `cpu.shares` in cgroup v1, from which CRI has its numbers.
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;

/// `cpu.weight` for a number of CPU shares: 2 → 1, 1024 → 100, 262144 → 10000.
///
/// The curve is the one that runc 1.3.2, crun 1.23 and the kubelet agreed on (kubernetes#131216):
/// log₁₀ weight = (l² + 125 l) / 612 − 7 / 34 with l = log₂ shares, rounded up. It meets the defaults
/// of both hierarchies, so that a pod that asks for one CPU weighs as much as a system service.
/// The older straight line gave such a pod 39 of 100.
pub fn weight_of_shares(shares: u64) -> u64 {
    let shares = shares.clamp(*SHARES.start(), *SHARES.end());
    // Both ends of the range are exact, which a floating-point power is not.
    if shares == *SHARES.start() {
        return 1;
    }
    if shares == *SHARES.end() {
        return 10_000;
    }
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most 2^18 going in, between 1 and 10000 coming out"
    )]
    let weight = {
        let l = (shares as f64).log2();
        let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
        10f64.powf(exponent).ceil() as u64
    };
    weight.clamp(1, 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(shares: u64, weight: u64) {
        assert_eq!(weight_of_shares(shares), weight, "{shares} shares");
    }

    #[test]
    fn the_defaults_and_the_ends_of_both_ranges_meet() {
        check(2, 1);
        check(1024, 100);
        check(262_144, 10_000);
    }

    #[test]
    fn what_lies_between_is_what_other_runtimes_write() {
        check(102, 17);
        check(512, 59);
        check(2000, 170);
        check(4096, 303);
    }

    #[test]
    fn numbers_outside_the_range_count_as_its_ends() {
        check(0, 1);
        check(u64::MAX, 10_000);
    }

    #[test]
    fn more_shares_never_weigh_less() {
        let weights: Vec<_> = (2..=262_144).map(weight_of_shares).collect();
        assert!(weights.is_sorted());
    }
}

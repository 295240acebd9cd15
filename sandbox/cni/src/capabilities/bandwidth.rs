//! Limits of an interface's bandwidth, also as Kubernetes' annotations have them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::Invalid;

/// Limits seen from the container; a rate of 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bandwidth {
    /// To the container, in bits per second.
    pub ingress_rate: u64,
    /// How many bits may come at once.
    pub ingress_burst: u64,
    /// From the container, in bits per second.
    pub egress_rate: u64,
    /// How many bits may go at once.
    pub egress_burst: u64,
}

const INGRESS: &str = "kubernetes.io/ingress-bandwidth";
const EGRESS: &str = "kubernetes.io/egress-bandwidth";
/// Kubernetes takes rates from 1k to 1P.
const RATES: std::ops::RangeInclusive<u64> = 1_000..=1_000_000_000_000_000;
/// Bursts in bits: at least what the largest packet needs, at most what the `bandwidth` plugin takes.
/// Between them a second's worth. Always the most, as other runtimes have it, would let hundreds of
/// megabytes pass before a limit is felt.
const BURSTS: std::ops::RangeInclusive<u64> = 8 * 65_536..=u32::MAX as u64;

impl Bandwidth {
    /// From `kubernetes.io/ingress-bandwidth` and `kubernetes.io/egress-bandwidth`; `None` without both.
    pub fn from_annotations(
        annotations: &BTreeMap<String, String>,
    ) -> Result<Option<Self>, Invalid> {
        let rate = |key| {
            annotations
                .get(key)
                .map(|text| parse_rate(text))
                .transpose()
        };
        let (ingress, egress) = (rate(INGRESS)?, rate(EGRESS)?);
        if ingress.is_none() && egress.is_none() {
            return Ok(None);
        }
        let burst =
            |rate: Option<u64>| rate.map_or(0, |rate| rate.clamp(*BURSTS.start(), *BURSTS.end()));
        Ok(Some(Self {
            ingress_rate: ingress.unwrap_or_default(),
            ingress_burst: burst(ingress),
            egress_rate: egress.unwrap_or_default(),
            egress_burst: burst(egress),
        }))
    }
}

/// A quantity of Kubernetes, such as `10M`, `1.5G` or `1Mi`, as bits per second.
fn parse_rate(text: &str) -> Result<u64, Invalid> {
    let invalid = || Invalid::new("bandwidth", text, "a quantity from 1k to 1P");
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor: u64 = match unit {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "P" => 1_000_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return Err(invalid()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| match text {
        "" => Some(0),
        text => text.parse::<u64>().ok(),
    };
    if fraction.len() > 9 || (whole.is_empty() && fraction.is_empty()) {
        return Err(invalid());
    }
    let scale = 10u128.pow(u32::try_from(fraction.len()).expect("at most nine digits"));
    let (whole, fraction) = (digits(whole), digits(fraction));
    let (whole, fraction) = whole.zip(fraction).ok_or_else(invalid)?;
    // At most 2^64 · 10^9 · 2^50: no overflow of 128 bits.
    let rate = (u128::from(whole) * scale + u128::from(fraction)) * u128::from(factor);
    u64::try_from(rate.div_ceil(scale))
        .ok()
        .filter(|rate| RATES.contains(rate))
        .ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, rate) in [
            ("10M", 10_000_000),
            ("1.5k", 1500),
            ("1Ki", 1024),
            ("2000", 2000),
        ] {
            assert_eq!(parse_rate(text), Ok(rate), "{text}");
        }
        for text in [
            "",
            ".",
            "M",
            "-1M",
            "1m",
            "999",
            "2P",
            "1e6",
            "1..2k",
            "99999999999999999999P",
        ] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn one_limit_leaves_the_other_direction_alone() {
        let annotations = BTreeMap::from([(EGRESS.to_owned(), "1M".to_owned())]);
        let found = Bandwidth::from_annotations(&annotations).unwrap().unwrap();
        assert_eq!((found.ingress_rate, found.ingress_burst), (0, 0));
        assert_eq!(
            (found.egress_rate, found.egress_burst),
            (1_000_000, 1_000_000)
        );
        assert_eq!(Bandwidth::from_annotations(&BTreeMap::new()), Ok(None));
    }

    #[test]
    fn a_burst_holds_the_largest_packet_and_fits_the_plugin() {
        for (rate, burst) in [
            ("1k", 8 * 65_536),
            ("20M", 20_000_000),
            ("1T", u32::MAX.into()),
        ] {
            let annotations = BTreeMap::from([(INGRESS.to_owned(), rate.to_owned())]);
            let found = Bandwidth::from_annotations(&annotations).unwrap().unwrap();
            assert_eq!(found.ingress_burst, burst, "{rate}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_rate_in_bounds_or_refused(text in "[0-9.]{0,30}[kMGTPi]{0,2}") {
            if let Ok(rate) = parse_rate(&text) {
                prop_assert!(RATES.contains(&rate));
            }
        }
    }
}

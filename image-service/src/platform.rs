//! What this node can run, and which of an index's images that is.

use serde::Deserialize;

/// A platform as images name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Platform {
    pub(crate) os: String,
    pub(crate) architecture: String,
    pub(crate) variant: String,
}

/// The platforms that this node runs, best first.
#[derive(Clone, Debug)]
pub(crate) struct Runnable(Vec<Platform>);

impl Runnable {
    /// Those of the machine we run on.
    pub(crate) fn here() -> Self {
        let (architecture, variants) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", amd64_levels()),
            "aarch64" => ("arm64", vec!["v8"]),
            other => (other, Vec::new()),
        };
        Self::new(architecture, &variants)
    }

    /// Images for `architecture` in one of these variants, or in none.
    fn new(architecture: &str, variants: &[&str]) -> Self {
        let platform = |variant: &&str| Platform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: (*variant).to_owned(),
        };
        Self(variants.iter().chain([&""]).map(platform).collect())
    }

    /// How well `platform` suits: 0 is best, `None` can't run.
    fn rank(&self, platform: &Platform) -> Option<usize> {
        self.0.iter().position(|own| own == platform)
    }

    /// The candidate that suits best, by its platform.
    pub(crate) fn best<'a, T>(
        &self,
        candidates: &'a [T],
        platform: impl Fn(&'a T) -> Option<&'a Platform>,
    ) -> Option<&'a T> {
        let ranked = candidates.iter().filter_map(|candidate| {
            let rank = self.rank(platform(candidate)?)?;
            Some((rank, candidate))
        });
        let best = ranked
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, candidate)| candidate);
        // An index of a single image may leave out what goes without saying; the image's own
        // configuration is checked later anyway.
        best.or(match candidates {
            [only] if platform(only).is_none() => Some(only),
            _ => None,
        })
    }

    /// Whether an image that says this about itself can run. What it leaves out it doesn't mind.
    pub(crate) fn runs(&self, os: &str, architecture: &str) -> bool {
        (os.is_empty() || os == "linux")
            && (architecture.is_empty() || architecture == self.0[0].architecture)
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match self.variant.as_str() {
            "" => Ok(()),
            variant => write!(f, "/{variant}"),
        }
    }
}

impl std::fmt::Display for Runnable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "linux/{}", self.0[0].architecture)
    }
}

/// The micro-architecture levels of this CPU, highest first.
#[cfg(target_arch = "x86_64")]
fn amd64_levels() -> Vec<&'static str> {
    use std::arch::is_x86_feature_detected as has;
    let v2 = has!("sse4.2") && has!("ssse3") && has!("popcnt") && has!("cmpxchg16b");
    let v3 = v2 && has!("avx2") && has!("bmi1") && has!("bmi2") && has!("fma") && has!("movbe");
    let v4 = v3 && has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
    let levels = [(v4, "v4"), (v3, "v3"), (v2, "v2"), (true, "v1")];
    levels
        .into_iter()
        .filter(|(has, _)| *has)
        .map(|(_, level)| level)
        .collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn amd64_levels() -> Vec<&'static str> {
    vec!["v1"]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Option<Platform> {
        let mut parts = text.split('/').map(str::to_owned);
        let mut part = || parts.next().unwrap_or_default();
        (!text.is_empty()).then(|| Platform {
            os: part(),
            architecture: part(),
            variant: part(),
        })
    }

    /// On a node with these variants of amd64, which of `offered` is taken?
    #[track_caller]
    fn check(variants: &[&str], offered: &[&str], taken: Option<usize>) {
        let offered: Vec<_> = offered.iter().map(|text| platform(text)).collect();
        let runnable = Runnable::new("amd64", variants);
        let best = runnable.best(&offered, |platform| platform.as_ref());
        let index = best.map(|best| offered.iter().position(|o| std::ptr::eq(o, best)).unwrap());
        assert_eq!(index, taken);
    }

    #[test]
    fn the_best_image_that_runs_here_is_taken() {
        check(&["v1"], &["linux/arm64/v8", "linux/amd64"], Some(1));
        check(
            &["v2", "v1"],
            &["linux/amd64", "linux/amd64/v3", "linux/amd64/v2"],
            Some(2),
        );
        check(&["v1"], &["linux/amd64/v3", "linux/amd64"], Some(1));
        check(&["v1"], &["windows/amd64", "unknown/unknown"], None);
        check(&["v1"], &["linux/amd64", "linux/amd64"], Some(0));
    }

    #[test]
    fn a_lone_image_need_not_name_its_platform() {
        check(&["v1"], &[""], Some(0));
        check(&["v1"], &["", ""], None);
    }
}

//! Versions of the CNI specification, and which one a network is run with.

use std::fmt;
use std::str::FromStr;

use crate::error::Invalid;

/// A version of the specification, such as 1.0.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpecVersion {
    major: u32,
    minor: u32,
    patch: u32,
}

impl SpecVersion {
    /// The oldest whose results we read: before it, results had another shape.
    pub const OLDEST: Self = Self::new(0, 3, 0);
    /// From here on there is CHECK, and DEL gets the result of ADD.
    pub const V0_4_0: Self = Self::new(0, 4, 0);
    /// From here on addresses in results no longer say their family.
    pub const V1_0_0: Self = Self::new(1, 0, 0);
    /// From here on there are STATUS and GC.
    pub const V1_1_0: Self = Self::new(1, 1, 0);
    /// The newest that this crate speaks.
    pub const NEWEST: Self = Self::V1_1_0;

    const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }

    /// Whether this crate speaks it.
    pub fn is_spoken(self) -> bool {
        (Self::OLDEST..=Self::NEWEST).contains(&self)
    }
}

impl fmt::Display for SpecVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for SpecVersion {
    type Err = Invalid;

    /// `1.1.0`; also `1.1` and `1`, which libcni accepts.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new("CNI version", text, "three numbers with dots");
        let number = |part: Option<&str>| match part {
            None => Ok(0),
            // `u32::from_str` would take a sign.
            Some(part) if part.bytes().all(|byte| byte.is_ascii_digit()) => {
                part.parse().map_err(|_| invalid())
            }
            Some(_) => Err(invalid()),
        };
        let mut parts = text.splitn(3, '.');
        Ok(Self {
            major: number(Some(parts.next().unwrap_or_default()))?,
            minor: number(parts.next())?,
            patch: number(parts.next())?,
        })
    }
}

/// What a plugin answered to VERSION.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// These versions.
    Versions(Vec<SpecVersion>),
    /// Nothing that could be understood: it is taken at the configuration's word, as libcni does.
    Unknown,
}

impl Spoken {
    fn includes(&self, version: SpecVersion) -> bool {
        match self {
            Self::Versions(versions) => versions.contains(&version),
            Self::Unknown => true,
        }
    }
}

/// The highest of `offered` that this crate and all plugins speak.
pub(crate) fn negotiate<'a>(
    offered: &[SpecVersion],
    plugins: impl Iterator<Item = &'a Spoken> + Clone,
) -> Option<SpecVersion> {
    let by_all = |version: &SpecVersion| plugins.clone().all(|spoken| spoken.includes(*version));
    let spoken = offered
        .iter()
        .copied()
        .filter(|version| version.is_spoken());
    spoken.filter(by_all).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn versions(texts: &[&str]) -> Vec<SpecVersion> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[track_caller]
    fn check(offered: &[&str], plugins: &[&[&str]], chosen: Option<&str>) {
        let plugins: Vec<Spoken> = plugins
            .iter()
            .map(|texts| Spoken::Versions(versions(texts)))
            .collect();
        let found = negotiate(&versions(offered), plugins.iter());
        assert_eq!(found.map(|version| version.to_string()).as_deref(), chosen);
    }

    #[test]
    fn the_highest_version_that_all_speak_is_chosen() {
        const DEBIAN: &[&str] = &["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"];
        check(&["0.4.0", "1.1.0", "1.0.0"], &[DEBIAN], Some("1.0.0"));
        check(&["0.4.0", "1.1.0"], &[DEBIAN, &["0.4.0"]], Some("0.4.0"));
        check(&["1.1.0"], &[DEBIAN], None);
        check(&["0.4.0", "1.2.0"], &[&["0.4.0", "1.2.0"]], Some("0.4.0"));
        check(&["0.2.0"], &[DEBIAN], None);
    }

    #[test]
    fn who_does_not_say_what_it_speaks_is_taken_to_speak_all() {
        let chosen = negotiate(&versions(&["0.4.0", "1.1.0"]), [Spoken::Unknown].iter());
        assert_eq!(chosen, Some(SpecVersion::V1_1_0));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(major: u32, minor: u32, patch: u32) {
            let version = SpecVersion::new(major, minor, patch);
            prop_assert_eq!(version.to_string().parse::<SpecVersion>().unwrap(), version);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            if let Ok(version) = text.parse::<SpecVersion>() {
                prop_assert!(version.to_string().parse::<SpecVersion>().is_ok());
            }
        }
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in [
            "",
            "1.+1.0",
            "1.0.0.0",
            "1.0.0-rc1",
            "1..0",
            "99999999999.0.0",
        ] {
            assert!(text.parse::<SpecVersion>().is_err(), "{text}");
        }
        assert_eq!(
            versions(&["1.1", "1"]),
            [SpecVersion::V1_1_0, SpecVersion::V1_0_0]
        );
    }
}

//! Paths out of a tar: cleaned to what they mean inside the image's root, and shown without harm.

use std::fmt;

use super::error::EntryFault;
use crate::Limits;
use crate::format::MAX_NAME;
use crate::limits::LimitExceeded;

/// A path out of a tar, fit for a log line: escaped, and cut where it is long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryName(String);

impl EntryName {
    const MAX_BYTES: usize = 256;

    pub(crate) fn new(path: &[u8]) -> Self {
        let cut = &path[..path.len().min(Self::MAX_BYTES)];
        let dots = if cut.len() < path.len() { "…" } else { "" };
        Self(format!("{}{dots}", cut.escape_ascii()))
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The components of `path` below the root: absolute or not, without `.`, with `..` taken lexically
/// and stopping at the root.
///
/// Lexically, because that is what every runtime does before it looks at a single symbolic link.
pub(super) fn components<'a>(path: &'a [u8], limits: &Limits) -> Result<Vec<&'a [u8]>, EntryFault> {
    LimitExceeded::check(
        "bytes of path",
        path.len() as u64,
        limits.max_path_bytes as u64,
    )?;
    if path.contains(&0) {
        return Err(EntryFault::NulInPath);
    }
    let mut components = Vec::new();
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                components.pop();
            }
            name if name.len() > MAX_NAME => return Err(EntryFault::NameTooLong),
            name => components.push(name),
        }
    }
    LimitExceeded::check(
        "levels of directories",
        components.len() as u64,
        limits.max_depth as u64,
    )?;
    Ok(components)
}

/// What an entry's last component asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// A file of this name.
    File(&'a [u8]),
    /// Lower layers' file of this name is gone.
    Whiteout(&'a [u8]),
    /// Lower layers' files in this directory are gone.
    Opaque,
}

impl<'a> Meaning<'a> {
    const PREFIX: &'static [u8] = b".wh.";

    pub(super) fn of(name: &'a [u8]) -> Result<Self, EntryFault> {
        match name.strip_prefix(Self::PREFIX) {
            None => Ok(Self::File(name)),
            Some(b".wh..opq") => Ok(Self::Opaque),
            Some(b"" | b"." | b"..") => Err(EntryFault::BadWhiteout),
            // AUFS' own bookkeeping, or a whiteout of a whiteout.
            Some(hidden) if hidden.starts_with(Self::PREFIX) => Err(EntryFault::BadWhiteout),
            Some(hidden) => Ok(Self::Whiteout(hidden)),
        }
    }

    /// A directory's name can be no whiteout.
    pub(super) fn check_parent(name: &[u8]) -> Result<(), EntryFault> {
        match Meaning::of(name)? {
            Meaning::File(_) => Ok(()),
            _ => Err(EntryFault::BadWhiteout),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: &str) {
        let limits = Limits::default();
        let cleaned = components(path.as_bytes(), &limits).unwrap().join(&b'/');
        assert_eq!(cleaned, expected.as_bytes());
    }

    #[test]
    fn paths_stay_below_the_root() {
        check("a/b", "a/b");
        check("./a//b/.", "a/b");
        check("/etc/passwd", "etc/passwd");
        check("../../etc/passwd", "etc/passwd");
        check("a/../../b", "b");
        check("./", "");
        check("/..", "");
        check("...", "...");
    }

    #[test]
    fn impossible_paths_are_refused() {
        let limits = Limits {
            max_depth: 3,
            max_path_bytes: 600,
            ..Limits::default()
        };
        let long = vec![b'x'; 256];
        assert_eq!(components(b"a\0b", &limits), Err(EntryFault::NulInPath));
        assert_eq!(components(&long, &limits), Err(EntryFault::NameTooLong));
        assert!(matches!(
            components(b"a/b/c/d", &limits),
            Err(EntryFault::Limit(_))
        ));
        assert!(matches!(
            components(&[b'/'; 601], &limits),
            Err(EntryFault::Limit(_))
        ));
    }

    #[test]
    fn whiteouts_are_told_from_files() {
        assert_eq!(Meaning::of(b"wh.a"), Ok(Meaning::File(b"wh.a")));
        assert_eq!(Meaning::of(b".wh.a"), Ok(Meaning::Whiteout(b"a")));
        assert_eq!(Meaning::of(b".wh.wh.a"), Ok(Meaning::Whiteout(b"wh.a")));
        assert_eq!(Meaning::of(b".wh..wh..opq"), Ok(Meaning::Opaque));
        for odd in [
            ".wh.",
            ".wh..",
            ".wh...",
            ".wh..wh.",
            ".wh..wh.plnk",
            ".wh..wh.aufs",
        ] {
            assert_eq!(
                Meaning::of(odd.as_bytes()),
                Err(EntryFault::BadWhiteout),
                "{odd}"
            );
        }
    }

    #[test]
    fn names_are_shown_escaped_and_short() {
        assert_eq!(EntryName::new(b"a\n\xff").to_string(), "a\\n\\xff");
        assert_eq!(
            EntryName::new(&[b'a'; 10_000]).to_string().chars().count(),
            257
        );
    }
}

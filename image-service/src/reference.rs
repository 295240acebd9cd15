//! Names of images: what people write, and what it means.

use std::fmt;
use std::net::Ipv6Addr;

use crate::digest::{Digest, DigestError};

const DOCKER_HUB: &str = "docker.io";

/// Longest registry and repository together that the ecosystem agrees on.
const MAX_NAME_BYTES: usize = 255;

/// A full name: registry, repository, and a tag or a digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reference {
    /// Host of the registry, with port where one is given.
    pub(crate) registry: String,
    /// Path of the repository there.
    pub(crate) repository: String,
    /// Which image of the repository.
    pub(crate) target: Target,
}

/// Which image of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// The one that the registry has under this tag now.
    Tag(String),
    /// Exactly this one.
    Digest(Digest),
}

/// The text names no image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The registry's host or port is malformed.
    #[error("{0:?} is no host[:port] of a registry")]
    Registry(String),
    /// The repository is malformed.
    #[error(
        "{0:?} is no repository: lower-case letters and digits, separated by one of . _ __ - or /"
    )]
    Repository(String),
    /// The tag is malformed.
    #[error("{0:?} is no tag: at most 128 letters, digits, and _ . - not at the start")]
    Tag(String),
    /// The digest is malformed.
    #[error("malformed digest")]
    Digest(#[from] DigestError),
    /// Registry and repository are too long.
    #[error("name is longer than {MAX_NAME_BYTES} bytes")]
    TooLong,
}

impl Reference {
    /// Reads a reference as Docker does: no registry means Docker Hub, no namespace there means
    /// `library`, neither tag nor digest means `latest`, and a digest outweighs a tag.
    pub(crate) fn parse(text: &str) -> Result<Self, ReferenceError> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        let (name, tag) = split_tag(rest);
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Tag(tag.to_owned()));
        }
        if name.len() > MAX_NAME_BYTES {
            return Err(ReferenceError::TooLong);
        }
        let (registry, repository) = split_registry(name)?;
        let target = match digest {
            Some(digest) => Target::Digest(digest),
            None => Target::Tag(tag.unwrap_or("latest").to_owned()),
        };
        Ok(Self {
            registry,
            repository,
            target,
        })
    }

    /// Registry and repository, without tag or digest.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// This name with `digest` in place of the tag.
    pub(crate) fn with_digest(&self, digest: Digest) -> String {
        format!("{}@{digest}", self.name())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Tag(tag) => write!(f, "{}:{tag}", self.name()),
            Target::Digest(digest) => write!(f, "{}@{digest}", self.name()),
        }
    }
}

/// `name[:tag]`; a colon before a slash belongs to a port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    }
}

fn split_registry(name: &str) -> Result<(String, String), ReferenceError> {
    // Only what can't be a path component is taken for a host, as everywhere.
    let (registry, repository) = match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.contains(|c: char| c.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DOCKER_HUB, name),
    };
    if !is_registry(registry) {
        return Err(ReferenceError::Registry(registry.to_owned()));
    }
    if !repository.split('/').all(is_path_component) || is_bare_id(repository) {
        return Err(ReferenceError::Repository(repository.to_owned()));
    }
    Ok(match registry {
        DOCKER_HUB | "index.docker.io" if !repository.contains('/') => {
            (DOCKER_HUB.to_owned(), format!("library/{repository}"))
        }
        "index.docker.io" => (DOCKER_HUB.to_owned(), repository.to_owned()),
        _ => (registry.to_owned(), repository.to_owned()),
    })
}

/// 64 hexadecimal digits alone are always an id, never a name.
fn is_bare_id(repository: &str) -> bool {
    Digest::from_hex(repository).is_ok()
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            let port = rest.strip_prefix(':');
            return address.parse::<Ipv6Addr>().is_ok()
                && (rest.is_empty() || port.is_some_and(is_port));
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    host.split('.').all(is_domain_component) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port > 0) && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_domain_component(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Runs of `[a-z0-9]`, separated by `.`, `_`, `__` or any number of `-`.
fn is_path_component(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let edges = bytes.first().zip(bytes.last());
    edges.is_some_and(|(first, last)| word(*first) && word(*last))
        && bytes.split(|b| word(*b)).all(is_separator)
}

/// What may stand between two word characters; nothing, where they are neighbours.
fn is_separator(text: &[u8]) -> bool {
    matches!(text, b"" | b"." | b"_" | b"__") || text.iter().all(|b| *b == b'-')
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=128).contains(&text.len())
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(written: &str, means: &str) {
        assert_eq!(Reference::parse(written).unwrap().to_string(), means);
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        check("busybox", "docker.io/library/busybox:latest");
        check("team/app:1.0", "docker.io/team/app:1.0");
        check("docker.io/busybox", "docker.io/library/busybox:latest");
        check(
            "index.docker.io/busybox",
            "docker.io/library/busybox:latest",
        );
        check("registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.9");
        check("localhost/app", "localhost/app:latest");
        check("localhost:5000/a/b/c", "localhost:5000/a/b/c:latest");
        check("[::1]:5000/app:x", "[::1]:5000/app:x");
        check("Registry/app", "Registry/app:latest");
    }

    #[test]
    fn a_digest_outweighs_a_tag() {
        let digest = Digest::of(b"");
        check(
            &format!("app:1@{digest}"),
            &format!("docker.io/library/app@{digest}"),
        );
        check(
            &format!("r.example/app@{digest}"),
            &format!("r.example/app@{digest}"),
        );
    }

    #[test]
    fn separators_are_those_of_the_specification() {
        check("a.b/c_d__e---f", "a.b/c_d__e---f:latest");
        for bad in [
            "a.b/c..d",
            "a.b/c___d",
            "a.b/c._d",
            "a.b/-c",
            "a.b/c-",
            "a.b/c//d",
            "a.b/",
        ] {
            assert!(Reference::parse(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn what_could_lead_elsewhere_is_refused() {
        let id = Digest::of(b"").hex();
        for bad in [
            "",
            ":tag",
            "App",
            "../app",
            "r.example/../app",
            "r..example/app",
            "-r.example/app",
            "r.example:0/app",
            "r.example:99999/app",
            "r.example:+80/app",
            "user@r.example/app",
            "r.example/app:",
            "r.example/app:a/b",
            "r.example/app:.x",
            "r.example/app?x=y",
            "r.example/app%2f",
            "r.example/a b",
            "https://r.example/app",
            "[::1/app",
            "[zz]:1/app",
            "app@sha256:123",
            &id,
            &"a".repeat(300),
        ] {
            assert!(Reference::parse(bad).is_err(), "{bad:?} was taken");
        }
    }
}

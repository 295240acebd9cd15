//! One interface of one container in a network: how it is named, and what plugins are told of it.

use std::path::PathBuf;

use crate::capabilities::CapabilityArgs;
use crate::error::Invalid;

/// What names an attachment: the container and the interface in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttachmentId {
    container_id: String,
    ifname: String,
}

impl AttachmentId {
    /// `container_id` consists of letters, digits, `_`, `.` and `-` and begins with a letter or a
    /// digit; `ifname` is the name of an interface as the kernel takes it.
    pub fn new(container_id: &str, ifname: &str) -> Result<Self, Invalid> {
        if !is_name(container_id) {
            let shape = "of letters, digits, '_', '.' and '-'";
            return Err(Invalid::new("container id", container_id, shape));
        }
        if !is_interface(ifname) {
            let shape = "an interface name of 1 to 15 characters";
            return Err(Invalid::new("interface", ifname, shape));
        }
        Ok(Self {
            container_id: container_id.to_owned(),
            ifname: ifname.to_owned(),
        })
    }

    /// The container, as in `CNI_CONTAINERID`.
    pub fn container_id(&self) -> &str {
        &self.container_id
    }

    /// The interface in it, as in `CNI_IFNAME`.
    pub fn ifname(&self) -> &str {
        &self.ifname
    }
}

/// The shape of container ids and network names: it makes them safe in file names.
pub(crate) fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(plain)
}

/// `dev_valid_name` of the kernel, without anything that is not ASCII.
fn is_interface(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
    (1..=15).contains(&text.len()) && text != "." && text != ".." && text.bytes().all(plain)
}

/// An interface to be made, or that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Attachment {
    /// What names it.
    pub id: AttachmentId,
    /// The container's network namespace, as in `CNI_NETNS`.
    pub netns: PathBuf,
    /// What all plugins get as `CNI_ARGS`.
    pub args: CniArgs,
    /// What plugins get in `runtimeConfig` where they declare that they can use it.
    pub capabilities: CapabilityArgs,
}

impl Attachment {
    /// With neither arguments nor capability arguments.
    pub fn new(id: AttachmentId, netns: impl Into<PathBuf>) -> Self {
        Self {
            id,
            netns: netns.into(),
            args: CniArgs::default(),
            capabilities: CapabilityArgs::default(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), Invalid> {
        match self.netns.to_str() {
            Some(path) if path.starts_with('/') => Ok(()),
            _ => {
                let path = self.netns.to_string_lossy();
                Err(Invalid::new("network namespace", &path, "an absolute path"))
            }
        }
    }
}

/// `CNI_ARGS`: keys and values, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CniArgs {
    pairs: Vec<(String, String)>,
}

impl CniArgs {
    /// Adds a pair. Neither may have a `;`, and the key no `=`: plugins split at them.
    pub fn push(&mut self, key: &str, value: &str) -> Result<(), Invalid> {
        let odd = |text: &str| text.contains(|c: char| c == ';' || c.is_control());
        if key.is_empty() || odd(key) || key.contains('=') {
            return Err(Invalid::new("key of CNI_ARGS", key, "without ';' and '='"));
        }
        if odd(value) {
            return Err(Invalid::new("value of CNI_ARGS", value, "without ';'"));
        }
        self.pairs.push((key.to_owned(), value.to_owned()));
        Ok(())
    }

    /// The pairs.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.pairs.iter();
        pairs.map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// As plugins get it: `A=1;B=2`.
    pub(crate) fn encode(&self) -> String {
        let pairs = self.iter().map(|(key, value)| format!("{key}={value}"));
        pairs.collect::<Vec<_>>().join(";")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_that_plugins_or_files_would_misread_are_refused() {
        assert!(AttachmentId::new("0a1b-c_d.e", "eth0").is_ok());
        for (container_id, ifname) in [
            ("", "eth0"),
            ("-a", "eth0"),
            ("a/b", "eth0"),
            ("a\n", "eth0"),
            ("a", ""),
            ("a", ".."),
            ("a", "a/b"),
            ("a", "eth 0"),
            ("a", "sixteen-letters-"),
        ] {
            assert!(AttachmentId::new(container_id, ifname).is_err());
        }
    }

    proptest! {
        #[test]
        fn plugins_read_the_pairs_that_were_pushed(
            pairs in prop::collection::vec((".{0,6}", "[=;a\n]{0,6}"), 0..6),
        ) {
            let mut args = CniArgs::default();
            for (key, value) in &pairs {
                args.push(key, value).ok();
            }
            let encoded = args.encode();
            let read: Vec<_> = encoded.split(';').filter_map(|pair| pair.split_once('=')).collect();
            prop_assert_eq!(read, args.iter().collect::<Vec<_>>());
        }
    }
}

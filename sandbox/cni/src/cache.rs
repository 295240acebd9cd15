//! Records of attachments, as libcni keeps them: `<cache_dir>/results/<network>-<container>-<interface>`.
//!
//! A record is written *before* the first plugin of an ADD runs, without a result, and again with
//! it. So whatever a crash leaves half made is found by its record, and undone with the
//! configuration and the arguments that it was made with. libcni takes a record without a result
//! for what it is, and a key that it does not know (`owner`) for nothing.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tracing::warn;

use crate::attachment::{Attachment, AttachmentId, CniArgs, is_name};
use crate::error::Error;

/// What is known of an attachment that was made, or was to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedAttachment {
    /// The attachment, with all that its plugins were told.
    pub attachment: Attachment,
    /// The name of its network.
    pub network: String,
    /// Which runtime made it; libcni does not say.
    pub owner: Option<String>,
    /// The network's configuration then.
    pub config: Vec<u8>,
    /// The result of ADD. Without it, ADD was begun and is not known to have succeeded.
    pub result: Option<Map<String, Value>>,
}

/// libcni's `cachedInfo`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    kind: String,
    container_id: String,
    config: String,
    if_name: String,
    network_name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    netns: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cni_args: Option<Vec<[String; 2]>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    capability_args: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
}

const KIND: &str = "cniCacheV1";
/// A larger record is none.
const MOST_BYTES: u64 = 8 << 20;
/// Unfinished records; beside `results`, because libcni takes every file in there for a record.
const UNFINISHED: &str = ".cni-unfinished";

#[derive(Clone, Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// Makes the directories, with the rights that libcni gives them, and removes records that an
    /// earlier process was killed while it wrote.
    pub(crate) fn open(dir: PathBuf) -> Result<Self, Error> {
        let cache = Self { dir };
        let results = cache.results();
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&results)
            .map_err(failed("make the directory of", &results))?;
        cache.sweep();
        Ok(cache)
    }

    /// Nobody finishes them: who was killed before the first record was there had run no plugin.
    fn sweep(&self) {
        for entry in std::fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                let path = entry.path();
                if let Err(error) = std::fs::remove_file(&path) {
                    warn!(?path, %error, "unfinished record of a network attachment can't be removed");
                }
            }
        }
    }

    fn results(&self) -> PathBuf {
        self.dir.join("results")
    }

    fn path(&self, network: &str, id: &AttachmentId) -> PathBuf {
        let name = format!("{network}-{}-{}", id.container_id(), id.ifname());
        self.results().join(name)
    }

    /// Writes a record so that after a crash of this process there is the old one, or the new one.
    /// It is not forced to the disk: that would cost each container some milliseconds, and what
    /// a node that crashes has lost, its network namespaces first of all, is not undone by records.
    pub(crate) fn save(&self, saved: &SavedAttachment) -> Result<(), Error> {
        let path = self.path(&saved.network, &saved.attachment.id);
        let write = || {
            let bytes = serde_json::to_vec(&Wire::from(saved))?;
            // Attachments of one container come one after another, so the name is ours.
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let unfinished = self.dir.join(format!("{UNFINISHED}-{name}"));
            let written =
                write_new(&unfinished, &bytes).and_then(|()| std::fs::rename(&unfinished, &path));
            written.inspect_err(|_| drop(std::fs::remove_file(&unfinished)))
        };
        write().map_err(failed("write", &path))
    }

    pub(crate) fn remove(&self, network: &str, id: &AttachmentId) -> Result<(), Error> {
        let path = self.path(network, id);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(failed("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// The record of an attachment to a network, if there is one.
    pub(crate) fn get(
        &self,
        network: &str,
        id: &AttachmentId,
    ) -> Result<Option<SavedAttachment>, Error> {
        let path = self.path(network, id);
        match read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            saved => saved.map(Some).map_err(failed("read", &path)),
        }
    }

    /// The records of an attachment, in whichever network; more than one after a change of networks.
    /// Records that can't be read are reported and left.
    pub(crate) fn of(&self, id: &AttachmentId) -> Result<Vec<SavedAttachment>, Error> {
        let end = format!("-{}-{}", id.container_id(), id.ifname());
        let named = self.read_where(|name| name.ends_with(&end))?;
        let own = named.into_iter().filter(|saved| saved.attachment.id == *id);
        Ok(own.collect())
    }

    /// All records.
    pub(crate) fn all(&self) -> Result<Vec<SavedAttachment>, Error> {
        self.read_where(|_| true)
    }

    fn read_where(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<SavedAttachment>, Error> {
        let results = self.results();
        let entries = match std::fs::read_dir(&results) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed("list", &results))?,
        };
        let mut found = Vec::new();
        for entry in entries.flatten() {
            if !entry.file_name().to_str().is_some_and(&wanted) {
                continue;
            }
            match read(&entry.path()) {
                Ok(saved) => found.push(saved),
                // libcni removes it; whoever wrote it can still learn from it.
                Err(error) => {
                    let path = entry.path();
                    warn!(?path, %error, "record of a network attachment can't be read");
                }
            }
        }
        found.sort_by(|a, b| (&a.attachment.id, &a.network).cmp(&(&b.attachment.id, &b.network)));
        Ok(found)
    }
}

fn failed(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Record {
        doing,
        path: path.clone(),
        source,
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)?.write_all(bytes)
}

fn read(path: &Path) -> io::Result<SavedAttachment> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(MOST_BYTES).read_to_end(&mut bytes)?;
    let wire: Wire = serde_json::from_slice(&bytes)?;
    SavedAttachment::try_from(wire).map_err(|what| io::Error::new(ErrorKind::InvalidData, what))
}

impl From<&SavedAttachment> for Wire {
    fn from(saved: &SavedAttachment) -> Self {
        let attachment = &saved.attachment;
        let pair = |(key, value): (&str, &str)| [key.to_owned(), value.to_owned()];
        let args: Vec<_> = attachment.args.iter().map(pair).collect();
        let capabilities = attachment.capabilities.as_map().clone();
        Self {
            kind: KIND.into(),
            container_id: attachment.id.container_id().to_owned(),
            config: STANDARD.encode(&saved.config),
            if_name: attachment.id.ifname().to_owned(),
            network_name: saved.network.clone(),
            netns: attachment.netns.to_string_lossy().into_owned(),
            cni_args: (!args.is_empty()).then_some(args),
            capability_args: (!capabilities.is_empty()).then_some(capabilities),
            result: saved.result.clone(),
            owner: saved.owner.clone(),
        }
    }
}

impl TryFrom<Wire> for SavedAttachment {
    type Error = String;

    fn try_from(wire: Wire) -> Result<Self, String> {
        if wire.kind != KIND {
            return Err(format!("kind is not {KIND}"));
        }
        if !is_name(&wire.network_name) {
            return Err("networkName is no name".into());
        }
        let id = AttachmentId::new(&wire.container_id, &wire.if_name)
            .map_err(|error| error.to_string())?;
        let mut args = CniArgs::default();
        for [key, value] in wire.cni_args.unwrap_or_default() {
            args.push(&key, &value).map_err(|error| error.to_string())?;
        }
        Ok(Self {
            attachment: Attachment {
                id,
                netns: wire.netns.into(),
                args,
                capabilities: wire.capability_args.unwrap_or_default().into(),
            },
            network: wire.network_name,
            owner: wire.owner,
            config: STANDARD
                .decode(wire.config)
                .map_err(|_| "config is not base64")?,
            result: wire.result,
        })
    }
}

#[cfg(test)]
mod tests;

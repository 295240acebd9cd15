//! `UpdateRuntimeConfig`: a node that is told its pod CIDR writes its own network configuration.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;
use tracing::info;

use super::{Cni, Inner, joined};
use crate::cidr::Cidr;
use crate::conf_dir;
use crate::error::{ConfigError, Error, Invalid};
use crate::network_config::NetworkConfig;
use crate::template::{PodCidrs, Template};

/// What was done about a pod CIDR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodCidrOutcome {
    /// There is no template: something else brings the configuration.
    NoTemplate,
    /// No CIDR was told.
    NoCidr,
    /// The network of another file is used; it is left alone.
    OtherNetwork(PathBuf),
    /// The file has this content already.
    Unchanged(PathBuf),
    /// The file was written; the network is looked at in a moment.
    Written(PathBuf),
}

/// More are a mistake.
const MOST_CIDRS: usize = 64;

impl Cni {
    /// Renders the template for pod CIDRs as the kubelet tells them, `10.1.0.0/24` or
    /// `10.1.0.0/24,fd00:1::/64`, to `10-<owner>.conflist` in the directory of configurations. The
    /// file appears whole or not at all, and only if it is a configuration that can be read.
    pub async fn set_pod_cidr(&self, cidrs: &str) -> Result<PodCidrOutcome, Error> {
        let cidrs = parse(cidrs)?;
        let inner = self.inner.clone();
        joined(spawn_blocking(move || inner.set_pod_cidr(cidrs))).await
    }
}

fn parse(text: &str) -> Result<Vec<Cidr>, Invalid> {
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let cidrs: Vec<Cidr> = parts.map(str::parse).collect::<Result<_, _>>()?;
    match cidrs.len() {
        0..=MOST_CIDRS => Ok(cidrs),
        _ => Err(Invalid::new(
            "pod CIDR",
            text,
            "a list of at most 64 networks",
        )),
    }
}

impl Inner {
    fn set_pod_cidr(&self, cidrs: Vec<Cidr>) -> Result<PodCidrOutcome, Error> {
        let Some(template) = &self.config.conf_template else {
            return Ok(PodCidrOutcome::NoTemplate);
        };
        let Some(cidrs) = PodCidrs::new(cidrs) else {
            return Ok(PodCidrOutcome::NoCidr);
        };
        let dir = &self.config.conf_dir;
        let file = dir.join(format!("10-{}.conflist", self.config.owner));
        if let Ok(chosen) = conf_dir::choose(dir, self.config.network.as_deref())
            && chosen.file != file
        {
            return Ok(PodCidrOutcome::OtherNetwork(chosen.file));
        }
        let failed = |source| Error::Config {
            path: template.clone(),
            source,
        };
        let text = render(template, &cidrs).map_err(failed)?;
        if std::fs::read(&file).is_ok_and(|old| old == text.as_bytes()) {
            return Ok(PodCidrOutcome::Unchanged(file));
        }
        let written = write(dir, &file, text.as_bytes());
        written.map_err(|source| Error::Config {
            path: file.clone(),
            source: source.into(),
        })?;
        info!(?file, "network configuration is written from its template");
        Ok(PodCidrOutcome::Written(file))
    }
}

fn render(template: &Path, cidrs: &PodCidrs) -> Result<String, ConfigError> {
    let text = conf_dir::read(template)?;
    let template = Template::parse(&String::from_utf8_lossy(&text))?;
    let text = template.render(cidrs)?;
    NetworkConfig::parse(text.as_bytes())?;
    Ok(text)
}

fn write(dir: &Path, file: &Path, text: &[u8]) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    // Its ending is none of a configuration, so nobody reads it before it is whole.
    let unfinished = file.with_extension("unfinished");
    let mut written = std::fs::File::create(&unfinished)?;
    written.write_all(text)?;
    written.sync_all()?;
    std::fs::rename(&unfinished, file)
}

//! Which hosts serve a registry's images, in which order, and what each of them may be told.

use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tracing::warn;

use super::hosts_toml::{Credentials, HostTable, HostsToml};
use super::tls::TlsSpec;

/// Files named by a configuration are small; anything larger is a mistake.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// One host to be asked.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// Host and port, for errors and logs.
    pub(crate) name: String,
    /// What all paths of the distribution protocol are appended to: `https://…/v2`.
    pub(crate) base: Url,
    /// It may be asked which image a tag means.
    pub(crate) resolve: bool,
    /// It may be asked for content by digest.
    pub(crate) pull: bool,
    /// Trust and identity.
    pub(crate) tls: TlsSpec,
    /// Sent with each request to this host, and to no other.
    pub(crate) headers: HeaderMap,
    /// How long a connection may take.
    pub(crate) dial_timeout: Option<Duration>,
    /// It may see the credentials of the call.
    pub(crate) takes_credentials: bool,
    /// It stands in for this registry, and is told so.
    pub(crate) stands_in_for: Option<String>,
}

/// A `hosts.toml` that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum HostsError {
    /// The file, or one it names, could not be read.
    #[error("read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is no TOML of the right form.
    #[error("parse {path}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where it went wrong.
        source: Box<toml::de::Error>,
    },
    /// A value in it makes no sense.
    #[error("{path}: {mistake}")]
    Value {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        mistake: String,
    },
}

/// The hosts to ask for images of `registry`, best first. Blocking: reads files, so that changes
/// take effect without a restart.
pub(crate) fn hosts_of(registry: &str, dirs: &[PathBuf]) -> Result<Vec<Host>, HostsError> {
    let upstream = upstream_url(registry);
    let Some((path, text)) = find_file(registry, dirs)? else {
        return Ok(vec![upstream_host(registry, upstream)]);
    };
    let file: HostsToml = toml::from_str(&text).map_err(|source| HostsError::Parse {
        path: path.clone(),
        source: Box::new(source),
    })?;
    let reader = Reader {
        path: &path,
        registry,
        upstream: &upstream,
    };
    let mut hosts = Vec::new();
    for (url, table) in file.host {
        let table = table.try_into().map_err(|error| {
            reader.mistake(format!("host {url:?}: {}", error.to_string().trim_end()))
        })?;
        hosts.push(reader.host(&url, table)?);
    }
    // Without a server of its own the registry itself is the last resort.
    let server = file.server.filter(|server| !server.is_empty());
    hosts.push(reader.host(server.as_deref().unwrap_or(upstream.as_str()), file.own)?);
    hosts.retain(|host| host.pull || host.resolve);
    Ok(hosts)
}

/// Where a registry is if nobody says otherwise. On loopback nothing can listen in, and test
/// registries there have no certificate.
fn upstream_url(registry: &str) -> Url {
    let host = match registry {
        "docker.io" => "registry-1.docker.io",
        other => other,
    };
    let scheme = if is_loopback(host) { "http" } else { "https" };
    Url::parse(&format!("{scheme}://{host}/v2")).expect("a parsed reference has a valid host")
}

pub(super) fn is_loopback(host_and_port: &str) -> bool {
    let host = match host_and_port
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((address, _)) => address,
        None => host_and_port.split(':').next().unwrap_or_default(),
    };
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn upstream_host(registry: &str, base: Url) -> Host {
    Host {
        name: registry.to_owned(),
        base,
        resolve: true,
        pull: true,
        tls: TlsSpec::default(),
        headers: HeaderMap::new(),
        dial_timeout: None,
        takes_credentials: true,
        stands_in_for: None,
    }
}

/// The first `hosts.toml` that speaks of `registry`, else the first that speaks of all.
fn find_file(registry: &str, dirs: &[PathBuf]) -> Result<Option<(PathBuf, String)>, HostsError> {
    let mut names = vec![registry.to_owned(), "_default".to_owned()];
    if let Some((host, port)) = registry.rsplit_once(':') {
        // A colon in a directory name is trouble for some tools, so containerd reads this too.
        names.insert(0, format!("{host}_{port}_"));
    }
    for name in &names {
        for dir in dirs {
            let path = dir.join(name).join("hosts.toml");
            match read(&path) {
                Ok(bytes) => {
                    let text = String::from_utf8(bytes).map_err(|_| HostsError::Value {
                        path: path.clone(),
                        mistake: "not UTF-8".to_owned(),
                    })?;
                    return Ok(Some((path, text)));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(HostsError::Read { path, source }),
            }
        }
    }
    Ok(None)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let len = File::open(path)?
        .take(MAX_FILE_BYTES)
        .read_to_end(&mut bytes)? as u64;
    if len == MAX_FILE_BYTES {
        Err(io::ErrorKind::FileTooLarge.into())
    } else {
        Ok(bytes)
    }
}

/// Turns tables of one file into hosts.
struct Reader<'a> {
    path: &'a Path,
    registry: &'a str,
    upstream: &'a Url,
}

impl Reader<'_> {
    fn mistake(&self, mistake: String) -> HostsError {
        HostsError::Value {
            path: self.path.to_owned(),
            mistake,
        }
    }

    fn host(&self, url: &str, table: HostTable) -> Result<Host, HostsError> {
        for key in table
            .unknown
            .keys()
            .filter(|key| !matches!(key.as_str(), "server" | "host"))
        {
            warn!(file = %self.path.display(), host = url, key, "unknown key ignored");
        }
        let base = self.base(url, table.override_path)?;
        let is_upstream = base.origin() == self.upstream.origin();
        let mut name = base.host_str().unwrap_or_default().to_owned();
        if let Some(port) = base.port() {
            name = format!("{name}:{port}");
        }
        Ok(Host {
            name,
            resolve: table.can("resolve"),
            pull: table.can("pull"),
            tls: self.tls(&table)?,
            headers: self.headers(&table)?,
            dial_timeout: table.dial_timeout,
            takes_credentials: is_upstream || table.credentials == Credentials::Upstream,
            stands_in_for: (!is_upstream).then(|| self.registry.to_owned()),
            base,
        })
    }

    fn base(&self, url: &str, override_path: bool) -> Result<Url, HostsError> {
        let full = if url.contains("://") {
            url.to_owned()
        } else {
            format!("https://{url}")
        };
        let mut base = Url::parse(&full)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| self.mistake(format!("{url:?} is no http or https URL")))?;
        if !base.username().is_empty() || base.password().is_some() {
            return Err(self.mistake(format!(
                "{:?}: credentials don't belong here",
                base.host_str()
            )));
        }
        let mut path = base.path().trim_end_matches('/').to_owned();
        if !override_path && !path.ends_with("/v2") {
            path.push_str("/v2");
        }
        base.set_path(&path);
        base.set_query(None);
        base.set_fragment(None);
        Ok(base)
    }

    fn tls(&self, table: &HostTable) -> Result<TlsSpec, HostsError> {
        let mut spec = TlsSpec {
            skip_verify: table.skip_verify,
            ..TlsSpec::default()
        };
        for ca in &table.ca.0 {
            spec.ca.push(self.file(ca)?);
        }
        let mut clients = table.client.0.iter();
        if let Some((certificate, key)) = clients.next() {
            let key = if key.is_empty() { certificate } else { key };
            spec.client = Some((self.file(certificate)?, self.file(key)?));
        }
        if clients.next().is_some() {
            return Err(self.mistake("more than one client certificate for a host".to_owned()));
        }
        Ok(spec)
    }

    /// A file named in the table, relative to the `hosts.toml`.
    fn file(&self, name: &str) -> Result<Vec<u8>, HostsError> {
        let path = self.path.with_file_name("").join(name);
        read(&path).map_err(|source| HostsError::Read { path, source })
    }

    fn headers(&self, table: &HostTable) -> Result<HeaderMap, HostsError> {
        let mut headers = HeaderMap::new();
        for (name, values) in &table.header {
            for value in &values.0 {
                let name = name.parse::<HeaderName>();
                let value = value.parse::<HeaderValue>();
                let (Ok(name), Ok(mut value)) = (name, value) else {
                    return Err(self.mistake("header with a malformed name or value".to_owned()));
                };
                value.set_sensitive(true);
                headers.append(name, value);
            }
        }
        Ok(headers)
    }
}

#[cfg(test)]
mod tests;

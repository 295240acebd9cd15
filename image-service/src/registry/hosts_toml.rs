//! `hosts.toml`, containerd's format for the hosts that serve a registry's images.
//!
//! Read: `server`, `[host."<url>"]` in the order of the file, and for each of them `capabilities`,
//! `ca`, `client`, `skip_verify`, `header`, `override_path`, `dial_timeout`. Of our own is
//! `credentials = "upstream"`: this host may see the credentials of the registry it stands in for.

use std::time::Duration;

use serde::Deserialize;
use toml::Table;

/// The file, as written.
#[derive(Debug, Deserialize)]
pub(super) struct HostsToml {
    /// The registry itself, asked last.
    pub(super) server: Option<String>,
    /// Mirrors by URL, in the order of the file.
    #[serde(default)]
    pub(super) host: Table,
    /// How to talk to `server`.
    #[serde(flatten)]
    pub(super) own: HostTable,
}

/// How to talk to one host.
#[derive(Debug, Default, Deserialize)]
pub(super) struct HostTable {
    pub(super) capabilities: Option<Vec<String>>,
    #[serde(default)]
    pub(super) ca: OneOrMany,
    #[serde(default)]
    pub(super) client: ClientCertificate,
    #[serde(default)]
    pub(super) skip_verify: bool,
    #[serde(default)]
    pub(super) header: std::collections::BTreeMap<String, OneOrMany>,
    #[serde(default)]
    pub(super) override_path: bool,
    #[serde(default, deserialize_with = "go_duration")]
    pub(super) dial_timeout: Option<Duration>,
    #[serde(default)]
    pub(super) credentials: Credentials,
    /// Keys that nobody here knows; containerd ignores them too.
    #[serde(flatten)]
    pub(super) unknown: Table,
}

/// A string, or a list of them.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "OneOrManyForm")]
pub(super) struct OneOrMany(pub(super) Vec<String>);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrManyForm {
    One(String),
    Many(Vec<String>),
}

impl From<OneOrManyForm> for OneOrMany {
    fn from(form: OneOrManyForm) -> Self {
        match form {
            OneOrManyForm::One(one) => Self(vec![one]),
            OneOrManyForm::Many(many) => Self(many),
        }
    }
}

/// Certificate files, each with its key file; an empty key means that it is in the same file.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "ClientForm")]
pub(super) struct ClientCertificate(pub(super) Vec<(String, String)>);

#[derive(Deserialize)]
#[serde(untagged)]
enum ClientForm {
    File(String),
    Files(Vec<String>),
    Pairs(Vec<(String, String)>),
}

impl From<ClientForm> for ClientCertificate {
    fn from(form: ClientForm) -> Self {
        Self(match form {
            ClientForm::File(file) => vec![(file, String::new())],
            ClientForm::Files(files) => files
                .into_iter()
                .map(|file| (file, String::new()))
                .collect(),
            ClientForm::Pairs(pairs) => pairs,
        })
    }
}

/// Whose credentials a host gets to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Credentials {
    /// Nobody's, unless it is the registry itself.
    #[default]
    None,
    /// Those of the registry it stands in for.
    Upstream,
}

impl HostTable {
    /// A host without a list can do all that a pull needs.
    pub(super) fn can(&self, capability: &str) -> bool {
        self.capabilities
            .as_ref()
            .is_none_or(|list| list.iter().any(|item| item == capability))
    }
}

fn go_duration<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(from)?;
    let duration = parse_go_duration(&text)
        .ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no duration such as 5s")))?;
    // Go's zero means "no limit of its own", as leaving the key out does.
    Ok((!duration.is_zero()).then_some(duration))
}

/// `1m30s`, `500ms`: numbers with units, without sign.
fn parse_go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(number_len);
        let unit_len = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        let unit_seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * unit_seconds;
        rest = tail;
    }
    (!text.is_empty())
        .then(|| Duration::try_from_secs_f64(seconds).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        assert_eq!(parse_go_duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(parse_go_duration("1.5s"), Some(Duration::from_millis(1500)));
        for bad in ["", "5", "s", "5x", "-5s", "1.2.3s", "5 s"] {
            assert_eq!(parse_go_duration(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn hosts_keep_the_order_of_the_file() {
        let file: HostsToml = toml::from_str(
            r#"
            server = "https://registry.example"
            [host."https://z.example"]
            [host."https://a.example"]
            [host."https://m.example"]
            "#,
        )
        .unwrap();
        let order: Vec<_> = file.host.keys().collect();
        assert_eq!(
            order,
            [
                "https://z.example",
                "https://a.example",
                "https://m.example"
            ]
        );
    }

    #[test]
    fn all_shapes_of_certificates_are_read() {
        let client = |value: &str| {
            let table: HostTable = toml::from_str(&format!("client = {value}")).unwrap();
            table.client.0
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(client(r#""one.pem""#), [pair("one.pem", "")]);
        assert_eq!(
            client(r#"["one.pem", "two.pem"]"#),
            [pair("one.pem", ""), pair("two.pem", "")]
        );
        assert_eq!(client(r#"[["c.pem", "k.pem"]]"#), [pair("c.pem", "k.pem")]);
    }
}

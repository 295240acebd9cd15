//! Where metrics are served.

use std::net::SocketAddr;

use serde::{Deserialize, Deserializer, de::Error as _};

/// The `[metrics]` table of the configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address of the HTTP server with `/metrics`; none where it was left empty.
    #[serde(deserialize_with = "address")]
    pub address: Option<SocketAddr>,
}

fn address<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(from)?;
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = text.parse().map(Some);
    parsed.map_err(|_| D::Error::custom(format!("{text:?} is no address like 127.0.0.1:9100")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_address_is_none_and_a_wrong_one_is_named() {
        let parse = toml::from_str::<Config>;
        assert_eq!(parse("address = \"\"").unwrap().address, None);
        let given = parse("address = \"[::1]:9100\"").unwrap().address;
        assert_eq!(given, Some("[::1]:9100".parse().unwrap()));
        let error = parse("address = \"localhost\"").unwrap_err().to_string();
        assert!(error.contains("\"localhost\""), "{error}");
    }
}

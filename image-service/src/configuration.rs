//! An image's configuration: read from a stranger, checked before anything is made of it.

use serde::Deserialize;

use crate::digest::Digest;
use crate::image::ImageConfig;
use crate::manifest::{BadImage, parse_json, short};
use crate::platform::Runnable;

/// A configuration, checked against its manifest.
#[derive(Debug)]
pub(crate) struct Configuration {
    pub(crate) raw: String,
    pub(crate) config: ImageConfig,
    /// Digests of the uncompressed layers, bottom first.
    pub(crate) diff_ids: Vec<Digest>,
}

/// The configuration file.
#[derive(Deserialize)]
struct ConfigWire {
    os: Option<String>,
    architecture: Option<String>,
    created: Option<String>,
    config: Option<RunWire>,
    rootfs: RootfsWire,
}

#[derive(Deserialize)]
struct RootfsWire {
    diff_ids: Option<Vec<Digest>>,
}

/// Any field may be missing or null.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RunWire {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    user: Option<String>,
    working_dir: Option<String>,
    stop_signal: Option<String>,
    labels: Option<std::collections::BTreeMap<String, String>>,
    volumes: Option<std::collections::BTreeMap<String, serde::de::IgnoredAny>>,
}

/// Reads a configuration and checks that it fits `layers` layers and this node.
pub(crate) fn parse_config(
    bytes: &[u8],
    layers: usize,
    node: &Runnable,
) -> Result<Configuration, BadImage> {
    let wire: ConfigWire = parse_json("the configuration", bytes)?;
    let os = wire.os.unwrap_or_default();
    let architecture = wire.architecture.unwrap_or_default();
    if !node.runs(&os, &architecture) {
        let offered = short(&format!("{os}/{architecture}"));
        return Err(BadImage::Platform {
            node: node.to_string(),
            offered,
        });
    }
    let diff_ids = wire.rootfs.diff_ids.unwrap_or_default();
    if diff_ids.len() != layers {
        let text = format!(
            "its manifest has {layers} layers, its configuration {}",
            diff_ids.len()
        );
        return Err(BadImage::Inconsistent(text));
    }
    if layers == 0 {
        return Err(BadImage::Inconsistent(
            "it has no layers, so nothing to run".to_owned(),
        ));
    }
    let config = run_config(
        wire.config.unwrap_or_default(),
        wire.created.unwrap_or_default(),
    );
    check_user(&config.user)?;
    let raw = str::from_utf8(bytes).map_err(|error| BadImage::Malformed {
        what: "the configuration",
        problem: error.to_string(),
    })?;
    let raw = raw.to_owned();
    Ok(Configuration {
        raw,
        config,
        diff_ids,
    })
}

/// Reads a configuration that was checked when it was pulled.
pub(crate) fn reread(bytes: &[u8]) -> Option<ImageConfig> {
    let wire: ConfigWire = serde_json::from_slice(bytes).ok()?;
    Some(run_config(
        wire.config.unwrap_or_default(),
        wire.created.unwrap_or_default(),
    ))
}

fn run_config(wire: RunWire, created: String) -> ImageConfig {
    ImageConfig {
        entrypoint: wire.entrypoint.unwrap_or_default(),
        cmd: wire.cmd.unwrap_or_default(),
        env: wire.env.unwrap_or_default(),
        user: wire.user.unwrap_or_default(),
        working_dir: wire.working_dir.unwrap_or_default(),
        stop_signal: wire.stop_signal.unwrap_or_default(),
        labels: wire.labels.unwrap_or_default().into_iter().collect(),
        volumes: wire.volumes.unwrap_or_default().into_keys().collect(),
        created,
    }
}

/// CVE-2024-40635: a number that is too large for a uid wraps round to root where it is taken for
/// one, and escapes `runAsNonRoot`.
fn check_user(user: &str) -> Result<(), BadImage> {
    let number = user.split(':').next().unwrap_or_default();
    let digits = number.strip_prefix(['+', '-']).unwrap_or(number);
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    // The last one means "no change" to the kernel.
    if !is_number || number.parse::<u32>().is_ok_and(|uid| uid != u32::MAX) {
        return Ok(());
    }
    Err(BadImage::Inconsistent(format!(
        "its user {:?} is no uid",
        short(user)
    )))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn config(user: &str) -> Value {
        json!({
            "os": "linux",
            "config": { "User": user, "Env": null, "Cmd": ["sh"], "Volumes": { "/data": {} } },
            "rootfs": { "type": "layers", "diff_ids": [DIGEST] },
        })
    }

    fn parse_configuration(value: &Value) -> Result<Configuration, BadImage> {
        parse_config(value.to_string().as_bytes(), 1, &Runnable::here())
    }

    #[test]
    fn a_configuration_is_read_with_what_it_leaves_out() {
        let parsed = parse_configuration(&config("www-data:1004")).unwrap();
        assert_eq!(parsed.config.cmd, ["sh"]);
        assert_eq!(parsed.config.volumes, ["/data"]);
        assert_eq!(
            parsed.config.run_as(),
            crate::ImageUser::Name("www-data".to_owned())
        );
        let bare = json!({ "rootfs": { "diff_ids": [DIGEST] } });
        let parsed = parse_configuration(&bare).unwrap();
        assert_eq!(parsed.config.run_as(), crate::ImageUser::Uid(0));
    }

    #[test]
    fn a_user_that_is_no_uid_is_refused() {
        for good in [
            "",
            "0",
            "1002",
            "1003:1004",
            "www-data",
            "4294967294",
            "1a",
            "-",
        ] {
            assert!(
                parse_configuration(&config(good)).is_ok(),
                "{good:?} was refused"
            );
        }
        for bad in [
            "4294967295",
            "4294967296",
            "-1",
            "99999999999999999999:0",
            "+4294967296",
        ] {
            assert!(
                parse_configuration(&config(bad)).is_err(),
                "{bad:?} was taken"
            );
        }
    }

    #[test]
    fn a_configuration_must_fit_its_manifest_and_this_node() {
        let mut none = config("");
        none["rootfs"]["diff_ids"] = json!([]);
        assert!(matches!(
            parse_configuration(&none),
            Err(BadImage::Inconsistent(_))
        ));
        let mut foreign = config("");
        foreign["os"] = "windows".into();
        assert!(matches!(
            parse_configuration(&foreign),
            Err(BadImage::Platform { .. })
        ));
    }
}

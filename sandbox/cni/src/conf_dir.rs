//! A directory of network configurations, and which of them is used.

use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::{ConfigError, chain};
use crate::network_config::{NetworkConfig, PluginConfig};

/// The configuration that is used, and where it is from.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) config: NetworkConfig,
    pub(crate) file: PathBuf,
    /// Files before it that can't be read, and why, a sentence each.
    pub(crate) skipped: Vec<String>,
}

/// A larger configuration is none.
const MOST_BYTES: u64 = 1 << 20;
const ENDINGS: [&str; 3] = ["conf", "conflist", "json"];

/// The first file by name that is a configuration, or the first of the network `wanted`. Files that
/// can't be read are passed over, as one that is half written is; a plugin that is missing is no
/// reason to use another network. On failure, the reason in words.
pub(crate) fn choose(dir: &Path, wanted: Option<&str>) -> Result<Chosen, String> {
    let files = files(dir, &ENDINGS).map_err(|error| format!("read {}: {error}", dir.display()))?;
    let mut skipped = Vec::new();
    for file in files {
        match load(&file) {
            Ok(config) if wanted.is_none_or(|wanted| wanted == config.name) => {
                return Ok(Chosen {
                    config,
                    file,
                    skipped,
                });
            }
            Ok(_) => {}
            Err(error) => skipped.push(format!("{}: {}", file.display(), chain(&error))),
        }
    }
    let what = match wanted {
        Some(name) => format!("no configuration of network {name} in {}", dir.display()),
        None => format!("no network configuration in {}", dir.display()),
    };
    let reasons = [what].into_iter().chain(skipped);
    Err(reasons.collect::<Vec<_>>().join("; "))
}

/// The configuration in a file, with the plugins in `<network>/*.conf` beside it.
fn load(file: &Path) -> Result<NetworkConfig, ConfigError> {
    let config = NetworkConfig::parse(&read(file)?)?;
    let mut more = Vec::new();
    if config.load_more {
        let dir = file.with_file_name(&config.name);
        for file in files(&dir, &["conf"])? {
            more.push(PluginConfig::parse_bytes(&read(&file)?)?);
        }
    }
    config.with_more(more)
}

/// Files with one of these endings by name; none without the directory. Anything can turn up here,
/// also a symbolic link to a file, but a pipe must not hold us up.
fn files(dir: &Path, endings: &[&str]) -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let has_ending = |path: &PathBuf| {
        let ending = path.extension().and_then(|ending| ending.to_str());
        ending.is_some_and(|ending| endings.contains(&ending))
    };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| has_ending(path) && !path.is_dir())
        .collect();
    files.sort();
    Ok(files)
}

pub(crate) fn read(file: &Path) -> Result<Vec<u8>, ConfigError> {
    // Without O_NONBLOCK, opening a pipe would wait for a writer.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking)
        .open(file)?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(ConfigError::TooLarge { limit: MOST_BYTES });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, network: &str) {
        let text = format!(
            r#"{{"cniVersion": "1.0.0", "name": "{network}", "plugins": [{{"type": "a"}}]}}"#
        );
        std::fs::write(dir.join(name), text).unwrap();
    }

    #[track_caller]
    fn check(dir: &Path, wanted: Option<&str>, name: &str) {
        assert_eq!(choose(dir, wanted).unwrap().config.name, name);
    }

    #[test]
    fn the_first_file_by_name_is_used_or_the_network_that_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "20-b.conflist", "second");
        write(dir.path(), "10-a.json", "first");
        write(dir.path(), "00-no.conflist.bak", "backup");
        std::fs::create_dir(dir.path().join("05-dir.conf")).unwrap();
        check(dir.path(), None, "first");
        check(dir.path(), Some("second"), "second");
        let reason = choose(dir.path(), Some("third")).unwrap_err();
        assert!(reason.contains("third"), "{reason}");
    }

    #[test]
    fn what_can_not_be_read_is_passed_over_with_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("10-a.conflist"), "{\"name\": ").unwrap();
        std::fs::write(dir.path().join("11-a.conf"), vec![b' '; 2 << 20]).unwrap();
        let reason = choose(dir.path(), None).unwrap_err();
        assert!(
            reason.contains("10-a.conflist: parse it as JSON"),
            "{reason}"
        );
        assert!(reason.contains("more than 1048576 bytes"), "{reason}");
        write(dir.path(), "20-b.conflist", "second");
        let chosen = choose(dir.path(), None).unwrap();
        assert_eq!(
            (chosen.config.name.as_str(), chosen.skipped.len()),
            ("second", 2)
        );
    }

    #[test]
    fn a_pipe_or_a_dangling_link_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("10-pipe.conf");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("11-link.conf")).unwrap();
        write(dir.path(), "20-b.conflist", "second");
        check(dir.path(), None, "second");
    }

    #[test]
    fn plugins_in_files_beside_a_network_come_after_its_own() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "10-a.conflist", "net");
        let beside = dir.path().join("net");
        std::fs::create_dir(&beside).unwrap();
        std::fs::write(beside.join("2.conf"), r#"{"type": "c"}"#).unwrap();
        std::fs::write(beside.join("1.conf"), r#"{"type": "b"}"#).unwrap();
        let config = choose(dir.path(), None).unwrap().config;
        let programs: Vec<_> = config
            .plugins
            .iter()
            .map(|plugin| plugin.program.as_str())
            .collect();
        assert_eq!(programs, ["a", "b", "c"]);
    }

    #[test]
    fn no_directory_is_no_network() {
        let dir = tempfile::tempdir().unwrap();
        let reason = choose(&dir.path().join("none"), None).unwrap_err();
        assert!(
            reason.starts_with("no network configuration in "),
            "{reason}"
        );
    }
}

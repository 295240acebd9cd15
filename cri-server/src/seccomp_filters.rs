//! Compiled seccomp profiles: compiled once per profile and set of capabilities, then kept.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use oci_seccomp::{Circumstances, Profile};
use parking_lot::Mutex;
use tracing::warn;

use crate::container_spec::SeccompChoice;
use crate::error::{Error, Kind, Result};

/// Largest profile that is read. The longest known ones have some 30 KiB.
const PROFILE_MAX: u64 = 1 << 20;
/// Most programs that are kept; each has a few KiB.
const KEPT: usize = 128;

/// Compiled seccomp profiles.
#[derive(Default)]
pub(crate) struct SeccompFilters {
    compiled: Mutex<HashMap<Key, Vec<u8>>>,
}

/// What a program depends on.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    /// As it was on disk; empty for ours. A changed file is another profile.
    profile: Vec<u8>,
    circumstances: Circumstances,
}

impl SeccompFilters {
    /// The program for a choice, as the kernel takes it. Blocks on the node's file system.
    pub(crate) fn program(
        &self,
        choice: &SeccompChoice,
        capabilities: Vec<String>,
    ) -> Result<Option<Vec<u8>>> {
        let profile = match choice {
            SeccompChoice::Unconfined => return Ok(None),
            SeccompChoice::RuntimeDefault => Vec::new(),
            SeccompChoice::Localhost(path) => read(path)?,
        };
        let circumstances = Circumstances {
            capabilities,
            kernel: kernel(),
        };
        let key = Key {
            profile,
            circumstances,
        };
        if let Some(program) = self.compiled.lock().get(&key) {
            return Ok(Some(program.clone()));
        }
        let program = compile(choice, &key)?;
        let mut compiled = self.compiled.lock();
        if compiled.len() >= KEPT {
            // Nodes use a handful; whoever has this many gains nothing from a finer choice.
            compiled.clear();
        }
        compiled.insert(key, program.clone());
        Ok(Some(program))
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let failed = |error| {
        Error::caused(
            Kind::Invalid,
            format!("read the seccomp profile {}", path.display()),
            error,
        )
    };
    let mut profile = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(PROFILE_MAX + 1)
        .read_to_end(&mut profile)
        .map_err(failed)?;
    if profile.len() as u64 > PROFILE_MAX {
        return Err(Error::invalid(format!(
            "the seccomp profile {} is longer than {PROFILE_MAX} bytes",
            path.display()
        )));
    }
    Ok(profile)
}

fn compile(choice: &SeccompChoice, key: &Key) -> Result<Vec<u8>> {
    let profile = match choice {
        SeccompChoice::Localhost(path) => Profile::from_json(&key.profile[..])
            .map_err(|error| Error::caused(Kind::Invalid, format!("{}", path.display()), error))?,
        _ => Profile::runtime_default(),
    };
    let program = profile.compile(&key.circumstances).map_err(|error| {
        Error::caused(
            Kind::Invalid,
            format!("compile seccomp profile {choice:?}"),
            error,
        )
    })?;
    if !program.unknown.is_empty() {
        warn!(
            profile = ?choice,
            syscalls = ?program.unknown,
            "the profile forbids system calls that are not known and stay allowed"
        );
    }
    Ok(program.to_bytes())
}

/// Major and minor version of the node's kernel.
fn kernel() -> (u32, u32) {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut numbers = release
        .split(['.', '-'])
        .map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_compiled_anew_and_a_broken_one_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("profile.json");
        let filters = SeccompFilters::default();
        let choice = SeccompChoice::Localhost(path.clone());
        let program = |text: &str| {
            std::fs::write(&path, text).unwrap();
            filters.program(&choice, Vec::new())
        };
        let allow = program(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#).unwrap();
        let refuse = program(r#"{"defaultAction": "SCMP_ACT_ERRNO"}"#).unwrap();
        assert!(allow.is_some() && allow != refuse);
        assert!(program("{").is_err());
        assert_eq!(filters.compiled.lock().len(), 2);
    }

    #[test]
    fn capabilities_make_a_difference_to_the_default() {
        let filters = SeccompFilters::default();
        let program = |capabilities: &[&str]| {
            let capabilities = capabilities.iter().map(ToString::to_string).collect();
            filters
                .program(&SeccompChoice::RuntimeDefault, capabilities)
                .unwrap()
        };
        assert_ne!(program(&[]), program(&["CAP_SYS_ADMIN"]));
        assert_eq!(
            filters.program(&SeccompChoice::Unconfined, vec![]).unwrap(),
            None
        );
    }
}

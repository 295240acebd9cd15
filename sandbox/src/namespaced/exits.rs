//! How containers ended, as their agent wrote it down before it told anybody.

use std::path::Path;

use agent_api::exit_record;

use super::launch::Places;
use crate::agent::exit;
use crate::{ContainerExit, ContainerId, Error, Result};

/// How this container ended, if the agent lived to write it down.
pub(super) fn of(places: &Places, id: &ContainerId) -> Option<ContainerExit> {
    read(&places.agent.join(exit_record::file_name(&id.0)))
}

/// How those containers ended of which the agent wrote it down.
pub(super) fn all(places: &Places) -> Result<Vec<(ContainerId, ContainerExit)>> {
    let dir = &places.agent;
    let listing = || format!("list {}", dir.display());
    let entries = match std::fs::read_dir(dir) {
        // Some of it is removed already.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|e| Error::io(listing(), e))?,
    };
    let mut exits = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Error::io(listing(), e))?.path();
        if let Some(id) = path.file_name().and_then(|name| name.to_str())
            && let Some(id) = exit_record::container_id(id)
            && let Some(exit) = read(&path)
        {
            exits.push((ContainerId(id.to_owned()), exit));
        }
    }
    Ok(exits)
}

fn read(record: &Path) -> Option<ContainerExit> {
    let text = std::fs::read_to_string(record).ok()?;
    exit_record::decode(&text).map(exit)
}

#[cfg(test)]
mod tests {
    use agent_api::v1;

    use super::*;

    #[test]
    fn only_whole_records_count() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::below(dir.path());
        assert_eq!(all(&places).unwrap(), [], "nothing is there at all");
        std::fs::create_dir_all(&places.agent).unwrap();
        let told = exit_record::encode(&v1::ContainerExit {
            code: 3,
            ..v1::ContainerExit::default()
        });
        for (name, text) in [
            ("c1.exit", told.as_str()),
            ("c2.new", &told),
            ("c3.exit", "code 1"),
        ] {
            std::fs::write(places.agent.join(name), text).unwrap();
        }
        let ids_and_codes: Vec<_> = all(&places).unwrap();
        let ids_and_codes: Vec<_> = ids_and_codes
            .iter()
            .map(|(id, exit)| (&*id.0, exit.code))
            .collect();
        assert_eq!(ids_and_codes, [("c1", 3)]);
        let codes =
            ["c1", "c3", "c4"].map(|id| of(&places, &ContainerId(id.into())).map(|exit| exit.code));
        assert_eq!(codes, [Some(3), None, None]);
    }
}

//! Exit records: how each container ended, on disk before anybody is told.
//!
//! If the agent dies, whoever takes over reads them; the format is `agent_api::exit_record`.

use std::fs;
use std::io::Write;
use std::path::Path;

use agent_api::{exit_record, v1};

use super::Agent;
use crate::container::Container;

impl Agent {
    /// Keeps how `container` ended.
    pub(crate) fn record(&self, container: &Container, exit: &v1::ContainerExit) {
        let Some(directory) = self.sandbox.get().and_then(|s| s.state_dir.as_deref()) else {
            return;
        };
        if let Err(error) = write(directory, &container.id, exit) {
            // Still, whoever listens will hear of it.
            let container_id = &container.id;
            tracing::error!(container_id, error = %error, "keep exit record");
        }
    }

    /// The container is removed, and its record with it.
    pub(crate) fn forget_record(&self, container: &Container) {
        if let Some(directory) = self.sandbox.get().and_then(|s| s.state_dir.as_deref()) {
            // It has none if it could not be written.
            let _ = fs::remove_file(directory.join(exit_record::file_name(&container.id)));
        }
    }
}

fn write(directory: &Path, id: &str, exit: &v1::ContainerExit) -> std::io::Result<()> {
    let path = directory.join(exit_record::file_name(id));
    let unfinished = path.with_extension("new");
    let mut file = fs::File::create(&unfinished)?;
    file.write_all(exit_record::encode(exit).as_bytes())?;
    fs::rename(unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_whole_or_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let exit = v1::ContainerExit {
            code: 137,
            signal: 9,
            oom_killed: true,
            finished_at_ns: 5,
        };
        write(directory.path(), "c1", &exit).unwrap();
        let names: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(names, ["c1.exit"]);
        let text = fs::read_to_string(directory.path().join("c1.exit")).unwrap();
        assert_eq!(exit_record::decode(&text), Some(exit));
    }
}

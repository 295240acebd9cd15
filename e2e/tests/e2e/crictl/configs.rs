//! Configs of a pod and its containers, as the files that crictl wants.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// A directory with the files, and the pod's logs. Gone when dropped.
pub(super) struct Configs {
    directory: PathBuf,
}

impl Configs {
    /// Those of a pod with this name.
    pub(super) fn write(name: &str) -> Result<Self> {
        let directory = PathBuf::from("/var/log/pods").join(format!("e2e_crictl-{name}"));
        fs::create_dir_all(&directory).context("make a directory for configs")?;
        let configs = Self { directory };
        let pod = json!({
            "metadata": {"name": name, "namespace": "crictl", "uid": name, "attempt": 0},
            "hostname": name,
            "log_directory": configs.directory,
            "linux": {},
        });
        configs.write_file("pod", &pod)?;
        Ok(configs)
    }

    pub(super) fn pod(&self) -> String {
        self.path("pod")
    }

    /// Of a container that runs `script` from `image`.
    pub(super) fn container(&self, name: &str, image: &str, script: &str) -> Result<String> {
        let container = json!({
            "metadata": {"name": name},
            "image": {"image": image},
            "command": ["sh", "-c", script],
            "log_path": format!("{name}.log"),
            "linux": {},
        });
        self.write_file(name, &container)?;
        Ok(self.path(name))
    }

    fn path(&self, name: &str) -> String {
        let path = self.directory.join(format!("{name}.json"));
        path.display().to_string()
    }

    fn write_file(&self, name: &str, config: &Value) -> Result<()> {
        let path = self.path(name);
        fs::write(&path, config.to_string()).with_context(|| format!("write {path}"))
    }
}

impl Drop for Configs {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

//! The plugins of this node: found by name, asked for their versions, run, and understood.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::{Access, access};
use serde_json::{Map, Value, json};
use tracing::{debug, warn};

use crate::attachment::Attachment;
use crate::error::{Failure, PluginError, chain, excerpt};
use crate::exec::{self, Command};
use crate::runs::{self, Runs};
use crate::stats::Counters;
use crate::version::{SpecVersion, Spoken};

mod answer;

/// Runs plugins out of some directories.
#[derive(Debug)]
pub(crate) struct Plugins {
    dirs: Vec<PathBuf>,
    query_limit: Duration,
    runs: Runs,
    counters: Counters,
    /// By file, so that a program that was replaced is asked again.
    spoken: Mutex<HashMap<PathBuf, (FileIdentity, Spoken)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileIdentity {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

/// One run of a plugin.
pub(crate) struct Call<'a> {
    pub(crate) plugin: &'a str,
    pub(crate) command: Command,
    pub(crate) request: Map<String, Value>,
    pub(crate) attachment: Option<&'a Attachment>,
    pub(crate) limit: Duration,
}

impl Plugins {
    pub(crate) fn new(dirs: Vec<PathBuf>, query_limit: Duration, runs: Runs) -> Self {
        Self {
            dirs,
            query_limit,
            runs,
            counters: Counters::default(),
            spoken: Mutex::default(),
        }
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn query_limit(&self) -> Duration {
        self.query_limit
    }

    /// Runs a plugin; its answer as JSON, where it wrote some.
    pub(crate) async fn call(&self, call: Call<'_>) -> Result<Option<Value>, PluginError> {
        let started = Instant::now();
        let answer = self.answer(&call).await;
        let took = started.elapsed();
        self.counters
            .count(call.command, took, answer.as_ref().err());
        let (plugin, command) = (call.plugin, call.command);
        let container_id = call
            .attachment
            .map(|attachment| attachment.id.container_id());
        match answer {
            Ok(answer) => {
                debug!(plugin, %command, container_id, ?took, "CNI plugin is done");
                Ok(answer)
            }
            Err(failure) => {
                let error = chain(&failure);
                debug!(plugin, %command, container_id, ?took, error, "CNI plugin failed");
                Err(PluginError {
                    plugin: plugin.to_owned(),
                    command,
                    failure,
                })
            }
        }
    }

    async fn answer(&self, call: &Call<'_>) -> Result<Option<Value>, Failure> {
        let program = self.find(call.plugin)?;
        let request = Value::Object(call.request.clone()).to_string();
        let mut environment = self.environment(call.command, call.attachment);
        let run = self.runs.begin();
        environment.extend(
            run.iter()
                .map(|run| (runs::VARIABLE, run.name.clone().into())),
        );
        let ended = exec::run(&program, &environment, request.as_bytes(), call.limit).await?;
        if !ended.stderr.is_empty() {
            let text = excerpt(&ended.stderr);
            debug!(plugin = call.plugin, command = %call.command, text, "CNI plugin logs");
        }
        answer::understand(&ended)
    }

    fn environment(
        &self,
        command: Command,
        attachment: Option<&Attachment>,
    ) -> Vec<(&'static str, OsString)> {
        let mut path = OsString::new();
        for (index, dir) in self.dirs.iter().enumerate() {
            path.push(if index == 0 { "" } else { ":" });
            path.push(dir);
        }
        let mut environment = vec![
            ("CNI_COMMAND", command.to_string().into()),
            ("CNI_PATH", path),
        ];
        if let Some(attachment) = attachment {
            environment.extend([
                ("CNI_CONTAINERID", attachment.id.container_id().into()),
                ("CNI_NETNS", attachment.netns.clone().into()),
                ("CNI_IFNAME", attachment.id.ifname().into()),
                ("CNI_ARGS", attachment.args.encode().into()),
            ]);
        } else if command == Command::Version {
            // Plugins of old look for these before they look at the command.
            let dummies = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"];
            environment.extend(dummies.map(|key| (key, "dummy".into())));
        }
        environment
    }

    /// The program in the first directory that has it.
    fn find(&self, plugin: &str) -> Result<PathBuf, Failure> {
        let paths = self.dirs.iter().map(|dir| dir.join(plugin));
        let runs = |path: &PathBuf| path.is_file() && access(path, Access::EXEC_OK).is_ok();
        paths.into_iter().find(runs).ok_or(Failure::NotFound {
            dirs: self.dirs.clone(),
        })
    }

    /// What a plugin speaks: asked once for each file.
    pub(crate) async fn spoken(&self, plugin: &str) -> Result<Spoken, PluginError> {
        let failed = |failure| PluginError {
            plugin: plugin.to_owned(),
            command: Command::Version,
            failure,
        };
        let program = self.find(plugin).map_err(failed)?;
        let identity = identity(&program).map_err(failed)?;
        if let Some((known, spoken)) = self.spoken.lock().get(&program)
            && *known == identity
        {
            return Ok(spoken.clone());
        }
        let spoken = self.ask_version(plugin).await?;
        let entry = (identity, spoken.clone());
        self.spoken.lock().insert(program, entry);
        Ok(spoken)
    }

    async fn ask_version(&self, plugin: &str) -> Result<Spoken, PluginError> {
        let newest = json!(SpecVersion::NEWEST.to_string());
        let call = Call {
            plugin,
            command: Command::Version,
            request: Map::from_iter([("cniVersion".to_owned(), newest)]),
            attachment: None,
            limit: self.query_limit,
        };
        match self
            .call(call)
            .await
            .map(|answer| answer.and_then(read_versions))
        {
            Ok(Some(versions)) => Ok(Spoken::Versions(versions)),
            Ok(None) => {
                warn!(plugin, "CNI plugin names no versions: taken to speak all");
                Ok(Spoken::Unknown)
            }
            Err(error) if is_about_this_node(&error.failure) => Err(error),
            Err(error) => {
                let error = chain(&error);
                warn!(
                    plugin,
                    error, "CNI plugin does not know VERSION: taken to speak all"
                );
                Ok(Spoken::Unknown)
            }
        }
    }
}

/// Not the plugin's own answer.
fn is_about_this_node(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::NotFound { .. } | Failure::Process { .. } | Failure::TimedOut(_)
    )
}

fn identity(program: &Path) -> Result<FileIdentity, Failure> {
    let metadata = std::fs::metadata(program).map_err(|source| Failure::Process {
        doing: "look at",
        program: program.to_path_buf(),
        source,
    })?;
    Ok(FileIdentity {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        changed: (metadata.mtime(), metadata.mtime_nsec()),
    })
}

fn read_versions(answer: Value) -> Option<Vec<SpecVersion>> {
    let versions = answer.get("supportedVersions")?.as_array()?;
    let known = versions
        .iter()
        .filter_map(|version| version.as_str()?.parse().ok());
    let known: Vec<_> = known.collect();
    (!known.is_empty()).then_some(known)
}

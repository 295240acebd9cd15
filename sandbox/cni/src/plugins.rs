//! The plugins of this node: found by name, asked for their versions, run, and understood.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::{Access, access};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tracing::{debug, warn};

use crate::attachment::Attachment;
use crate::error::{Failure, PluginError, chain, excerpt};
use crate::exec::{self, Command, Ended};
use crate::stats::Counters;
use crate::version::{SpecVersion, Spoken};

/// Runs plugins out of some directories.
#[derive(Debug)]
pub(crate) struct Plugins {
    dirs: Vec<PathBuf>,
    query_limit: Duration,
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
    pub(crate) fn new(dirs: Vec<PathBuf>, query_limit: Duration) -> Self {
        Self {
            dirs,
            query_limit,
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
        let environment = self.environment(call.command, call.attachment);
        let ended = exec::run(&program, &environment, request.as_bytes(), call.limit).await?;
        if !ended.stderr.is_empty() {
            let text = excerpt(&ended.stderr);
            debug!(plugin = call.plugin, command = %call.command, text, "CNI plugin logs");
        }
        understand(&ended)
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

/// An error in CNI's format. Some plugins leave out `msg`, and none of it is to be relied on.
#[derive(Deserialize)]
struct WireError {
    code: u64,
    #[serde(default)]
    msg: Option<String>,
    #[serde(default)]
    details: Option<String>,
}

/// Tells success from failure: also who ends with success and answers with an error has failed.
fn understand(ended: &Ended) -> Result<Option<Value>, Failure> {
    let answer: Option<Value> = serde_json::from_slice(&ended.stdout).ok();
    if let Some(refused) = answer.as_ref().and_then(refusal) {
        return Err(refused);
    }
    if !ended.status.success() {
        let said = [&ended.stdout, &ended.stderr].map(|text| excerpt(text));
        return Err(Failure::Ended {
            status: ended.status,
            output: said.join(" ").trim().to_owned(),
        });
    }
    match answer {
        None if !ended.stdout.iter().all(u8::is_ascii_whitespace) => Err(Failure::Nonsense {
            expected: "JSON".into(),
            output: excerpt(&ended.stdout),
        }),
        answer => Ok(answer),
    }
}

fn refusal(answer: &Value) -> Option<Failure> {
    let error = WireError::deserialize(answer)
        .ok()
        .filter(|error| error.code != 0)?;
    let text = |text: Option<String>| excerpt(text.unwrap_or_default().as_bytes());
    Some(Failure::Refused {
        code: error.code,
        msg: text(error.msg),
        details: text(error.details),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    fn ended(code: i32, stdout: &[u8], stderr: &[u8]) -> Ended {
        Ended {
            status: ExitStatus::from_raw(code << 8),
            stdout: stdout.to_vec(),
            stderr: stderr.to_vec(),
        }
    }

    #[track_caller]
    fn check(code: i32, stdout: &str, stderr: &str, words: &str) {
        let failure = understand(&ended(code, stdout.as_bytes(), stderr.as_bytes()));
        assert_eq!(failure.unwrap_err().to_string(), words);
    }

    #[test]
    fn failures_are_told_in_the_plugins_words() {
        let error = r#"{"code": 11, "msg": "busy", "details": "pool\nis empty"}"#;
        check(1, error, "log", "code 11: busy (pool is empty)");
        check(0, error, "", "code 11: busy (pool is empty)");
        check(0, r#"{"code": 999}"#, "", "code 999: ");
        check(
            1,
            "",
            "no such\ndevice",
            "ended with exit status: 1 and no CNI error: no such device",
        );
        check(2, "", "", "ended with exit status: 2 and no CNI error");
        check(0, "hello", "", "answered what is not JSON: hello");
    }

    #[test]
    fn an_answer_or_silence_is_success() {
        let result = br#"{"cniVersion": "1.0.0", "ips": [], "code": 0}"#;
        assert!(understand(&ended(0, result, b"log")).unwrap().is_some());
        assert!(understand(&ended(0, b" \n", b"log")).unwrap().is_none());
    }

    proptest! {
        #[test]
        fn any_output_is_understood_or_refused(code in 0..3, stdout: Vec<u8>, stderr: Vec<u8>) {
            if let Ok(answer) = understand(&ended(code, &stdout, &stderr)) {
                prop_assert_eq!(code, 0);
                answer.and_then(read_versions);
            }
        }
    }
}

//! The label that a Linux security module gives a process at its next execve.

use std::fs::File;
use std::io::Write;

use agent_api::v1;

/// Why a process gets no label.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LsmError {
    /// The kernel runs without the module: a profile asked for would silently not apply.
    #[error("{module} is not enabled in this kernel, but {label:?} was asked for")]
    Absent {
        /// Its name.
        module: &'static str,
        /// What was asked for.
        label: String,
    },
    /// The label is unknown, or not for us.
    #[error("set {module} label {label:?}")]
    Set {
        /// Its name.
        module: &'static str,
        /// What was asked for.
        label: String,
        /// Why not.
        source: std::io::Error,
    },
}

/// Attribute files of this very process, opened while our own /proc is in sight: that of a container may
/// be anything. The kernel takes writes only with the credentials of the opening, so use it before
/// changing them.
pub(crate) struct Labels {
    wanted: Vec<Label>,
}

struct Label {
    module: &'static str,
    label: String,
    content: String,
    file: File,
}

impl Labels {
    /// Opens what `process` needs; a module that is missing is an error.
    pub(crate) fn open(process: &v1::Process) -> Result<Self, LsmError> {
        let mut wanted = Vec::new();
        if !process.apparmor_profile.is_empty() {
            let content = format!("exec {}", process.apparmor_profile);
            let path = "/proc/thread-self/attr/apparmor/exec";
            wanted.push(open("AppArmor", path, &process.apparmor_profile, content)?);
        }
        if !process.selinux_label.is_empty() {
            let present = std::path::Path::new("/sys/fs/selinux/enforce").exists();
            // Without SELinux the file may still be there, and belong to another module.
            let path = if present {
                "/proc/thread-self/attr/exec"
            } else {
                ""
            };
            let content = process.selinux_label.clone();
            wanted.push(open("SELinux", path, &process.selinux_label, content)?);
        }
        Ok(Self { wanted })
    }

    /// Asks for the labels at the next execve.
    pub(crate) fn set(self) -> Result<(), LsmError> {
        for Label {
            module,
            label,
            content,
            mut file,
        } in self.wanted
        {
            file.write_all(content.as_bytes())
                .map_err(|source| LsmError::Set {
                    module,
                    label,
                    source,
                })?;
        }
        Ok(())
    }
}

fn open(module: &'static str, path: &str, label: &str, content: String) -> Result<Label, LsmError> {
    let label = label.to_owned();
    match File::options().write(true).open(path) {
        Ok(file) => Ok(Label {
            module,
            label,
            content,
            file,
        }),
        Err(_) => Err(LsmError::Absent { module, label }),
    }
}

//! Which seccomp and AppArmor profile and which SELinux label a container wants.

use std::path::{Path, PathBuf};

use cri_api::v1::security_profile::ProfileType;
use cri_api::v1::{LinuxContainerSecurityContext, SecurityProfile};

use crate::error::{Error, Result};

/// Which seccomp filter a container wants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SeccompChoice {
    /// None.
    Unconfined,
    /// Ours.
    RuntimeDefault,
    /// A profile on the node, as JSON.
    Localhost(PathBuf),
}

/// The seccomp profile; nothing said means unconfined, as the kubelet expects.
pub(super) fn seccomp(security: &LinuxContainerSecurityContext) -> Result<SeccompChoice> {
    #[expect(deprecated, reason = "clients of old still send it")]
    let old = &security.seccomp_profile_path;
    Ok(match chosen("seccomp", security.seccomp.as_ref(), old)? {
        _ if security.privileged => SeccompChoice::Unconfined,
        Choice::Nothing | Choice::Unconfined => SeccompChoice::Unconfined,
        Choice::RuntimeDefault => SeccompChoice::RuntimeDefault,
        Choice::Localhost(path) if Path::new(&path).is_absolute() => {
            SeccompChoice::Localhost(path.into())
        }
        Choice::Localhost(path) => {
            return Err(Error::invalid(format!(
                "seccomp profile {path:?} is not an absolute path"
            )));
        }
    })
}

/// The AppArmor profile by name. We bring no profile of our own, so the default is none.
pub(super) fn apparmor(security: &LinuxContainerSecurityContext) -> Result<Option<String>> {
    #[expect(deprecated, reason = "clients of old still send it")]
    let old = &security.apparmor_profile;
    Ok(match chosen("apparmor", security.apparmor.as_ref(), old)? {
        Choice::Localhost(name) if !security.privileged => Some(name),
        _ => None,
    })
}

/// The SELinux label of its processes, where the node has SELinux at all.
pub(super) fn selinux(security: &LinuxContainerSecurityContext) -> Option<String> {
    let options = security.selinux_options.as_ref()?;
    let parts = [
        &options.user,
        &options.role,
        &options.r#type,
        &options.level,
    ];
    let complete = parts.iter().all(|part| !part.is_empty());
    let enabled = Path::new("/sys/fs/selinux/enforce").exists();
    let label = parts.map(String::as_str).join(":");
    (enabled && complete && !security.privileged).then_some(label)
}

enum Choice {
    Nothing,
    Unconfined,
    RuntimeDefault,
    Localhost(String),
}

/// The profile, else the string that said it before there were profiles.
fn chosen(what: &str, profile: Option<&SecurityProfile>, old: &str) -> Result<Choice> {
    let Some(profile) = profile else {
        return from_old(what, old);
    };
    let name = profile.localhost_ref.strip_prefix("localhost/");
    let name = name.unwrap_or(&profile.localhost_ref);
    match (profile.profile_type(), name) {
        (ProfileType::RuntimeDefault, "") => Ok(Choice::RuntimeDefault),
        (ProfileType::Unconfined, "") => Ok(Choice::Unconfined),
        (ProfileType::Localhost, "") => Err(Error::invalid(format!(
            "{what} profile Localhost without localhost_ref"
        ))),
        (ProfileType::Localhost, name) => Ok(Choice::Localhost(name.to_string())),
        (_, name) => Err(Error::invalid(format!(
            "{what} profile has localhost_ref {name:?} but is not Localhost"
        ))),
    }
}

fn from_old(what: &str, old: &str) -> Result<Choice> {
    match (old, old.strip_prefix("localhost/")) {
        ("", _) => Ok(Choice::Nothing),
        ("unconfined", _) => Ok(Choice::Unconfined),
        ("runtime/default" | "docker/default", _) => Ok(Choice::RuntimeDefault),
        (_, Some(name)) if !name.is_empty() => Ok(Choice::Localhost(name.to_string())),
        _ => Err(Error::invalid(format!(
            "{what} profile {old:?} is not known"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn security(kind: ProfileType, name: &str) -> LinuxContainerSecurityContext {
        let profile = SecurityProfile {
            profile_type: kind.into(),
            localhost_ref: name.into(),
        };
        LinuxContainerSecurityContext {
            seccomp: Some(profile.clone()),
            apparmor: Some(profile),
            ..Default::default()
        }
    }

    #[test]
    fn nothing_said_means_unconfined_and_an_empty_profile_the_default() {
        let nothing = LinuxContainerSecurityContext::default();
        assert_eq!(seccomp(&nothing).unwrap(), SeccompChoice::Unconfined);
        let default = security(ProfileType::RuntimeDefault, "");
        assert_eq!(seccomp(&default).unwrap(), SeccompChoice::RuntimeDefault);
        assert_eq!(apparmor(&default).unwrap(), None);
    }

    #[test]
    fn privilege_goes_before_profiles() {
        let privileged = LinuxContainerSecurityContext {
            privileged: true,
            ..security(ProfileType::Localhost, "/p.json")
        };
        assert_eq!(seccomp(&privileged).unwrap(), SeccompChoice::Unconfined);
        assert_eq!(apparmor(&privileged).unwrap(), None);
    }

    #[test]
    fn profiles_of_the_node_go_by_path_and_name() {
        let named = security(ProfileType::Localhost, "/p.json");
        assert_eq!(
            seccomp(&named).unwrap(),
            SeccompChoice::Localhost("/p.json".into())
        );
        let named = security(ProfileType::Localhost, "localhost/deny-write");
        assert_eq!(apparmor(&named).unwrap().as_deref(), Some("deny-write"));
        assert!(seccomp(&security(ProfileType::Localhost, "p.json")).is_err());
        assert!(seccomp(&security(ProfileType::Localhost, "")).is_err());
        assert!(seccomp(&security(ProfileType::RuntimeDefault, "/p.json")).is_err());
    }

    #[test]
    fn the_older_form_counts_where_the_newer_is_missing() {
        #[expect(deprecated, reason = "this is what is tested")]
        let old = |path: &str| LinuxContainerSecurityContext {
            seccomp_profile_path: path.into(),
            ..Default::default()
        };
        assert_eq!(
            seccomp(&old("runtime/default")).unwrap(),
            SeccompChoice::RuntimeDefault
        );
        assert_eq!(
            seccomp(&old("localhost//p")).unwrap(),
            SeccompChoice::Localhost("/p".into())
        );
        assert!(seccomp(&old("whatever")).is_err());
    }
}

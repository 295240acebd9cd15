//! The profile as its author writes it: the JSON of the OCI runtime specification, with the
//! conditional parts that other tools add (`archMap`, `includes`, `excludes`).

use std::io;

use serde::Deserialize;

use crate::Circumstances;

/// A seccomp profile. Keys that we don't know are passed over: authors put comments there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// What happens on system calls without a rule.
    pub default_action: Action,
    /// The error number, where that is [`Action::Errno`].
    #[serde(default)]
    pub default_errno_ret: Option<u16>,
    /// Architectures by libseccomp's names; none means x86_64 alone.
    #[serde(default)]
    pub architectures: Vec<String>,
    /// The same, by main architecture.
    #[serde(default)]
    pub arch_map: Vec<ArchMap>,
    /// What happens on some system calls.
    #[serde(default)]
    pub syscalls: Vec<SyscallRule>,
}

/// An architecture with those that its kernel also speaks.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchMap {
    /// The main one.
    pub architecture: String,
    /// The others.
    #[serde(default)]
    pub sub_architectures: Vec<String>,
}

/// What happens on some system calls.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyscallRule {
    /// Which.
    #[serde(default)]
    pub names: Vec<String>,
    /// Which, in an older form.
    #[serde(default)]
    pub name: String,
    /// What happens.
    pub action: Action,
    /// The error number, where that is [`Action::Errno`].
    #[serde(default)]
    pub errno_ret: Option<u16>,
    /// Conditions, all of which must hold.
    #[serde(default)]
    pub args: Vec<Argument>,
    /// The rule counts only under these circumstances.
    #[serde(default)]
    pub includes: Filter,
    /// The rule does not count under these circumstances.
    #[serde(default)]
    pub excludes: Filter,
}

/// Circumstances that a rule depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Filter {
    /// Capabilities.
    #[serde(default)]
    pub caps: Vec<String>,
    /// Architectures by Go's or by libseccomp's names.
    #[serde(default)]
    pub arches: Vec<String>,
    /// Least version of the kernel.
    #[serde(default)]
    pub min_kernel: Option<String>,
}

/// A condition on an argument.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Argument {
    /// 0 to 5.
    pub index: u32,
    /// What it is compared with; the mask of [`Operator::MaskedEqual`].
    pub value: u64,
    /// What the masked argument is compared with.
    #[serde(default)]
    pub value_two: u64,
    /// How it is compared.
    pub op: Operator,
}

/// How an argument is compared, unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Operator {
    #[serde(rename = "SCMP_CMP_NE")]
    NotEqual,
    #[serde(rename = "SCMP_CMP_LT")]
    Less,
    #[serde(rename = "SCMP_CMP_LE")]
    LessOrEqual,
    #[serde(rename = "SCMP_CMP_EQ")]
    Equal,
    #[serde(rename = "SCMP_CMP_GE")]
    GreaterOrEqual,
    #[serde(rename = "SCMP_CMP_GT")]
    Greater,
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEqual,
}

/// What happens on a system call. The order is from strict to lax.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Action {
    #[serde(rename = "SCMP_ACT_KILL_PROCESS")]
    KillProcess,
    #[serde(rename = "SCMP_ACT_KILL_THREAD", alias = "SCMP_ACT_KILL")]
    KillThread,
    #[serde(rename = "SCMP_ACT_TRAP")]
    Trap,
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
    #[serde(rename = "SCMP_ACT_NOTIFY")]
    Notify,
    #[serde(rename = "SCMP_ACT_TRACE")]
    Trace,
    #[serde(rename = "SCMP_ACT_LOG")]
    Log,
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
}

/// A file that is not a profile.
#[derive(Debug, thiserror::Error)]
#[error("read a seccomp profile")]
pub struct ProfileError(#[from] serde_json::Error);

impl Profile {
    /// Reads a profile.
    pub fn from_json(json: impl io::Read) -> Result<Self, ProfileError> {
        Ok(serde_json::from_reader(json)?)
    }
}

impl SyscallRule {
    /// All system calls that it is for.
    pub(crate) fn all_names(&self) -> impl Iterator<Item = &str> {
        let old = (!self.name.is_empty()).then_some(&self.name);
        self.names.iter().chain(old).map(String::as_str)
    }

    /// Whether it counts at all.
    pub(crate) fn applies(&self, now: &Circumstances) -> bool {
        let has = |cap: &String| now.capabilities.contains(cap);
        let (yes, no) = (&self.includes, &self.excludes);
        yes.caps.iter().all(has)
            && !no.caps.iter().any(has)
            && (yes.arches.is_empty() || yes.arches.iter().any(|name| is_ours(name)))
            && !no.arches.iter().any(|name| is_ours(name))
            && yes
                .min_kernel
                .as_deref()
                .is_none_or(|least| reaches(now.kernel, least))
            && !no
                .min_kernel
                .as_deref()
                .is_some_and(|least| reaches(now.kernel, least))
    }
}

fn is_ours(architecture: &str) -> bool {
    ["amd64", "SCMP_ARCH_X86_64"].contains(&architecture)
}

/// A version that can't be read counts as one that no kernel has.
fn reaches(kernel: (u32, u32), least: &str) -> bool {
    let mut parts = least
        .split('.')
        .map(|part| part.parse().unwrap_or(u32::MAX));
    kernel >= (parts.next().unwrap_or(u32::MAX), parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(json: &str) -> SyscallRule {
        let json = format!(r#"{{"names": ["a"], "action": "SCMP_ACT_ALLOW", {json}}}"#);
        serde_json::from_str(&json).unwrap()
    }

    fn check(json: &str, counts: bool) {
        let now = Circumstances {
            capabilities: vec!["CAP_BPF".into()],
            kernel: (6, 1),
        };
        assert_eq!(rule(json).applies(&now), counts, "{json}");
    }

    #[test]
    fn conditional_rules_look_at_capabilities_architecture_and_kernel() {
        check(r#""includes": {"caps": ["CAP_BPF"]}"#, true);
        check(r#""includes": {"caps": ["CAP_SYS_ADMIN"]}"#, false);
        check(r#""excludes": {"caps": ["CAP_BPF"]}"#, false);
        check(r#""includes": {"arches": ["arm64"]}"#, false);
        check(r#""includes": {"arches": ["amd64"]}"#, true);
        check(r#""includes": {"minKernel": "4.8"}"#, true);
        check(r#""includes": {"minKernel": "6.2"}"#, false);
    }

    #[test]
    fn what_is_no_profile_is_refused() {
        for json in ["", "{}", r#"{"defaultAction": "SCMP_ACT_MAYBE"}"#] {
            assert!(Profile::from_json(json.as_bytes()).is_err(), "{json:?}");
        }
    }
}

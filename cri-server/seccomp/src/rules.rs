//! A profile's rules, sorted out per architecture: what happens on each number.

use std::collections::{BTreeMap, BTreeSet};

use crate::profile::{Action, Argument, Profile, SyscallRule};
use crate::syscalls::{Abi, MULTIPLEXED, is_known};
use crate::{Circumstances, CompileError};

/// What a filter returns to the kernel, seccomp(2).
pub(crate) type Return = u32;

/// errno(3) that a refused call fails with unless the profile says another one.
const EPERM: u16 = 1;

/// What happens on every system call of every architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Of the architectures that the profile names.
    pub(crate) by_abi: Vec<(Abi, BTreeMap<u32, Verdict>)>,
    /// For numbers without a verdict.
    pub(crate) default: Return,
    /// Names that are forbidden and that we don't know.
    pub(crate) unknown: BTreeSet<String>,
}

/// What happens on one system call: the first condition that holds decides, else `otherwise`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Conditions, all parts of which must hold, and what happens then.
    pub(crate) conditions: Vec<(Vec<Argument>, Return)>,
    /// What happens else.
    pub(crate) otherwise: Return,
}

/// A rule for one system call.
struct Clause<'a> {
    name: &'a str,
    action: Action,
    returns: Return,
    args: Vec<Argument>,
}

impl Clause<'_> {
    /// The call goes through.
    fn is_lax(&self) -> bool {
        self.action >= Action::Log
    }
}

impl Rules {
    pub(crate) fn new(profile: &Profile, now: &Circumstances) -> Result<Self, CompileError> {
        let default = returns(profile.default_action, profile.default_errno_ret)?;
        let clauses = clauses(profile, now)?;
        let unknown = clauses
            .iter()
            .filter(|clause| !is_known(clause.name) && clause.action < profile.default_action)
            .map(|clause| clause.name.to_string())
            .collect();
        let abis = abis(profile)?.into_iter();
        Ok(Self {
            by_abi: abis
                .map(|abi| (abi, verdicts(abi, &clauses, default)))
                .collect(),
            default,
            unknown,
        })
    }
}

/// The clauses that count, in the order in which they are tried.
fn clauses<'a>(profile: &'a Profile, now: &Circumstances) -> Result<Vec<Clause<'a>>, CompileError> {
    let mut clauses = Vec::new();
    for rule in profile.syscalls.iter().filter(|rule| rule.applies(now)) {
        let returns = returns(rule.action, rule.errno_ret)?;
        for name in rule.all_names() {
            check_indexes(name, &rule.args)?;
            for args in alternatives(rule) {
                clauses.push(Clause {
                    name,
                    action: rule.action,
                    returns,
                    args,
                });
            }
        }
    }
    // Conditional ones first, stricter ones first; the sort keeps the author's order otherwise.
    clauses.sort_by_key(|clause| (clause.args.is_empty(), clause.action));
    Ok(clauses)
}

/// Several conditions on one argument can't mean all of them, so they mean any of them.
fn alternatives(rule: &SyscallRule) -> Vec<Vec<Argument>> {
    let indexes: BTreeSet<_> = rule.args.iter().map(|arg| arg.index).collect();
    if indexes.len() == rule.args.len() {
        return vec![rule.args.clone()];
    }
    rule.args.iter().map(|arg| vec![arg.clone()]).collect()
}

fn check_indexes(syscall: &str, args: &[Argument]) -> Result<(), CompileError> {
    match args.iter().find(|arg| arg.index > 5) {
        Some(arg) => Err(CompileError::ArgumentIndex {
            syscall: syscall.to_string(),
            index: arg.index,
        }),
        None => Ok(()),
    }
}

fn abis(profile: &Profile) -> Result<Vec<Abi>, CompileError> {
    let mapped = profile
        .arch_map
        .iter()
        .find(|map| Abi::named(&map.architecture) == Some(Abi::X86_64));
    let named: Vec<Abi> = match mapped {
        Some(map) => map
            .sub_architectures
            .iter()
            .filter_map(|name| Abi::named(name))
            .collect(),
        None if profile.architectures.is_empty() && profile.arch_map.is_empty() => Vec::new(),
        None => {
            let ours: Vec<_> = profile
                .architectures
                .iter()
                .filter_map(|name| Abi::named(name))
                .collect();
            if ours.is_empty() {
                return Err(CompileError::OtherArchitecture);
            }
            ours
        }
    };
    let others = [Abi::X86, Abi::X32]
        .into_iter()
        .filter(|abi| named.contains(abi));
    Ok(std::iter::once(Abi::X86_64).chain(others).collect())
}

fn verdicts(abi: Abi, clauses: &[Clause<'_>], default: Return) -> BTreeMap<u32, Verdict> {
    let mut verdicts: BTreeMap<u32, Verdict> = BTreeMap::new();
    let partly_allowed: BTreeSet<&str> = clauses
        .iter()
        .filter(|clause| !clause.args.is_empty() && clause.is_lax())
        .map(|clause| clause.name)
        .collect();
    let mut settled = BTreeSet::new();
    let mut add = |number: u32, args: Vec<Argument>, returns| {
        let verdict = verdicts.entry(number).or_insert(Verdict {
            conditions: Vec::new(),
            otherwise: default,
        });
        if !args.is_empty() {
            verdict.conditions.push((args, returns));
        } else if settled.insert(number) {
            verdict.otherwise = returns;
        }
    };
    for clause in clauses {
        if let Some(number) = abi.number(clause.name) {
            add(number, clause.args.clone(), clause.returns);
        }
        let can_be_told = clause.is_lax() || !partly_allowed.contains(clause.name);
        if abi == Abi::X86
            && can_be_told
            && let Some((number, args)) = multiplexed(clause)
        {
            add(number, args, clause.returns);
        }
    }
    verdicts
}

/// The same clause for the call that this one can be made through. Its arguments are in memory
/// then, where no filter sees them: what is forbidden under conditions is forbidden altogether, and
/// what is allowed under conditions is left to the rules for the call that it is made through.
fn multiplexed(clause: &Clause<'_>) -> Option<(u32, Vec<Argument>)> {
    if !clause.args.is_empty() && clause.is_lax() {
        return None;
    }
    let (by, _, which) = MULTIPLEXED
        .iter()
        .find(|(_, call, _)| *call == clause.name)?;
    let is_that_call = Argument {
        index: 0,
        value: *which,
        value_two: 0,
        op: crate::Operator::Equal,
    };
    Some((Abi::X86.number(by)?, vec![is_that_call]))
}

/// seccomp(2), "Filter return values".
fn returns(action: Action, errno: Option<u16>) -> Result<Return, CompileError> {
    let errno = || u32::from(errno.unwrap_or(EPERM));
    Ok(match action {
        Action::KillProcess => 0x8000_0000,
        Action::KillThread => 0,
        Action::Trap => 0x0003_0000,
        Action::Errno => 0x0005_0000 | errno(),
        Action::Notify => return Err(CompileError::Listener("SCMP_ACT_NOTIFY")),
        Action::Trace => 0x7ff0_0000 | errno(),
        Action::Log => 0x7ffc_0000,
        Action::Allow => 0x7fff_0000,
    })
}

//! Programs against a model, against the kernel, and what particular profiles mean.

use proptest::prelude::*;

use crate::bpf::Program;
use crate::interpreter::{Call, run};
use crate::syscalls::{Abi, X32_BIT};
use crate::{Action, Argument, Circumstances, CompileError, Operator, Profile};

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;
const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;

fn errno(number: u32) -> u32 {
    0x0005_0000 | number
}

fn compile(profile: &Profile, capabilities: &[&str]) -> Program {
    let now = Circumstances {
        capabilities: capabilities.iter().map(ToString::to_string).collect(),
        kernel: (6, 12),
    };
    profile.compile(&now).unwrap()
}

fn json(json: &str) -> Profile {
    Profile::from_json(json.as_bytes()).unwrap()
}

/// What happens on `name(args…)`.
fn outcome(program: &Program, abi: Abi, name: &str, args: &[u64]) -> u32 {
    let mut call = Call {
        number: abi.number(name).unwrap(),
        arch: if abi == Abi::X86 { X86 } else { X86_64 },
        args: [0; 6],
    };
    call.args[..args.len()].copy_from_slice(args);
    run(program.instructions(), &call)
}

#[test]
fn the_default_lets_programs_run_and_forbids_what_is_dangerous() {
    let program = compile(&Profile::runtime_default(), &["CAP_CHOWN"]);
    let check = |name: &str, args: &[u64], expected| {
        assert_eq!(
            outcome(&program, Abi::X86_64, name, args),
            expected,
            "{name} {args:x?}"
        );
    };
    for name in [
        "read",
        "execve",
        "openat2",
        "futex",
        "statx",
        "ptrace",
        "chmod",
        "exit_group",
    ] {
        check(name, &[], ALLOW);
    }
    for name in [
        "mount",
        "bpf",
        "keyctl",
        "reboot",
        "sethostname",
        "io_uring_setup",
        "unshare",
    ] {
        check(name, &[], errno(1));
    }
    check("clone", &[0x11], ALLOW);
    check("clone", &[0x1000_0011], errno(1));
    check("clone3", &[], errno(38));
    check("personality", &[8], ALLOW);
    check("personality", &[0x40000], errno(1));
    for (family, expected) in [
        (1, ALLOW),
        (16, ALLOW),
        (38, errno(97)),
        (39, ALLOW),
        (40, errno(97)),
        (44, ALLOW),
    ] {
        check("socket", &[family], expected);
    }
    let unknown = Call {
        number: 999,
        arch: X86_64,
        ..Call::default()
    };
    assert_eq!(run(program.instructions(), &unknown), errno(38));
}

#[test]
fn the_default_follows_capabilities() {
    let admin = compile(&Profile::runtime_default(), &["CAP_SYS_ADMIN"]);
    for name in ["mount", "clone3", "sethostname", "bpf"] {
        assert_eq!(outcome(&admin, Abi::X86_64, name, &[]), ALLOW, "{name}");
    }
    assert_eq!(outcome(&admin, Abi::X86_64, "clone", &[0x1000_0011]), ALLOW);
    assert_eq!(outcome(&admin, Abi::X86_64, "reboot", &[]), errno(1));
}

#[test]
fn the_default_covers_32_bit_programs_too() {
    let program = compile(&Profile::runtime_default(), &[]);
    assert_eq!(outcome(&program, Abi::X86, "socketcall", &[1]), ALLOW);
    assert_eq!(outcome(&program, Abi::X86, "read", &[]), ALLOW);
    assert_eq!(outcome(&program, Abi::X86, "mount", &[]), errno(1));
    assert_eq!(outcome(&program, Abi::X32, "read", &[]), ALLOW);
    assert_eq!(outcome(&program, Abi::X32, "mount", &[]), errno(1));
}

#[test]
fn an_architecture_that_the_profile_does_not_name_is_killed() {
    let program = compile(&json(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#), &[]);
    assert_eq!(outcome(&program, Abi::X86_64, "read", &[]), ALLOW);
    assert_eq!(outcome(&program, Abi::X86, "read", &[]), KILL_PROCESS);
    assert_eq!(outcome(&program, Abi::X32, "read", &[]), KILL_PROCESS);
    let skipped_by_a_tracer = Call {
        number: u32::MAX,
        arch: X86_64,
        ..Call::default()
    };
    assert_eq!(run(program.instructions(), &skipped_by_a_tracer), ALLOW);
    let arm = r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_AARCH64"]}"#;
    assert_eq!(
        json(arm).compile(&Circumstances::default()),
        Err(CompileError::OtherArchitecture)
    );
}

#[test]
fn a_refused_call_can_not_be_made_through_another_one() {
    let program = compile(
        &json(
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
                "syscalls": [{"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13,
                              "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_EQ"}]}]}"#,
        ),
        &[],
    );
    assert_eq!(outcome(&program, Abi::X86, "socket", &[40]), errno(13));
    assert_eq!(outcome(&program, Abi::X86, "socket", &[2]), ALLOW);
    assert_eq!(outcome(&program, Abi::X86, "socketcall", &[1]), errno(13));
    assert_eq!(outcome(&program, Abi::X86, "socketcall", &[2]), ALLOW);
}

#[test]
fn conditions_come_before_rules_without_and_strict_before_lax() {
    let program = compile(
        &json(
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
                {"names": ["kill"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["kill"], "action": "SCMP_ACT_TRAP",
                 "args": [{"index": 1, "value": 8, "op": "SCMP_CMP_GT"}]},
                {"names": ["kill"], "action": "SCMP_ACT_KILL_PROCESS",
                 "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}]}]}"#,
        ),
        &[],
    );
    assert_eq!(
        outcome(&program, Abi::X86_64, "kill", &[1, 9]),
        KILL_PROCESS
    );
    assert_eq!(outcome(&program, Abi::X86_64, "kill", &[2, 9]), 0x0003_0000);
    assert_eq!(outcome(&program, Abi::X86_64, "kill", &[1, 2]), ALLOW);
    assert_eq!(outcome(&program, Abi::X86_64, "read", &[]), errno(1));
}

#[test]
fn forbidden_names_that_nobody_knows_are_told() {
    let program = compile(
        &json(
            r#"{"defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mount", "teleport"], "action": "SCMP_ACT_ERRNO"},
                             {"names": ["levitate"], "action": "SCMP_ACT_ALLOW"}]}"#,
        ),
        &[],
    );
    assert_eq!(program.unknown, ["teleport"]);
    assert_eq!(outcome(&program, Abi::X86_64, "mount", &[]), errno(1));
}

#[test]
fn what_needs_a_listener_or_has_no_such_argument_is_refused() {
    let compile = |text: &str| json(text).compile(&Circumstances::default());
    let notify = r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#;
    assert_eq!(
        compile(notify),
        Err(CompileError::Listener("SCMP_ACT_NOTIFY"))
    );
    let sixth = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action":
        "SCMP_ACT_ERRNO", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]}"#;
    assert!(matches!(
        compile(sixth),
        Err(CompileError::ArgumentIndex { index: 6, .. })
    ));
}

/// The kernel's own opinion, in a thread that ends with its filter.
#[test]
fn the_kernel_takes_the_default_and_does_what_it_says() {
    let program = compile(&Profile::runtime_default(), &[]);
    let filter: Vec<seccompiler::sock_filter> = program
        .to_bytes()
        .chunks_exact(8)
        .map(|bytes| seccompiler::sock_filter {
            code: u16::from_ne_bytes([bytes[0], bytes[1]]),
            jt: bytes[2],
            jf: bytes[3],
            k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        })
        .collect();
    let thread = std::thread::spawn(move || {
        seccompiler::apply_filter(&filter).unwrap();
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let ran = std::process::Command::new("true").status();
        let chroot = std::os::unix::fs::chroot("/");
        (status, ran, chroot)
    });
    let (status, ran, chroot) = thread.join().unwrap();
    assert!(status.contains("Seccomp:\t2"), "{status}");
    assert!(ran.unwrap().success(), "programs run under the filter");
    assert_eq!(
        chroot.unwrap_err().kind(),
        std::io::ErrorKind::PermissionDenied
    );
}

fn operators() -> impl Strategy<Value = Operator> {
    use Operator as O;
    prop::sample::select(vec![
        O::NotEqual,
        O::Less,
        O::LessOrEqual,
        O::Equal,
        O::GreaterOrEqual,
        O::Greater,
        O::MaskedEqual,
    ])
}

/// Values that differ in one half only are where comparisons in two halves go wrong.
fn values() -> impl Strategy<Value = u64> {
    let half = || prop::sample::select(vec![0u64, 1, 2, 0x7fff_ffff, 0xffff_ffff]);
    (half(), half()).prop_map(|(high, low)| high << 32 | low)
}

fn holds(argument: &Argument, value: u64) -> bool {
    match argument.op {
        Operator::NotEqual => value != argument.value,
        Operator::Less => value < argument.value,
        Operator::LessOrEqual => value <= argument.value,
        Operator::Equal => value == argument.value,
        Operator::GreaterOrEqual => value >= argument.value,
        Operator::Greater => value > argument.value,
        Operator::MaskedEqual => value & argument.value == argument.value_two,
    }
}

fn rule(name: &str, action: Action, args: Vec<Argument>) -> crate::SyscallRule {
    let mut rule = Profile::runtime_default().syscalls.remove(0);
    rule.names = vec![name.to_string()];
    rule.action = action;
    rule.args = args;
    rule
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn comparisons_are_those_of_64_bit_numbers(
        op in operators(), value in values(), value_two in values(), other in values(),
        first in values(), second in values(),
    ) {
        let args = vec![
            Argument { index: 1, value, value_two, op },
            Argument { index: 4, value: other, value_two: 0, op: Operator::LessOrEqual },
        ];
        let expected = if args.iter().zip([first, second]).all(|(a, v)| holds(a, v)) { errno(1) } else { ALLOW };
        let profile = Profile {
            default_action: Action::Allow,
            syscalls: vec![rule("prctl", Action::Errno, args)],
            ..Profile::runtime_default()
        };
        let program = compile(&profile, &[]);
        let outcome = outcome(&program, Abi::X86_64, "prctl", &[0, first, 0, 0, second]);
        prop_assert_eq!(outcome, expected);
    }

    #[test]
    fn every_number_gets_the_verdict_of_its_name(chosen in prop::collection::btree_set(0..460usize, 0..300)) {
        let all: Vec<_> = crate::syscalls::names().collect();
        let refused: Vec<_> = chosen.iter().filter_map(|at| all.get(*at)).collect();
        let profile = Profile {
            default_action: Action::Allow,
            syscalls: refused.iter().map(|name| rule(name, Action::Errno, Vec::new())).collect(),
            ..Profile::runtime_default()
        };
        let program = compile(&profile, &[]);
        for name in &all {
            let expected = if refused.contains(&name) { errno(1) } else { ALLOW };
            for abi in [Abi::X86_64, Abi::X86, Abi::X32] {
                if abi.number(name).is_some() {
                    prop_assert_eq!(outcome(&program, abi, name, &[99]), expected, "{}", name);
                }
            }
        }
        let past_the_last = Call { number: 5000, arch: X86_64, ..Call::default() };
        prop_assert_eq!(run(program.instructions(), &past_the_last), ALLOW);
        let past_x32 = Call { number: 5000 | X32_BIT, arch: X86_64, ..Call::default() };
        prop_assert_eq!(run(program.instructions(), &past_x32), ALLOW);
    }
}

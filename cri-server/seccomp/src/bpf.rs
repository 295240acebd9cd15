//! Rules as a program of the kernel's classic BPF: a binary search over the number of the system call.

use std::collections::BTreeMap;

use crate::CompileError;
use crate::profile::{Argument, Operator};
use crate::rules::{Return, Rules, Verdict};
use crate::syscalls::{Abi, X32_BIT};

/// Most instructions that the kernel takes.
const MOST: usize = 4096;
/// `AUDIT_ARCH_X86_64` and `AUDIT_ARCH_I386`.
const ARCH_X86_64: u32 = 0xc000_003e;
const ARCH_X86: u32 = 0x4000_0003;
/// A foreign architecture would see other system calls under the same numbers.
const KILL_PROCESS: Return = 0x8000_0000;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

/// Instruction codes, `linux/bpf_common.h`.
pub(crate) mod code {
    pub(crate) const LOAD: u16 = 0x20;
    pub(crate) const AND: u16 = 0x54;
    pub(crate) const JUMP: u16 = 0x05;
    pub(crate) const JUMP_EQUAL: u16 = 0x15;
    pub(crate) const JUMP_GREATER: u16 = 0x25;
    pub(crate) const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
    pub(crate) const RETURN: u16 = 0x06;
}

/// A compiled profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    instructions: Vec<Instruction>,
    /// System calls that the profile forbids and that we know nothing of, so that they stay allowed.
    pub unknown: Vec<String>,
}

impl Program {
    /// As the kernel takes it, `struct sock_filter[]`.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.instructions
            .iter()
            .flat_map(|instruction| instruction.to_bytes())
            .collect()
    }

    #[cfg(test)]
    pub(crate) fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }
}

/// `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) code: u16,
    /// How many instructions to pass over if a comparison holds, and if not.
    pub(crate) jump_true: u8,
    pub(crate) jump_false: u8,
    pub(crate) operand: u32,
}

impl Instruction {
    fn to_bytes(self) -> [u8; 8] {
        let [c0, c1] = self.code.to_ne_bytes();
        let [k0, k1, k2, k3] = self.operand.to_ne_bytes();
        [c0, c1, self.jump_true, self.jump_false, k0, k1, k2, k3]
    }
}

type Code = Vec<Instruction>;

/// Compiles rules.
pub(crate) fn program(rules: Rules) -> Result<Program, CompileError> {
    let of = |wanted: Abi| {
        let found = rules.by_abi.iter().find(|(abi, _)| *abi == wanted);
        found.map(|(_, verdicts)| search(&intervals(verdicts, rules.default)))
    };
    let kill = vec![op(code::RETURN, KILL_PROCESS)];
    let native = of(Abi::X86_64).unwrap_or_else(|| kill.clone());
    let x32 = of(Abi::X32).unwrap_or_else(foreign_x32);
    let x86 = of(Abi::X86).unwrap_or_else(|| kill.clone());
    let instructions = [
        vec![op(code::LOAD, ARCH)],
        when(
            (code::JUMP_EQUAL, ARCH_X86_64),
            with_number(when((code::JUMP_GREATER_OR_EQUAL, X32_BIT), x32, native)),
            when((code::JUMP_EQUAL, ARCH_X86), with_number(x86), kill),
        ),
    ]
    .concat();
    match instructions.len() {
        length if length > MOST => Err(CompileError::TooLong(length)),
        _ => Ok(Program {
            instructions,
            unknown: rules.unknown.into_iter().collect(),
        }),
    }
}

/// x32 where the profile does not name it. A tracer skips a call by setting its number to −1, and
/// the kernel never runs that.
fn foreign_x32() -> Code {
    when(
        (code::JUMP_EQUAL, u32::MAX),
        vec![op(code::RETURN, 0x7fff_0000)],
        vec![op(code::RETURN, KILL_PROCESS)],
    )
}

fn with_number(code: Code) -> Code {
    [vec![op(code::LOAD, NUMBER)], code].concat()
}

/// Numbers up to the next interval's first share a verdict.
fn intervals(verdicts: &BTreeMap<u32, Verdict>, default: Return) -> Vec<(u32, Verdict)> {
    let plain = Verdict {
        conditions: Vec::new(),
        otherwise: default,
    };
    let mut intervals = vec![(0, plain.clone())];
    let mut add = |first: u32, verdict: &Verdict| match intervals.last_mut() {
        Some((start, last)) if *start == first => *last = verdict.clone(),
        Some((_, last)) if *last == *verdict => {}
        _ => intervals.push((first, verdict.clone())),
    };
    for (number, verdict) in verdicts {
        add(*number, verdict);
        if !verdicts.contains_key(&(number + 1)) {
            add(number + 1, &plain);
        }
    }
    intervals
}

fn search(intervals: &[(u32, Verdict)]) -> Code {
    match intervals {
        [] => Vec::new(),
        [(_, verdict)] => decide(verdict),
        _ => {
            let (below, above) = intervals.split_at(intervals.len() / 2);
            let first_above = above[0].0;
            let test = (code::JUMP_GREATER_OR_EQUAL, first_above);
            when(test, search(above), search(below))
        }
    }
}

/// `then` if the comparison holds, else `other`; both end in a return.
fn when((comparison, operand): (u16, u32), then: Code, other: Code) -> Code {
    let test = |jump_true, jump_false| Instruction {
        code: comparison,
        jump_true,
        jump_false,
        operand,
    };
    let head = match u8::try_from(other.len()) {
        Ok(far) => vec![test(far, 0)],
        // Comparisons jump 255 at most.
        Err(_) => vec![test(0, 1), op(code::JUMP, length(&other))],
    };
    [head, other, then].concat()
}

fn decide(verdict: &Verdict) -> Code {
    let mut code = Vec::new();
    for (conditions, returns) in &verdict.conditions {
        code.extend(rule(conditions, *returns));
    }
    code.push(op(code::RETURN, verdict.otherwise));
    code
}

/// Returns if all conditions hold, else goes on after itself.
fn rule(conditions: &[Argument], returns: Return) -> Code {
    let mut code = vec![op(code::RETURN, returns)];
    for condition in conditions.iter().rev() {
        let steps = compare(condition);
        code = [place(&steps, code.len()), code].concat();
    }
    code
}

/// Where a step goes.
#[derive(Clone, Copy)]
enum To {
    /// The next step.
    Next,
    /// Past all steps: the condition holds.
    Holds,
    /// Past the rule: the condition does not hold.
    Fails,
}

/// A step of a comparison.
enum Step {
    Do(Instruction),
    If((u16, u32), To, To),
}

/// The steps of a condition, jumps counted out; `rest` instructions of the rule follow.
fn place(steps: &[Step], rest: usize) -> Code {
    let jump = |from: usize, to: To| {
        let distance = match to {
            To::Next => 0,
            To::Holds => steps.len() - from - 1,
            To::Fails => steps.len() - from - 1 + rest,
        };
        u8::try_from(distance).expect("six conditions have fewer than 50 steps")
    };
    let place_one = |(at, step): (usize, &Step)| match *step {
        Step::Do(instruction) => instruction,
        Step::If((code, operand), holds, fails) => Instruction {
            code,
            jump_true: jump(at, holds),
            jump_false: jump(at, fails),
            operand,
        },
    };
    steps.iter().enumerate().map(place_one).collect()
}

/// Compares 64 bits as two times 32; the high half decides unless it is equal.
fn compare(argument: &Argument) -> Vec<Step> {
    use To::{Fails, Holds, Next};
    use code::{AND, JUMP_EQUAL as EQ, JUMP_GREATER as GT, JUMP_GREATER_OR_EQUAL as GE};
    let low_at = ARGS + 8 * argument.index;
    let load_low = || Step::Do(op(code::LOAD, low_at));
    let load_high = || Step::Do(op(code::LOAD, low_at + 4));
    let (high, low) = halves(argument.value);
    match argument.op {
        Operator::Equal => vec![
            load_high(),
            Step::If((EQ, high), Next, Fails),
            load_low(),
            Step::If((EQ, low), Holds, Fails),
        ],
        Operator::NotEqual => vec![
            load_high(),
            Step::If((EQ, high), Next, Holds),
            load_low(),
            Step::If((EQ, low), Fails, Holds),
        ],
        Operator::Greater | Operator::GreaterOrEqual => vec![
            load_high(),
            Step::If((GT, high), Holds, Next),
            Step::If((EQ, high), Next, Fails),
            load_low(),
            Step::If(
                (
                    if argument.op == Operator::Greater {
                        GT
                    } else {
                        GE
                    },
                    low,
                ),
                Holds,
                Fails,
            ),
        ],
        Operator::Less | Operator::LessOrEqual => vec![
            load_high(),
            Step::If((GT, high), Fails, Next),
            Step::If((EQ, high), Next, Holds),
            load_low(),
            Step::If(
                (
                    if argument.op == Operator::Less {
                        GE
                    } else {
                        GT
                    },
                    low,
                ),
                Fails,
                Holds,
            ),
        ],
        Operator::MaskedEqual => {
            let (wanted_high, wanted_low) = halves(argument.value_two);
            vec![
                load_high(),
                Step::Do(op(AND, high)),
                Step::If((EQ, wanted_high), Next, Fails),
                load_low(),
                Step::Do(op(AND, low)),
                Step::If((EQ, wanted_low), Holds, Fails),
            ]
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the halves are what is wanted"
)]
fn halves(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, value as u32)
}

fn op(code: u16, operand: u32) -> Instruction {
    Instruction {
        code,
        jump_true: 0,
        jump_false: 0,
        operand,
    }
}

fn length(code: &Code) -> u32 {
    u32::try_from(code.len()).expect("programs are far shorter")
}

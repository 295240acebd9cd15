//! The device filter of a cgroup, as BPF instructions.
//!
//! The kernel runs the program for each mknod and each open of a device, with what is asked for:
//! `access << 16 | kind`, major and minor number. It answers 1 for yes.

use super::STANDARD_NODES;

/// What a rule lets a process do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Access(i32);

impl Access {
    const MKNOD: Self = Self(1);
    const READ: Self = Self(2);
    const WRITE: Self = Self(4);
    const ALL: Self = Self(7);

    /// Reads letters as in `rwm`.
    pub(super) fn parse(letters: &str) -> Option<Self> {
        letters.chars().try_fold(Self(0), |all, letter| {
            let one = match letter {
                'm' => Self::MKNOD,
                'r' => Self::READ,
                'w' => Self::WRITE,
                _ => return None,
            };
            Some(Self(all.0 | one.0))
        })
    }
}

/// Something that is allowed; everything else is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) block: bool,
    /// Major and minor; `None` is any.
    pub(super) number: Option<(u32, u32)>,
    pub(super) access: Access,
}

/// `rules`, and what every container may: make nodes (which then can't be opened), use the standard
/// devices and terminals.
pub(super) fn with_standard(rules: &[Rule]) -> Vec<Rule> {
    let any = |block| Rule {
        block,
        number: None,
        access: Access::MKNOD,
    };
    let character = |major, minor| Rule {
        block: false,
        number: Some((major, minor)),
        access: Access::ALL,
    };
    let mut all = vec![any(false), any(true)];
    all.extend(
        STANDARD_NODES
            .iter()
            .map(|node| character(node.major, node.minor)),
    );
    // /dev/console, /dev/ptmx.
    all.extend([character(5, 1), character(5, 2)]);
    all.extend_from_slice(rules);
    all
}

/// Pseudo-terminals have major numbers of their own, and any minor number.
const PTS_MAJORS: std::ops::RangeInclusive<u32> = 136..=143;

/// `BPF_DEVCG_DEV_BLOCK` and `BPF_DEVCG_DEV_CHAR`.
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;

/// Registers, by what the program keeps in them.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

/// The program for `rules`.
pub(super) fn program(rules: &[Rule]) -> Vec<u64> {
    let mut code = vec![
        load(KIND, CONTEXT, 0),
        move_register(ACCESS, KIND),
        and(KIND, 0xffff),
        shift_right(ACCESS, 16),
        load(MAJOR, CONTEXT, 4),
        load(MINOR, CONTEXT, 8),
    ];
    for rule in rules {
        code.extend(allow(*rule));
    }
    code.extend(allow_terminals());
    code.extend([move_number(RESULT, 0), exit()]);
    code
}

/// Answers yes if the rule matches; else goes on behind it.
fn allow(rule: Rule) -> Vec<u64> {
    let mut tests = vec![Test::NotEqual(
        KIND,
        if rule.block { BLOCK } else { CHARACTER },
    )];
    if let Some((major, minor)) = rule.number {
        tests.push(Test::NotEqual(MAJOR, major.cast_signed()));
        tests.push(Test::NotEqual(MINOR, minor.cast_signed()));
    }
    tests.push(Test::NotWithin(ACCESS, rule.access.0));
    yes_unless(&tests)
}

fn allow_terminals() -> Vec<u64> {
    let (first, last) = (*PTS_MAJORS.start(), *PTS_MAJORS.end());
    yes_unless(&[
        Test::NotEqual(KIND, CHARACTER),
        Test::Below(MAJOR, first.cast_signed()),
        Test::Above(MAJOR, last.cast_signed()),
    ])
}

/// A reason to skip a rule.
#[derive(Clone, Copy)]
enum Test {
    NotEqual(u8, i32),
    Below(u8, i32),
    Above(u8, i32),
    /// Bits are set that are not among these.
    NotWithin(u8, i32),
}

fn yes_unless(tests: &[Test]) -> Vec<u64> {
    let length = |test: &Test| {
        if matches!(test, Test::NotWithin(..)) {
            3
        } else {
            1
        }
    };
    let mut left = tests.iter().map(length).sum::<i16>() + 2;
    let mut code = Vec::new();
    for test in tests {
        left -= length(test);
        match *test {
            Test::NotEqual(register, value) => code.push(jump(0x50, register, value, left)),
            Test::Below(register, value) => code.push(jump(0xa0, register, value, left)),
            Test::Above(register, value) => code.push(jump(0x20, register, value, left)),
            Test::NotWithin(register, bits) => code.extend([
                move_register(SCRATCH, register),
                and(SCRATCH, !bits),
                jump(0x50, SCRATCH, 0, left),
            ]),
        }
    }
    code.extend([move_number(RESULT, 1), exit()]);
    code
}

/// `BPF_LDX | BPF_MEM | BPF_W`
fn load(to: u8, from: u8, offset: i16) -> u64 {
    instruction(0x61, to, from, offset, 0)
}

/// `BPF_ALU | BPF_MOV | BPF_X`: 32 bits.
fn move_register(to: u8, from: u8) -> u64 {
    instruction(0xbc, to, from, 0, 0)
}

/// `BPF_ALU64 | BPF_MOV | BPF_K`
fn move_number(to: u8, number: i32) -> u64 {
    instruction(0xb7, to, 0, 0, number)
}

/// `BPF_ALU | BPF_AND | BPF_K`
fn and(register: u8, number: i32) -> u64 {
    instruction(0x54, register, 0, 0, number)
}

/// `BPF_ALU | BPF_RSH | BPF_K`
fn shift_right(register: u8, bits: i32) -> u64 {
    instruction(0x74, register, 0, 0, bits)
}

/// `BPF_JMP32 | condition | BPF_K`
fn jump(condition: u8, register: u8, number: i32, over: i16) -> u64 {
    instruction(0x06 | condition, register, 0, over, number)
}

/// `BPF_JMP | BPF_EXIT`
fn exit() -> u64 {
    instruction(0x95, 0, 0, 0, 0)
}

/// `struct bpf_insn`, little endian: code, registers, offset, number.
fn instruction(code: u8, to: u8, from: u8, offset: i16, number: i32) -> u64 {
    let [o0, o1] = offset.to_le_bytes();
    let [n0, n1, n2, n3] = number.to_le_bytes();
    u64::from_le_bytes([code, from << 4 | to, o0, o1, n0, n1, n2, n3])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel would, as far as it uses instructions that we emit.
    fn run(program: &[u64], kind: i32, access: i32, major: u32, minor: u32) -> u32 {
        let context = [(access << 16 | kind).cast_unsigned(), major, minor];
        let mut registers = [0u32; 11];
        let mut at = 0usize;
        loop {
            let [code, regs, o0, o1, n0, n1, n2, n3] = program[at].to_le_bytes();
            let (to, from) = (usize::from(regs & 15), usize::from(regs >> 4));
            let offset = i16::from_le_bytes([o0, o1]);
            let number = u32::from_le_bytes([n0, n1, n2, n3]);
            let over = usize::try_from(offset).unwrap();
            at += 1;
            match code {
                0x61 => registers[to] = context[over / 4],
                0xbc => registers[to] = registers[from],
                0xb7 => registers[to] = number,
                0x54 => registers[to] &= number,
                0x74 => registers[to] >>= number,
                0x56 if registers[to] != number => at += over,
                0xa6 if registers[to] < number => at += over,
                0x26 if registers[to] > number => at += over,
                0x56 | 0xa6 | 0x26 => {}
                0x95 => return registers[0],
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    #[track_caller]
    fn check(rules: &[Rule], kind: i32, access: &str, number: (u32, u32), allowed: bool) {
        let program = program(&with_standard(rules));
        let access = Access::parse(access).unwrap().0;
        assert_eq!(
            run(&program, kind, access, number.0, number.1) == 1,
            allowed
        );
    }

    #[test]
    fn standard_devices_and_terminals_are_allowed() {
        check(&[], CHARACTER, "rw", (1, 3), true);
        check(&[], CHARACTER, "rw", (5, 2), true);
        check(&[], CHARACTER, "rw", (136, 77), true);
        check(&[], CHARACTER, "rw", (143, 0), true);
        check(&[], CHARACTER, "rw", (135, 0), false);
        check(&[], CHARACTER, "rw", (144, 0), false);
    }

    #[test]
    fn nodes_may_be_made_but_not_opened() {
        check(&[], BLOCK, "m", (8, 0), true);
        check(&[], BLOCK, "r", (8, 0), false);
        check(&[], BLOCK, "rm", (8, 0), false);
        check(&[], CHARACTER, "rw", (10, 232), false);
    }

    #[test]
    fn a_device_that_was_given_may_be_used_as_it_was_given() {
        let access = Access::parse("r").unwrap();
        let rule = Rule {
            block: true,
            number: Some((253, 4)),
            access,
        };
        check(&[rule], BLOCK, "r", (253, 4), true);
        check(&[rule], BLOCK, "rw", (253, 4), false);
        check(&[rule], BLOCK, "r", (253, 5), false);
        check(&[rule], CHARACTER, "r", (253, 4), false);
    }
}

//! What the kernel does with a program, for tests.

use crate::bpf::{Instruction, code};

/// A system call as a filter sees it, `struct seccomp_data`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Call {
    pub(crate) number: u32,
    pub(crate) arch: u32,
    pub(crate) args: [u64; 6],
}

/// What the program returns for this call.
pub(crate) fn run(program: &[Instruction], call: &Call) -> u32 {
    let data = memory(call);
    let (mut at, mut register) = (0, 0);
    loop {
        let Instruction {
            code,
            jump_true,
            jump_false,
            operand,
        } = program[at];
        at += 1;
        let jump = |holds: bool| usize::from(if holds { jump_true } else { jump_false });
        match code {
            code::LOAD => register = data[operand as usize / 4],
            code::AND => register &= operand,
            code::JUMP => at += operand as usize,
            code::JUMP_EQUAL => at += jump(register == operand),
            code::JUMP_GREATER => at += jump(register > operand),
            code::JUMP_GREATER_OR_EQUAL => at += jump(register >= operand),
            code::RETURN => return operand,
            other => panic!("no such instruction: {other:#x}"),
        }
    }
}

/// `struct seccomp_data` as 32-bit words.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the halves are what is wanted"
)]
fn memory(call: &Call) -> [u32; 16] {
    let mut words = [0; 16];
    (words[0], words[1]) = (call.number, call.arch);
    for (argument, value) in call.args.iter().enumerate() {
        words[4 + 2 * argument] = *value as u32;
        words[5 + 2 * argument] = (*value >> 32) as u32;
    }
    words
}

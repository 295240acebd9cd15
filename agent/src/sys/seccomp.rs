//! seccomp(2): installs a filter that was compiled elsewhere.
#![expect(unsafe_code, reason = "no safe binding of seccomp exists")]
// UNSAFETY: the system call takes a pointer to a program and its length.

use super::checked;

/// `struct sock_filter`: code, two jump distances, operand.
const INSTRUCTION: usize = 8;

/// The kernel's limit (`BPF_MAXINSNS`).
const MOST_INSTRUCTIONS: usize = 4096;

/// A classic BPF program, ready to be installed.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    instructions: Vec<libc::sock_filter>,
}

/// Bytes that can't be a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a seccomp program has 1 to {MOST_INSTRUCTIONS} instructions of {INSTRUCTION} bytes, not {0} bytes"
)]
pub(crate) struct NotAFilter(usize);

impl Filter {
    /// Reads a program of `struct sock_filter[]`. The kernel checks what it does.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, NotAFilter> {
        let (chunks, rest) = bytes.as_chunks::<INSTRUCTION>();
        if !rest.is_empty() || chunks.is_empty() || chunks.len() > MOST_INSTRUCTIONS {
            return Err(NotAFilter(bytes.len()));
        }
        let instructions = chunks.iter().map(|&[c0, c1, jt, jf, k0, k1, k2, k3]| {
            let code = u16::from_ne_bytes([c0, c1]);
            libc::sock_filter {
                code,
                jt,
                jf,
                k: u32::from_ne_bytes([k0, k1, k2, k3]),
            }
        });
        Ok(Self {
            instructions: instructions.collect(),
        })
    }

    /// Filters the system calls of this thread from now on, for good.
    pub(crate) fn install(&self) -> rustix::io::Result<()> {
        let program = libc::sock_fprog {
            len: u16::try_from(self.instructions.len()).expect("checked when it was parsed"),
            filter: self.instructions.as_ptr().cast_mut(),
        };
        // SAFETY: the kernel only reads the program, whose length is that of the vector it points to.
        checked(unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                0,
                &raw const program,
            )
        })
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_instructions_are_a_filter() {
        let allow_all = [0x06, 0, 0, 0, 0, 0, 0xff, 0x7f];
        assert_eq!(
            Filter::parse(&allow_all).unwrap().instructions[0].k,
            0x7fff_0000
        );
        for length in [0, 1, 7, 9, INSTRUCTION * (MOST_INSTRUCTIONS + 1)] {
            assert_eq!(
                Filter::parse(&vec![0; length]).unwrap_err(),
                NotAFilter(length)
            );
        }
    }
}

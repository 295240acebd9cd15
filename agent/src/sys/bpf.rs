//! bpf(2), as far as a cgroup's device filter needs it.
#![expect(unsafe_code, reason = "no safe binding of bpf exists")]
// UNSAFETY: the system call takes a pointer to a structure that depends on the command.

use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::checked;

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;

/// The first fields of `union bpf_attr` for `BPF_PROG_LOAD`; the kernel takes the rest as zero.
#[repr(C)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// The fields of `union bpf_attr` for `BPF_PROG_ATTACH`.
#[repr(C)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

/// Loads a device filter; each instruction is a `struct bpf_insn`.
pub(crate) fn load_device_filter(instructions: &[u64]) -> rustix::io::Result<OwnedFd> {
    let attr = Load {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(instructions.len()).expect("filters are short"),
        insns: instructions.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
    };
    // SAFETY: the structure is initialised, its pointers are to live memory of the lengths given, and
    // the kernel only reads.
    let fd = checked(unsafe {
        libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const attr, size_of::<Load>())
    })?;
    let fd = i32::try_from(fd).expect("descriptors are ints");
    // SAFETY: it was just made and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Filters what the processes of `cgroup` and its children may do with devices, beside other filters.
pub(crate) fn attach_device_filter(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
) -> rustix::io::Result<()> {
    let number =
        |fd: BorrowedFd<'_>| u32::try_from(fd.as_raw_fd()).expect("descriptors are not negative");
    let attr = Attach {
        target_fd: number(cgroup),
        attach_bpf_fd: number(program),
        attach_type: CGROUP_DEVICE,
        attach_flags: ALLOW_MULTI,
    };
    // SAFETY: the structure is initialised and the kernel only reads it.
    checked(unsafe {
        libc::syscall(
            libc::SYS_bpf,
            PROG_ATTACH,
            &raw const attr,
            size_of::<Attach>(),
        )
    })
    .map(drop)
}

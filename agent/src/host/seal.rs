//! Runs this program from a copy that nobody can write, not even through /proc/…/exe.
//!
//! A container that gets its first process to execute /proc/self/exe holds the host's program in its
//! hands (CVE-2019-5736). A sealed memory file is worth nothing to it.

use std::ffi::CString;
use std::fs::File;
use std::io::copy;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};

use crate::sys::exec::execve_fd;

/// Returns if the program is sealed already; otherwise it starts again, sealed. Whoever starts many
/// agents can start them all from one sealed file, whose pages they then share.
pub(super) fn ensure() -> std::io::Result<()> {
    let own = File::open("/proc/self/exe")?;
    if fcntl_get_seals(&own).is_ok_and(|seals| seals.contains(SealFlags::WRITE)) {
        return Ok(());
    }
    let sealed = sealed_copy(own)?;
    let args = std::env::args_os()
        .map(|arg| CString::new(arg.into_vec()))
        .collect::<Result<_, _>>();
    let args: Vec<CString> = args?;
    Err(execve_fd(sealed.as_fd(), &args, &[]).into())
}

fn sealed_copy(mut program: File) -> std::io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Newer kernels want to be told that it is to be executed, older ones don't know the flag.
    let memory = memfd_create("bulkhead-agent", flags | MemfdFlags::EXEC)
        .or_else(|_| memfd_create("bulkhead-agent", flags))?;
    let mut memory = File::from(memory);
    copy(&mut program, &mut memory)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&memory, seals)?;
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_sealed_copy_can_not_be_written() {
        let mut copy = sealed_copy(File::open("/proc/self/exe").unwrap()).unwrap();
        assert!(copy.metadata().unwrap().len() > 0);
        assert!(copy.write_all(b"x").is_err());
        assert!(copy.set_len(0).is_err());
    }
}

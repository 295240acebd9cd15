//! Loop devices, for kernels that mount no files.

// UNSAFETY: loop devices are set up by ioctl, for which no safe wrapper exists.
#![expect(unsafe_code, reason = "loop devices are set up by ioctl")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use linux_raw_sys::loop_device::{
    LO_FLAGS_AUTOCLEAR, LO_FLAGS_DIRECT_IO, LO_FLAGS_READ_ONLY, LOOP_CONFIGURE, LOOP_CTL_GET_FREE,
    loop_config,
};
use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, Setter, ioctl};

/// How often another process may snatch the device that the kernel offered us.
const MAX_RACES: usize = 50;

/// A file as a read-only block device, until this and every mount of it are gone.
pub(super) struct LoopDevice {
    path: PathBuf,
    /// Closing the last descriptor frees the device.
    _device: File,
}

impl LoopDevice {
    /// Attaches `file` to a free device.
    pub(super) fn attach(file: &Path) -> io::Result<Self> {
        let backing = File::open(file)?;
        let control = File::options()
            .read(true)
            .write(true)
            .open("/dev/loop-control")?;
        for _ in 0..MAX_RACES {
            let path = PathBuf::from(format!("/dev/loop{}", free_device(&control)?));
            let device = File::open(&path)?;
            match configure(&device, &backing) {
                Ok(()) => {
                    return Ok(Self {
                        path,
                        _device: device,
                    });
                }
                Err(Errno::BUSY) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    /// The device's path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// `LOOP_CTL_GET_FREE`: the number is the return value.
struct GetFree;

// SAFETY: the opcode takes no argument, so the null pointer is never looked at.
unsafe impl Ioctl for GetFree {
    type Output = IoctlOutput;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        LOOP_CTL_GET_FREE
    }

    fn as_ptr(&mut self) -> *mut rustix::ffi::c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(
        number: IoctlOutput,
        _: *mut rustix::ffi::c_void,
    ) -> rustix::io::Result<IoctlOutput> {
        Ok(number)
    }
}

fn free_device(control: &File) -> io::Result<IoctlOutput> {
    // SAFETY: `GetFree` describes its opcode truthfully, and `control` is the loop control device.
    Ok(unsafe { ioctl(control, GetFree) }?)
}

fn configure(device: &File, backing: &File) -> Result<(), Errno> {
    // SAFETY: the structure is plain numbers, for which zero is a valid value.
    let mut config: loop_config = unsafe { std::mem::zeroed() };
    config.fd = backing.as_raw_fd().cast_unsigned();
    // The block size of the blobs, which direct I/O needs.
    config.block_size = 4096;
    config.info.lo_flags =
        (LO_FLAGS_READ_ONLY as u32) | (LO_FLAGS_AUTOCLEAR as u32) | (LO_FLAGS_DIRECT_IO as u32);
    // SAFETY: `LOOP_CONFIGURE` reads one `loop_config` and keeps no pointer to it.
    let setter = unsafe { Setter::<{ LOOP_CONFIGURE }, loop_config>::new(config) };
    // SAFETY: as above; the kernel takes its own reference to the file behind `config.fd`.
    unsafe { ioctl(device, setter) }
}

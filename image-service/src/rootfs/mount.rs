//! Mounting a merged image with its layers.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};
use tracing::debug;

use super::loop_device::LoopDevice;

/// The kernel refused a step of mounting.
#[derive(Debug, thiserror::Error)]
#[error("{step}{}", said(.kernel))]
pub struct MountError {
    step: &'static str,
    /// What the kernel says about it beside the error number.
    kernel: String,
    source: io::Error,
}

fn said(kernel: &str) -> String {
    if kernel.is_empty() {
        String::new()
    } else {
        format!(" ({kernel})")
    }
}

impl MountError {
    fn of(step: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self {
            step,
            kernel: String::new(),
            source: errno.into(),
        }
    }
}

/// Mounts `merged`, which refers to `layers`, at `target`.
///
/// Files are mounted as they are where the kernel can (6.12 and later, if so configured), through
/// loop devices elsewhere.
pub(super) fn mount_erofs(
    merged: &Path,
    layers: &[PathBuf],
    target: &Path,
) -> Result<(), MountError> {
    let layer_paths: Vec<&Path> = layers.iter().map(PathBuf::as_path).collect();
    match create(merged, &layer_paths, Backing::Files) {
        Ok(context) => attach(&context, target),
        Err(error) if is_unsupported(&error) => mount_loops(merged, layers, target),
        Err(error) => Err(error),
    }
}

/// Kernels without file-backed EROFS want a block device.
fn is_unsupported(error: &MountError) -> bool {
    error.source.raw_os_error() == Some(Errno::NOTBLK.raw_os_error())
}

fn mount_loops(merged: &Path, layers: &[PathBuf], target: &Path) -> Result<(), MountError> {
    debug!("the kernel mounts no files, using loop devices");
    let attach_loop = |path: &Path| {
        LoopDevice::attach(path).map_err(|source| MountError {
            step: "attach a loop device",
            kernel: String::new(),
            source,
        })
    };
    let source = attach_loop(merged)?;
    let devices: Vec<LoopDevice> = layers
        .iter()
        .map(|layer| attach_loop(layer))
        .collect::<Result<_, _>>()?;
    let paths: Vec<&Path> = devices.iter().map(LoopDevice::path).collect();
    let context = create(source.path(), &paths, Backing::Devices)?;
    // From here on the mount keeps the devices, and the kernel frees them with it.
    attach(&context, target)
}

/// What the file system lies on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Backing {
    Files,
    Devices,
}

/// A file system that is ready to be mounted.
fn create(source: &Path, devices: &[&Path], backing: Backing) -> Result<OwnedFd, MountError> {
    let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(MountError::of("open EROFS, which this kernel may lack"))?;
    let set = MountError::of("name the merged image");
    fsconfig_set_string(&context, "source", source).map_err(set)?;
    for device in devices {
        let set = MountError::of("name a layer");
        fsconfig_set_string(&context, "device", *device).map_err(set)?;
    }
    fsconfig_set_flag(&context, "ro").map_err(MountError::of("make it read-only"))?;
    if backing == Backing::Files {
        // Or each page is cached twice. Older kernels don't know the word.
        if let Err(errno) = fsconfig_set_flag(&context, "directio") {
            debug!(%errno, "the kernel reads images through its page cache");
        }
    }
    match fsconfig_create(&context) {
        Ok(()) => Ok(context),
        Err(errno) => {
            let kernel = kernel_messages(&context);
            Err(MountError {
                step: "create the file system",
                kernel,
                source: errno.into(),
            })
        }
    }
}

fn attach(context: &OwnedFd, target: &Path) -> Result<(), MountError> {
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    let mount = fsmount(context.as_fd(), flags, MountAttrFlags::MOUNT_ATTR_RDONLY)
        .map_err(MountError::of("make a mount"))?;
    move_mount(
        mount.as_fd(),
        "",
        CWD,
        target,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .map_err(MountError::of("attach the mount"))
}

/// The kernel's log of this context: one message for each read.
fn kernel_messages(context: &OwnedFd) -> String {
    let mut messages = Vec::new();
    let mut buffer = [0; 512];
    while let Ok(len) = rustix::io::read(context, &mut buffer) {
        if len == 0 || messages.len() == 8 {
            break;
        }
        messages.push(String::from_utf8_lossy(&buffer[..len]).trim().to_owned());
    }
    messages.join("; ")
}

#[cfg(test)]
#[cfg(feature = "privileged")]
mod tests;

//! Terminals: a pair out of the container's own devpts.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Gid, Mode, OFlags, Uid, fchown, fstatfs, openat};
use rustix::io::Errno;
use rustix::process::ioctl_tiocsctty;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// `f_type` of devpts.
const DEVPTS: i64 = 0x1cd1;

/// Why a process gets no terminal.
#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
pub(crate) struct TtyError {
    doing: &'static str,
    source: Errno,
}

fn at(doing: &'static str) -> impl Fn(Errno) -> TtyError {
    move |source| TtyError { doing, source }
}

/// A new terminal.
pub(crate) struct Terminal {
    /// Our side.
    pub(crate) master: OwnedFd,
    /// The process's side.
    pub(crate) slave: OwnedFd,
}

impl Terminal {
    /// Makes one in the devpts whose root directory is `devpts`. No path of the container is used: a
    /// process in it could have put anything there.
    pub(crate) fn open(devpts: BorrowedFd<'_>, width: u32, height: u32) -> Result<Self, TtyError> {
        let found = fstatfs(devpts).map_err(at("look at devpts"))?;
        if found.f_type != DEVPTS {
            return Err(at("recognise devpts")(Errno::NOTTY));
        }
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let master = openat(devpts, "ptmx", flags, Mode::empty()).map_err(at("open ptmx"))?;
        unlockpt(&master).map_err(at("unlock the terminal"))?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = ioctl_tiocgptpeer(&master, flags).map_err(at("open the terminal"))?;
        resize(&master, width, height).map_err(at("size the terminal"))?;
        Ok(Self { master, slave })
    }

    /// Makes the terminal the controlling one of this process, which must lead a session, and gives it
    /// to `uid`.
    pub(crate) fn control(&self, uid: u32) -> Result<(), TtyError> {
        ioctl_tiocsctty(&self.slave).map_err(at("take the terminal"))?;
        fchown(&self.slave, Some(Uid::from_raw(uid)), None::<Gid>)
            .map_err(at("give the terminal to the process's user"))
    }
}

/// Sets a terminal's size; 0 by 0 leaves it as it is.
pub(crate) fn resize(master: impl AsFd, width: u32, height: u32) -> rustix::io::Result<()> {
    if width == 0 && height == 0 {
        return Ok(());
    }
    let size = Winsize {
        ws_row: clamped(height),
        ws_col: clamped(width),
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(master, size)
}

/// A client may say any number.
fn clamped(cells: u32) -> u16 {
    u16::try_from(cells).unwrap_or(u16::MAX)
}

//! What the kernel says, passed on to the host: its serial console has errors alone, because each byte
//! there costs two exits to the VMM.
//!
//! Records are those of `/dev/kmsg` (Documentation/ABI/testing/dev-kmsg): `priority,sequence,µs,flags;text`
//! and lines of context.

use std::fmt::Write as _;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncWriteExt, Interest};

use crate::sys::readiness::watch;

/// Longest record that the kernel gives out.
const RECORD_MAX: usize = 8192;
/// Lines travel together up to about so many bytes.
const BATCH: usize = 16 * 1024;
/// Messages of a lower number are on the console anyway, unless the kernel says otherwise.
const CONSOLE_LEVEL: u8 = 4;

/// Passes on all there is, and whatever comes, by `host`. Ends when the host takes no more.
pub(super) async fn forward(host: OwnedFd) {
    if let Err(error) = try_forward(host).await {
        tracing::info!(%error, "the kernel's messages stay in the guest");
    }
}

async fn try_forward(host: OwnedFd) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let records = rustix::fs::open("/dev/kmsg", flags, Mode::empty())?;
    let records = watch(records, Interest::READABLE)?;
    let mut host = super::vsock::stream(host)?;
    super::vsock::connected(&host).await?;
    let on_console = console_level();
    loop {
        let lines = batch(&records, on_console).await?;
        host.write_all(lines.as_bytes()).await?;
    }
}

/// Which messages the kernel puts on its console: those of a lower number.
fn console_level() -> u8 {
    let levels = std::fs::read_to_string("/proc/sys/kernel/printk").unwrap_or_default();
    let first = levels.split_whitespace().next();
    first
        .and_then(|level| level.parse().ok())
        .unwrap_or(CONSOLE_LEVEL)
}

/// Waits for a record, and takes those that are there already with it.
async fn batch(records: &AsyncFd<OwnedFd>, on_console: u8) -> io::Result<String> {
    let mut lines = String::new();
    let mut buffer = vec![0; RECORD_MAX];
    while lines.is_empty() {
        records
            .async_io(Interest::READABLE, |file| {
                take(file, &mut buffer, on_console, &mut lines)
            })
            .await?;
    }
    Ok(lines)
}

/// Reads until there is nothing more for now. `WouldBlock` if there was nothing at all.
fn take(file: &OwnedFd, buffer: &mut [u8], on_console: u8, lines: &mut String) -> io::Result<()> {
    let mut taken = false;
    while lines.len() < BATCH {
        match rustix::io::read(file, &mut *buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => add(&buffer[..len], on_console, lines),
            // Records that were overwritten before anybody read them.
            Err(Errno::PIPE | Errno::INTR) => {}
            Err(Errno::AGAIN) if taken => break,
            Err(errno) => return Err(errno.into()),
        }
        taken = true;
    }
    Ok(())
}

/// Adds a record's line, as the console would show it, unless that has shown it.
fn add(record: &[u8], on_console: u8, lines: &mut String) {
    let record = String::from_utf8_lossy(record);
    let Some((prefix, text)) = record.split_once(';') else {
        return;
    };
    let mut numbers = prefix
        .split(',')
        .map(|word| word.parse::<u64>().unwrap_or_default());
    let (priority, _, micros) = (numbers.next(), numbers.next(), numbers.next());
    let (level, micros) = (priority.unwrap_or_default() & 7, micros.unwrap_or_default());
    if level < u64::from(on_console) {
        return;
    }
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let text = text.lines().next().unwrap_or_default();
    // Writing to a string does not fail.
    let _ = writeln!(lines, "[{seconds:5}.{micros:06}] {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(record: &str, expected: &str) {
        let mut lines = String::new();
        add(record.as_bytes(), CONSOLE_LEVEL, &mut lines);
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_record_reads_as_on_the_console() {
        check(
            "6,339,5140900,-;NET: Registered protocol family 10\n SUBSYSTEM=net\n",
            "[    5.140900] NET: Registered protocol family 10\n",
        );
        check(
            "30,2,12,c;from user space",
            "[    0.000012] from user space\n",
        );
    }

    #[test]
    fn what_the_console_has_shown_is_not_shown_again() {
        check("3,340,6000000,-;an error\n", "");
        check("4,341,6000000,-;a warning\n", "[    6.000000] a warning\n");
    }

    #[test]
    fn what_is_no_record_is_left_out() {
        check("", "");
        check("no prefix", "");
        check("x,y;odd", "");
    }

    #[test]
    fn all_that_is_there_is_taken_at_once() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        rustix::io::ioctl_fionbio(&read, true).unwrap();
        let (mut lines, mut buffer) = (String::new(), vec![0; RECORD_MAX]);
        let nothing = take(&read, &mut buffer, 4, &mut lines).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        rustix::io::write(&write, b"6,1,1000000,-;one\n").unwrap();
        take(&read, &mut buffer, 4, &mut lines).unwrap();
        assert_eq!(lines, "[    1.000000] one\n");
    }
}

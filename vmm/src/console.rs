//! What a guest's kernel says, on its serial console and by way of its agent: the last of it, in a file of
//! bounded size.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use vmm_devices::host_warn;

/// Output is written at the end of a line, or when a line gets this long.
const LINE: usize = 1024;
/// Least limit: below it the oldest output would go line by line.
const LEAST_LIMIT: u64 = 8 * 1024;

/// One of those that write to the file. Their lines do not mix.
#[derive(Debug)]
pub(crate) struct Console {
    kept: Arc<Mutex<Kept>>,
    line: Vec<u8>,
}

impl Console {
    /// Writes to `file`, which is emptied. It must be open for reading and writing.
    pub(crate) fn new(file: File, limit_bytes: u64) -> io::Result<Self> {
        let kept = Kept::new(file, limit_bytes)?;
        Ok(Self::on(Arc::new(Mutex::new(kept))))
    }

    /// Another one that writes to the same file.
    pub(crate) fn another(&self) -> Self {
        Self::on(Arc::clone(&self.kept))
    }

    fn on(kept: Arc<Mutex<Kept>>) -> Self {
        Self {
            kept,
            line: Vec::with_capacity(LINE),
        }
    }

    fn write_line(&mut self) -> io::Result<()> {
        let written = self.kept.lock().append(&self.line);
        self.line.clear();
        written
    }
}

/// Keeps the newest output. The file is plain text at all times, never longer than the limit; when it is
/// full, the older half goes.
#[derive(Debug)]
struct Kept {
    file: File,
    limit: u64,
    len: u64,
}

impl Kept {
    fn new(file: File, limit_bytes: u64) -> io::Result<Self> {
        // An appending file would ignore where we write to.
        let flags = fcntl_getfl(&file)?;
        fcntl_setfl(&file, flags - OFlags::APPEND)?;
        file.set_len(0)?;
        Ok(Self {
            file,
            limit: limit_bytes.max(LEAST_LIMIT),
            len: 0,
        })
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if line.is_empty() {
            return Ok(());
        }
        let new = line.len() as u64;
        if self.len + new > self.limit {
            self.forget_older_half()?;
        }
        self.file.write_all_at(line, self.len)?;
        self.len += new;
        Ok(())
    }

    /// Moves the newer half to the front of the file, from the beginning of a line on.
    fn forget_older_half(&mut self) -> io::Result<()> {
        let half = usize::try_from(self.limit / 2).unwrap_or(usize::MAX);
        let mut newer = vec![0; half];
        let start = self.len.saturating_sub(self.limit / 2);
        let read = self.file.read_at(&mut newer, start)?;
        let newer = &newer[..read];
        let line = newer.iter().position(|byte| *byte == b'\n');
        let newer = &newer[line.map_or(0, |newline| newline + 1)..];
        self.file.write_all_at(newer, 0)?;
        self.file.set_len(newer.len() as u64)?;
        self.len = newer.len() as u64;
        Ok(())
    }
}

impl Write for Console {
    /// Never fails: the guest's console must not stop for a full disk of the host's.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            self.line.push(*byte);
            if (*byte == b'\n' || self.line.len() >= LINE)
                && let Err(error) = self.write_line()
            {
                host_warn!(%error, "console output is lost");
            }
        }
        Ok(bytes.len())
    }

    /// Does nothing, since a serial port flushes after every byte.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Console {
    /// Writes the last line, which often tells why the machine stopped.
    fn drop(&mut self) {
        if let Err(error) = self.write_line() {
            host_warn!(%error, "the last line of the console is lost");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(limit: u64) -> (Console, std::path::PathBuf, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console");
        let file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .open(&path);
        let console = Console::new(file.unwrap(), limit).unwrap();
        (console, path, dir)
    }

    #[test]
    fn lines_are_there_when_they_end_and_the_last_when_the_machine_does() {
        let (mut console, path, _dir) = console(1 << 20);
        console.write_all(b"first\nsecond").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"first\n");
        drop(console);
        assert_eq!(std::fs::read(&path).unwrap(), b"first\nsecond");
    }

    #[test]
    fn lines_of_two_writers_do_not_mix() {
        let (mut serial, path, _dir) = console(1 << 20);
        let mut agent = serial.another();
        serial.write_all(b"panic").unwrap();
        agent.write_all(b"boot\n").unwrap();
        serial.write_all(b"ked\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"boot\npanicked\n");
    }

    #[test]
    fn the_oldest_output_goes_first() {
        let (mut console, path, _dir) = console(LEAST_LIMIT);
        for number in 0..10_000 {
            console
                .write_all(format!("line {number}\n").as_bytes())
                .unwrap();
            assert!(std::fs::metadata(&path).unwrap().len() <= LEAST_LIMIT);
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.ends_with("line 9998\nline 9999\n"));
        assert!(text.len() as u64 >= LEAST_LIMIT / 2 - 100);
        assert!(text.starts_with("line "), "no line is cut");
    }

    #[test]
    fn output_without_newlines_is_bounded_too() {
        let (mut console, path, _dir) = console(LEAST_LIMIT);
        for _ in 0..100 {
            console.write_all(&[b'x'; 999]).unwrap();
        }
        assert!(console.line.len() < LINE);
        assert!(std::fs::metadata(&path).unwrap().len() <= LEAST_LIMIT);
    }

    #[test]
    fn a_full_disk_does_not_stop_the_guest() {
        let file = File::options()
            .read(true)
            .write(true)
            .open("/dev/full")
            .unwrap();
        let mut console = Console::on(Arc::new(Mutex::new(Kept {
            file,
            limit: LEAST_LIMIT,
            len: 0,
        })));
        console.write_all(b"lost\nalso lost\n").unwrap();
    }
}

//! One container's log file.

use std::fs::File;
use std::io::{ErrorKind, IoSlice, Write};
use std::time::SystemTime;

use crate::Stream;
use crate::lines::{Lines, Tag};
use crate::timestamp::rfc3339_nano;

/// Writes a container's output to a file that was opened for appending.
///
/// Writing never fails and never waits for room: a line that the file does not take is dropped and
/// counted, because a container must not hang on a full log disk.
#[derive(Debug)]
pub struct ContainerLog {
    file: LogFile,
    stdout: Lines,
    stderr: Lines,
}

/// What could not be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Log lines, whole or cut short.
    pub lines: u64,
    /// Bytes of the container's text in them.
    pub bytes: u64,
}

impl ContainerLog {
    /// Logs to `file`, which must be open with `O_APPEND`.
    pub fn new(file: File) -> Self {
        Self {
            file: LogFile {
                file,
                torn: false,
                dropped: Dropped::default(),
            },
            stdout: Lines::default(),
            stderr: Lines::default(),
        }
    }

    /// Appends the lines that `bytes` complete; an unfinished line waits for its rest.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let Self {
            file,
            stdout,
            stderr,
        } = self;
        let lines = match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        };
        lines.push(bytes, |tag, text| file.append(stream, tag, text));
    }

    /// Appends what the container left unterminated: nothing more will come.
    pub fn finish(&mut self) {
        let file = &mut self.file;
        for (stream, lines) in [
            (Stream::Stdout, &mut self.stdout),
            (Stream::Stderr, &mut self.stderr),
        ] {
            lines.finish(|tag, text| file.append(stream, tag, text));
        }
    }

    /// From now on lines go to `file`. The next byte written is the beginning of a line of it, and
    /// no line is in both files; an unfinished line goes to the new one.
    pub fn reopen(&mut self, file: File) {
        self.file.file = file;
        self.file.torn = false;
    }

    /// What has been lost so far.
    pub const fn dropped(&self) -> Dropped {
        self.file.dropped
    }
}

/// The file, and whether its last line was cut short.
#[derive(Debug)]
struct LogFile {
    file: File,
    torn: bool,
    dropped: Dropped,
}

impl LogFile {
    fn append(&mut self, stream: Stream, tag: Tag, text: &[u8]) {
        let head = format!(
            "{}{} {} {} ",
            // A line that a full disk cut short is ended before the next one begins.
            if self.torn { "\n" } else { "" },
            rfc3339_nano(SystemTime::now()),
            stream.name(),
            match tag {
                Tag::Partial => 'P',
                Tag::Full => 'F',
            },
        );
        match write_whole(&mut self.file, [head.as_bytes(), text, b"\n"]) {
            Ok(()) => self.torn = false,
            Err(written) => {
                self.torn |= written > 0;
                self.dropped.lines += 1;
                self.dropped.bytes += text.len() as u64;
            }
        }
    }
}

/// Writes the three parts of a line, in one call unless the file takes only some of it.
/// `Err` holds how many bytes it took before it took no more.
fn write_whole(file: &mut impl Write, parts: [&[u8]; 3]) -> Result<(), usize> {
    let mut slices = parts.map(IoSlice::new);
    let mut left = &mut slices[..];
    let mut written = 0;
    while !left.is_empty() {
        match file.write_vectored(left) {
            Ok(0) => return Err(written),
            Ok(n) => {
                written += n;
                IoSlice::advance_slices(&mut left, n);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(written),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

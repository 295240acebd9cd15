//! Checks against real files, and against a file that misbehaves.

use std::io::{self, Read, Seek, SeekFrom};

use super::*;
use crate::MAX_LINE;

fn append_to(dir: &tempfile::TempDir, name: &str) -> File {
    File::options()
        .append(true)
        .read(true)
        .create(true)
        .open(dir.path().join(name))
        .unwrap()
}

/// The lines of a log without their times, which are checked to be there.
#[track_caller]
fn lines_of(dir: &tempfile::TempDir, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(dir.path().join(name)).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines()
        .map(|line| {
            let (time, rest) = line.split_once(' ').unwrap();
            assert_eq!(time.len(), "2026-11-22T18:30:00.000000001Z".len());
            rest.to_owned()
        })
        .collect()
}

#[test]
fn streams_keep_their_unfinished_lines_apart() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = ContainerLog::new(append_to(&dir, "log"));
    log.write(Stream::Stdout, b"one ");
    log.write(Stream::Stderr, b"bad\nworse");
    log.write(Stream::Stdout, b"line\n");
    log.finish();
    assert_eq!(
        lines_of(&dir, "log"),
        ["stderr F bad", "stdout F one line", "stderr P worse"]
    );
    assert_eq!(log.dropped(), Dropped::default());
}

#[test]
fn a_long_line_is_split_and_its_end_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = ContainerLog::new(append_to(&dir, "log"));
    let long = "y".repeat(2 * MAX_LINE + 5);
    log.write(Stream::Stdout, format!("{long}\n").as_bytes());
    let lines = lines_of(&dir, "log");
    let lengths: Vec<_> = lines
        .iter()
        .map(|line| (&line[..8], line.len() - 9))
        .collect();
    assert_eq!(
        lengths,
        [
            ("stdout P", MAX_LINE),
            ("stdout P", MAX_LINE),
            ("stdout F", 5)
        ]
    );
}

#[test]
fn reopening_moves_the_unfinished_line_to_the_new_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = ContainerLog::new(append_to(&dir, "old"));
    log.write(Stream::Stdout, b"first\nsec");
    log.reopen(append_to(&dir, "new"));
    log.write(Stream::Stdout, b"ond\n");
    assert_eq!(lines_of(&dir, "old"), ["stdout F first"]);
    assert_eq!(lines_of(&dir, "new"), ["stdout F second"]);
}

#[test]
fn a_truncated_file_is_appended_to_at_its_new_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = ContainerLog::new(append_to(&dir, "log"));
    log.write(Stream::Stdout, b"before\n");
    append_to(&dir, "log").set_len(0).unwrap();
    log.write(Stream::Stdout, b"after\n");
    assert_eq!(lines_of(&dir, "log"), ["stdout F after"]);
}

#[test]
fn a_full_disk_drops_lines_and_counts_them() {
    let full = File::options().append(true).open("/dev/full").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut log = ContainerLog::new(full);
    log.write(Stream::Stdout, b"lost\nalso lost\n");
    assert_eq!(
        log.dropped(),
        Dropped {
            lines: 2,
            bytes: 13
        }
    );
    log.reopen(append_to(&dir, "log"));
    log.write(Stream::Stdout, b"kept\n");
    assert_eq!(lines_of(&dir, "log"), ["stdout F kept"]);
}

#[test]
fn a_line_cut_short_is_ended_before_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = ContainerLog::new(append_to(&dir, "log"));
    log.file.torn = true;
    log.write(Stream::Stdout, b"next\n");
    let mut text = String::new();
    let mut file = append_to(&dir, "log");
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_string(&mut text).unwrap();
    assert!(
        text.starts_with('\n') && text.ends_with(" stdout F next\n"),
        "{text:?}"
    );
    assert!(!log.file.torn);
}

/// Takes a few bytes per call, is interrupted in between, and is full at the end.
struct Grudging {
    taken: Vec<u8>,
    capacity: usize,
    interrupt: bool,
}

impl Write for Grudging {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.interrupt = !self.interrupt;
        if self.interrupt {
            return Err(ErrorKind::Interrupted.into());
        }
        let room = self.capacity - self.taken.len();
        let n = bytes.len().min(3).min(room);
        if n == 0 {
            return Err(ErrorKind::StorageFull.into());
        }
        self.taken.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn short_and_interrupted_writes_are_continued() {
    let mut file = Grudging {
        taken: Vec::new(),
        capacity: 100,
        interrupt: false,
    };
    assert_eq!(write_whole(&mut file, [b"head ", b"text", b"\n"]), Ok(()));
    assert_eq!(file.taken, b"head text\n");
}

#[test]
fn a_file_that_fills_up_tells_how_much_it_took() {
    let mut file = Grudging {
        taken: Vec::new(),
        capacity: 7,
        interrupt: false,
    };
    assert_eq!(write_whole(&mut file, [b"head ", b"text", b"\n"]), Err(7));
}

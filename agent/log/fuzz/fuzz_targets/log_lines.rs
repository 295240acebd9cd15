//! Container output as log lines: what a reader puts together is what the container wrote.
#![no_main]

use std::fs::File;
use std::io::{Read, Seek};

use cri_log::{ContainerLog, MAX_LINE, Stream};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use rustix::fs::{MemfdFlags, memfd_create};

/// A write of the container's.
#[derive(Arbitrary, Debug)]
struct Chunk<'a> {
    stderr: bool,
    bytes: &'a [u8],
    /// Lines get long only if something repeats.
    times: u16,
}

fuzz_target!(|chunks: Vec<Chunk<'_>>| {
    let mut file = File::from(memfd_create("log", MemfdFlags::CLOEXEC).expect("make a file"));
    let mut log = ContainerLog::new(file.try_clone().expect("share the file"));
    let mut written = [Vec::new(), Vec::new()];
    for chunk in chunks.iter().take(64) {
        let times = 1 + usize::from(chunk.times) % (2 * MAX_LINE / chunk.bytes.len().max(1)).max(1);
        let bytes = chunk.bytes.repeat(times);
        let stream = if chunk.stderr {
            Stream::Stderr
        } else {
            Stream::Stdout
        };
        log.write(stream, &bytes);
        written[usize::from(chunk.stderr)].extend(bytes);
    }
    log.finish();
    assert_eq!(log.dropped().lines, 0);
    file.rewind().expect("go back to the beginning");
    let mut text = Vec::new();
    file.read_to_end(&mut text).expect("read the log");
    assert_eq!(joined(&text), written);
});

/// Reads the log as the kubelet does.
fn joined(text: &[u8]) -> [Vec<u8>; 2] {
    let mut streams = [Vec::new(), Vec::new()];
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").expect("each line ends");
        let mut words = line.splitn(4, |byte| *byte == b' ');
        let mut word = || words.next().expect("a line has four parts");
        let (_time, stream, tag, content) = (word(), word(), word(), word());
        assert!(content.len() <= MAX_LINE);
        let stream = &mut streams[usize::from(stream == b"stderr")];
        stream.extend_from_slice(content);
        match tag {
            b"F" => stream.push(b'\n'),
            tag => assert_eq!(tag, b"P"),
        }
    }
    streams
}

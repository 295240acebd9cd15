//! Doors for the fuzz targets to what reads a guest's streams. Not in any other build.

use std::fs::File;
use std::sync::Arc;

use crate::log::{LogEnd, Logs};
use crate::vsock::HostEnd;

pub use crate::vsock::Streams;

/// What a guest sends on its log connection, in pieces as they came; and the same in one piece.
pub fn log_connection(pieces: &[&[u8]]) {
    let whole = pieces.concat();
    assert_eq!(counted(pieces), counted(&[&whole]));
}

/// Whether all was taken, and what has been counted then.
fn counted(pieces: &[&[u8]]) -> (bool, Vec<(&'static str, u64)>) {
    let logs = Arc::new(Logs::default());
    let sink = File::options().append(true).open("/dev/null");
    logs.open("c1", sink.expect("there is a /dev/null"));
    let mut end = LogEnd::new(Arc::clone(&logs));
    let taken = pieces
        .iter()
        .filter(|piece| !piece.is_empty())
        .all(|piece| end.write(piece).is_ok());
    while end.read(&mut [0; 4096]).is_ok() {}
    logs.close("c1");
    (taken, logs.counters())
}

//! The lines that xtask reads: fields with tabs between them.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

/// What a value counts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    Milliseconds,
    Mebibytes,
    MebibytesPerSecond,
    Processes,
    Megabits,
    PerSecond,
}

impl Unit {
    fn symbol(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Mebibytes => "MiB",
            Self::MebibytesPerSecond => "MiB/s",
            Self::Processes => "processes",
            Self::Megabits => "Mbit/s",
            Self::PerSecond => "1/s",
        }
    }
}

/// Tells one measured value.
pub(super) fn tell(side: &str, step: &str, unit: Unit, value: f64) -> io::Result<()> {
    let unit = unit.symbol();
    writeln!(io::stdout(), "sample\t{side}\t{step}\t{unit}\t{value:.3}")
}

/// Tells how long something took.
pub(super) fn tell_time(side: &str, step: &str, took: Duration) -> io::Result<()> {
    tell(side, step, Unit::Milliseconds, took.as_secs_f64() * 1000.0)
}

/// Tells something that the reader of the table has to know.
pub(super) fn note(text: impl Display) -> io::Result<()> {
    writeln!(io::stdout(), "note\t{text}")
}

/// Tells a person that it goes on.
pub(super) fn progress(text: impl Display) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

/// Bytes as MiB.
pub(super) fn mebibytes(bytes: u64) -> f64 {
    // Exact below 2^53 bytes, which is more than any node has of anything.
    bytes as f64 / f64::from(1 << 20)
}

//! What a guest's kernel printed last, for the one who has to find out why it is over.

use std::path::Path;

use crate::agent::quoted;
use crate::supervisor::last_bytes;

/// Enough for a panic's message and the top of its trace.
const LINES: usize = 12;

/// Bytes in which so many lines are looked for.
const WINDOW: usize = 8192;

/// The last lines of the console, made harmless: they are the guest's words.
pub(super) fn last_words(path: &Path) -> String {
    let window = last_bytes(path, WINDOW).unwrap_or_default();
    let text = String::from_utf8_lossy(&window);
    let lines: Vec<_> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    let from = match lines.iter().rposition(|line| line.contains("Kernel panic")) {
        Some(panic) => panic,
        None => lines.len().saturating_sub(LINES),
    };
    let last: Vec<_> = lines[from..]
        .iter()
        .take(LINES)
        .map(|line| quoted(line))
        .collect();
    last.join(" | ")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[track_caller]
    fn check(console: &str, expected: &str) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console");
        fs::write(&path, console).unwrap();
        assert_eq!(last_words(&path), expected);
    }

    #[test]
    fn a_panic_begins_where_it_says_so() {
        check(
            "booting\r\n[ 1.0] Kernel panic - not syncing: no init\r\n[ 1.1] CPU: 0\r\n",
            "[ 1.0] Kernel panic - not syncing: no init | [ 1.1] CPU: 0",
        );
    }

    #[test]
    fn without_a_panic_it_is_the_last_lines() {
        let lines: Vec<_> = (0..100).map(|n| n.to_string()).collect();
        check(&lines.join("\n"), &lines[88..].join(" | "));
        check("", "");
    }

    #[test]
    fn escape_codes_of_the_guest_stay_out_of_our_messages() {
        check("\x1b[2Jhello", " [2Jhello");
    }
}

//! How a container ended, as the agent on the host keeps it in its state directory.
//!
//! A record is a few lines of a word and a value, the first of which is its version. It is there before
//! the exit is told, and goes when the container is removed.

use crate::v1::ContainerExit;

/// Rises when old readers would misunderstand what is written.
const VERSION: &str = "1";

/// Name of a container's record in the state directory.
pub fn file_name(container_id: &str) -> String {
    format!("{container_id}.exit")
}

/// The container whose record has this name, if it is one's.
pub fn container_id(file_name: &str) -> Option<&str> {
    file_name.strip_suffix(".exit")
}

/// The content of a record.
pub fn encode(exit: &ContainerExit) -> String {
    format!(
        "version {VERSION}\ncode {}\nsignal {}\noom_killed {}\nfinished_at_ns {}\n",
        exit.code, exit.signal, exit.oom_killed, exit.finished_at_ns
    )
}

/// Reads a record; `None` if it is none, or of a version that we don't know.
pub fn decode(text: &str) -> Option<ContainerExit> {
    let value = |word: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(word)?.strip_prefix(' '))
    };
    if value("version")? != VERSION {
        return None;
    }
    Some(ContainerExit {
        code: value("code")?.parse().ok()?,
        signal: value("signal")?.parse().ok()?,
        oom_killed: value("oom_killed")?.parse().ok()?,
        finished_at_ns: value("finished_at_ns")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let exit = ContainerExit {
            code: 137,
            signal: 9,
            oom_killed: true,
            finished_at_ns: 7,
        };
        assert_eq!(decode(&encode(&exit)), Some(exit));
    }

    #[test]
    fn a_name_tells_whose_record_it_is() {
        assert_eq!(container_id(&file_name("c1")), Some("c1"));
        assert_eq!(container_id("c1.new"), None);
    }

    #[test]
    fn what_is_no_record_is_not_taken_for_one() {
        for text in [
            "",
            "code 1\n",
            "version 2\ncode 1\nsignal 0\noom_killed false\nfinished_at_ns 1\n",
        ] {
            assert_eq!(decode(text), None, "{text:?}");
        }
        let cut = &encode(&ContainerExit::default())[..20];
        assert_eq!(decode(cut), None);
    }
}

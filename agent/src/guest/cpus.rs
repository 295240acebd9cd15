//! The guest's CPUs: all are there from the start, as many as are paid for are used.

use std::fs;

use super::{GuestError, write_file};

const DIRECTORY: &str = "/sys/devices/system/cpu";

/// Brings CPUs online until `count` are; 0 changes nothing. None is taken away: processes run there.
pub(crate) fn bring_online(count: u32) -> Result<(), GuestError> {
    if count == 0 {
        return Ok(());
    }
    for number in offline()?.into_iter().filter(|number| *number < count) {
        write_file(
            "bring CPU online:",
            &format!("{DIRECTORY}/cpu{number}/online"),
            "1",
        )?;
    }
    Ok(())
}

fn offline() -> Result<Vec<u32>, GuestError> {
    let path = format!("{DIRECTORY}/offline");
    let text = fs::read_to_string(&path).map_err(|source| GuestError::File {
        doing: "read",
        path,
        source,
    })?;
    Ok(numbers(&text))
}

/// Reads a list such as `1-3,5`.
fn numbers(list: &str) -> Vec<u32> {
    list.trim()
        .split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse::<u32>().ok()?..=last.parse().ok()?)
        })
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(numbers("\n"), []);
        assert_eq!(numbers("1-3,5\n"), [1, 2, 3, 5]);
        assert_eq!(numbers("7"), [7]);
        assert_eq!(numbers("x-3"), []);
    }
}

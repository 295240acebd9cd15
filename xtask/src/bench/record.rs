//! Figures for programs: JSON, one object a line, in `target/bench/<part>.jsonl`. Runs are appended.

use super::figures::{Figures, Side, Step};
use crate::{process, repository};
use anyhow::{Context, Result};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// What all figures of one run have in common.
struct Run {
    part: &'static str,
    /// Seconds since the epoch.
    at: u64,
    commit: String,
}

/// Appends one line per side of each step, and returns the file.
pub(super) fn append(part: &'static str, figures: &Figures) -> Result<PathBuf> {
    let run = Run {
        part,
        at: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        commit: commit()?,
    };
    let path = repository::target("bench")?.join(format!("{part}.jsonl"));
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    for line in lines(&run, figures) {
        writeln!(file, "{line}").context("write the figures")?;
    }
    Ok(path)
}

fn commit() -> Result<String> {
    let mut git = Command::new("git");
    git.current_dir(repository::root());
    process::output(git.args(["describe", "--always", "--dirty"]))
}

fn lines(run: &Run, figures: &Figures) -> Vec<String> {
    let of_step = |step: &Step| -> Vec<String> {
        let ours = step.sides.first().map(|side| side.name.clone());
        let of_side = |side: &Side| line(run, step, side, ours.as_deref().unwrap_or_default());
        step.sides.iter().map(of_side).collect()
    };
    figures.steps().iter().flat_map(of_step).collect()
}

fn line(run: &Run, step: &Step, side: &Side, ours: &str) -> String {
    let Run { part, at, commit } = run;
    let mut line = format!(r#"{{"part":{},"at":{at}"#, text(part));
    for (key, value) in [
        ("commit", commit.as_str()),
        ("step", &step.name),
        ("unit", &step.unit),
        ("side", &side.name),
    ] {
        line += &format!(r#","{key}":{}"#, text(value));
    }
    let (count, median, p90) = (side.count(), side.median(), side.p90());
    line += &format!(r#","samples":{count},"median":{median:.3},"p90":{p90:.3}"#);
    let ratio = (side.name != ours).then(|| step.ratio(ours, &side.name));
    if let Some(ratio) = ratio.flatten() {
        line += &format!(r#","ours":{},"ratio":{ratio:.4}"#, text(ours));
    }
    line + "}"
}

/// A JSON string. Not serde: this is the one place here that needs it.
fn text(text: &str) -> String {
    let mut json = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if c.is_control() => json += &format!("\\u{:04x}", u32::from(c)),
            c => json.push(c),
        }
    }
    json + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_of_a_step_is_an_object_on_a_line() {
        let mut figures = Figures::default();
        figures.take_line("sample\tours\tA \"b\"\tms\t1").unwrap();
        figures.take_line("sample\tpeer\tA \"b\"\tms\t4").unwrap();
        let run = Run {
            part: "pods",
            at: 7,
            commit: "abc".to_owned(),
        };
        let head = r#"{"part":"pods","at":7,"commit":"abc","step":"A \"b\"","unit":"ms""#;
        let expected = [
            format!(r#"{head},"side":"ours","samples":1,"median":1.000,"p90":1.000}}"#),
            format!(
                r#"{head},"side":"peer","samples":1,"median":4.000,"p90":4.000,"ours":"ours","ratio":0.2500}}"#
            ),
        ];
        assert_eq!(lines(&run, &figures), expected);
    }
}

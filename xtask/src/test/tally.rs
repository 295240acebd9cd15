//! Counting results from what test programs print.

use crate::process;
use std::process::ExitCode;

/// How often what happened.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    passed: u64,
    failed: u64,
    /// What failed, for the end of a long run.
    failures: Vec<String>,
    /// Tests that did not run, with the reason that each gives.
    skipped: Vec<String>,
    /// Suites that have no result, with the reason.
    unfinished: Vec<String>,
    /// What failed once and passed when it ran again.
    second_try: Vec<String>,
    results_seen: u64,
}

impl Tally {
    /// Takes in one line of a test program's output, in the words of Rust's own test harness.
    pub(super) fn take_line(&mut self, suite: &str, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.passed += count(counts, "passed");
            self.failed += count(counts, "failed");
            self.results_seen += 1;
        } else if let Some((name, result)) = line
            .strip_prefix("test ")
            .and_then(|test| test.split_once(" ... "))
        {
            self.take_test(suite, name, result);
        }
    }

    fn take_test(&mut self, suite: &str, name: &str, result: &str) {
        if result == "FAILED" {
            self.failures.push(format!("{suite}: {name}"));
        } else if let Some(reason) = result.strip_prefix("ignored") {
            let reason = reason.trim_start_matches([',', ' ']);
            let reason = if reason.is_empty() {
                "it gives no reason"
            } else {
                reason
            };
            self.skipped.push(format!("{suite}: {name}: {reason}"));
        }
    }

    /// Counts something that failed as a whole.
    pub(super) fn fail(&mut self, suite: &str, why: &str) {
        self.failed += 1;
        self.failures.push(format!("{suite}: {why}"));
    }

    /// Counts a program that failed without saying which test: it crashed, or was never built.
    pub(super) fn must_have_failures(&mut self, suite: &str, why: &str) {
        if self.failed == 0 {
            self.fail(suite, why);
        }
    }

    /// Counts a program that ended well without any result as a failure, too.
    pub(super) fn must_have_results(&mut self, suite: &str) {
        if self.results_seen == 0 {
            self.must_have_failures(suite, "it reports no results");
        }
    }

    /// Notes a suite that could not be run to its end, through no fault of its own.
    pub(super) fn unfinished(&mut self, suite: &str, why: &str) {
        self.unfinished.push(format!("{suite}: {why}"));
    }

    pub(super) fn has_failures(&self) -> bool {
        self.failed > 0
    }

    /// The tests that failed, by name, where nothing else did and they are at most `most`.
    pub(super) fn failed_tests(&self, suite: &str, most: usize) -> Option<Vec<String>> {
        let prefix = format!("{suite}: ");
        let names = self
            .failures
            .iter()
            .map(|failure| failure.strip_prefix(&prefix));
        let names: Vec<&str> = names.collect::<Option<_>>()?;
        let are_tests = names.iter().all(|name| !name.contains(' '));
        let some = (1..=most).contains(&names.len());
        let nothing_else = u64::try_from(names.len()) == Ok(self.failed);
        (some && are_tests && nothing_else).then(|| names.into_iter().map(Into::into).collect())
    }

    /// What failed has run again: what passed then counts as passed, and is named.
    pub(super) fn correct_by(&mut self, again: &Self) {
        let (passed, failed): (Vec<_>, Vec<_>) = std::mem::take(&mut self.failures)
            .into_iter()
            .partition(|failure| again.results_seen > 0 && !again.failures.contains(failure));
        let corrected = passed.len() as u64;
        self.passed += corrected;
        self.failed -= corrected;
        self.failures = failed;
        self.second_try.extend(passed);
    }

    pub(super) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.failures.extend(other.failures);
        self.skipped.extend(other.skipped);
        self.unfinished.extend(other.unfinished);
        self.second_try.extend(other.second_try);
        self.results_seen += other.results_seen;
    }

    /// The summary, for people and for whoever reads the last line.
    pub(super) fn print(&self) {
        for skipped in &self.skipped {
            process::say(&format!("skipped: {skipped}"));
        }
        for second_try in &self.second_try {
            process::say(&format!("passed at the second try only: {second_try}"));
        }
        for failure in &self.failures {
            process::say(&format!("failed: {failure}"));
        }
        for unfinished in &self.unfinished {
            process::say(&format!("no result: {unfinished}"));
        }
        process::say(&format!("{} passed, {} failed", self.passed, self.failed));
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        match (self.failed, self.unfinished.len()) {
            (0, 0) => ExitCode::SUCCESS,
            (0, _) => ExitCode::from(crate::node::Died::EXIT_CODE),
            _ => ExitCode::FAILURE,
        }
    }
}

/// The number before `word` in "ok. 3 passed; 0 failed; …".
fn count(counts: &str, word: &str) -> u64 {
    let words: Vec<&str> = counts
        .split([' ', ';'])
        .filter(|word| !word.is_empty())
        .collect();
    let number = words
        .windows(2)
        .find(|pair| pair[1] == word)
        .and_then(|pair| pair[0].parse().ok());
    number.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(output: &str) -> Tally {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.take_line("s", line));
        tally
    }

    #[test]
    fn results_of_several_programs_add_up() {
        let tally = tally(
            "running 2 tests\ntest a ... ok\ntest b ... FAILED\n\
             test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n\
             test result: ok. 41 passed; 0 failed; 0 ignored; 0 measured; 2 filtered out\n",
        );
        assert_eq!((tally.passed, tally.failed), (42, 1));
        assert_eq!(tally.failures, ["s: b"]);
    }

    #[test]
    fn a_skipped_test_is_named_with_its_reason() {
        let tally = tally("test a::b ... ignored, needs a second node\ntest c ... ignored\n");
        assert_eq!(
            tally.skipped,
            ["s: a::b: needs a second node", "s: c: it gives no reason"]
        );
    }

    #[test]
    fn a_program_that_says_nothing_has_failed() {
        let mut tally = tally("thread main panicked\n");
        tally.must_have_results("s");
        assert_eq!(tally.failed, 1);
    }

    #[test]
    fn a_dead_node_is_neither_passed_nor_failed() {
        let mut tally = tally("test result: ok. 1 passed; 0 failed; 0 ignored\n");
        tally.unfinished("s", "the node died");
        assert_eq!((tally.passed, tally.failed), (1, 0));
        assert_ne!(tally.exit_code(), ExitCode::SUCCESS);
    }

    #[test]
    fn a_second_try_corrects_what_passed_and_names_it() {
        let mut tally = Tally::default();
        for line in ["test a ... ok", "test b ... FAILED", "test c ... FAILED"] {
            tally.take_line("s", line);
        }
        tally.take_line("s", "test result: FAILED. 1 passed; 2 failed; 0 ignored");
        assert_eq!(tally.failed_tests("s", 1), None);
        let names = ["b", "c"].map(str::to_owned).to_vec();
        assert_eq!(tally.failed_tests("s", 2), Some(names));

        let mut again = Tally::default();
        tally.correct_by(&again);
        assert_eq!(tally.failed, 2, "it did not run");
        again.take_line("s", "test c ... FAILED");
        again.take_line("s", "test result: FAILED. 1 passed; 1 failed; 0 ignored");
        tally.correct_by(&again);
        assert_eq!((tally.passed, tally.failed), (2, 1));
        assert_eq!(tally.second_try, ["s: b"]);
        assert_eq!(tally.failures, ["s: c"]);
    }
}

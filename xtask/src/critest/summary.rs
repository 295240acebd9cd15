//! What became of each spec: counted by group, then those that did not pass, with reasons.

use super::left_out::LeftOut;
use crate::table;
use std::collections::BTreeMap;

/// Columns of the table.
const COLUMNS: [&str; 5] = ["group", "passed", "failed", "skipped", "left out"];

/// How much is shown of what went wrong.
const LONGEST: usize = 600;

/// What became of a spec.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Passed,
    Failed(String),
    /// It found that it makes no sense here.
    Skipped(String),
    /// By us.
    LeftOut(&'static str),
}

/// All of them.
pub(super) struct Summary {
    left_out: Vec<&'static LeftOut>,
    /// Fates of specs by group, with their names.
    groups: BTreeMap<String, Vec<(String, Fate)>>,
    /// How many the options of the command excluded.
    not_asked_for: usize,
}

impl Summary {
    /// Of no specs yet.
    pub(super) fn new(left_out: Vec<&'static LeftOut>) -> Self {
        Self {
            left_out,
            groups: BTreeMap::new(),
            not_asked_for: 0,
        }
    }

    /// Takes a line of `critest.jq` in, and says whether it was one.
    pub(super) fn take_line(&mut self, line: &str) -> bool {
        let fields: Vec<&str> = line.split('\t').collect();
        let ["spec", state, asked, group, name, text, said] = fields[..] else {
            return false;
        };
        if (state, asked, said) == ("skipped", "false", "") {
            self.not_asked_for += 1;
        } else {
            let fate = self.fate(state, text, said);
            let group = self.groups.entry(group.to_owned()).or_default();
            group.push((name.to_owned(), fate));
        }
        true
    }

    fn fate(&self, state: &str, text: &str, said: &str) -> Fate {
        // As jq writes the end of a line.
        let first_line = said.split("\\n").next().unwrap_or_default();
        let left_out = self.left_out.iter().find(|some| some.has(text));
        match (state, said, left_out) {
            ("passed", ..) => Fate::Passed,
            ("skipped", "", Some(some)) => Fate::LeftOut(some.why),
            ("skipped", "", None) => Fate::Failed("it did not run, and nobody left it out".into()),
            ("skipped", ..) => Fate::Skipped(first_line.to_owned()),
            // What went wrong stands behind the first line.
            _ => Fate::Failed(one_line(said)),
        }
    }

    /// Lines for whoever ran it.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut rows = vec![COLUMNS.map(str::to_owned).to_vec()];
        rows.extend(self.groups.iter().map(|(group, specs)| {
            let counts = counts(specs.iter()).map(|count| count.to_string());
            [vec![group.clone()], counts.to_vec()].concat()
        }));
        let mut lines = table::lines(&rows, 1);
        let specs = || self.groups.iter();
        let told = specs().flat_map(|(group, specs)| {
            let told = specs.iter();
            told.filter_map(move |(name, fate)| tell(fate, &format!("{group}: {name}")))
        });
        let mut told: Vec<String> = told.collect();
        told.sort();
        lines.extend(told);
        let [passed, failed, skipped, left_out] = counts(self.groups.values().flatten());
        let all = passed + failed + skipped + left_out;
        lines.push(format!(
            "critest: {passed} passed, {failed} failed, {skipped} skipped, {left_out} left out: \
             {all} specs; {} were not asked for",
            self.not_asked_for
        ));
        lines
    }
}

/// Of each fate.
fn counts<'a>(specs: impl Iterator<Item = &'a (String, Fate)>) -> [usize; 4] {
    let mut counts = [0; 4];
    for (_, fate) in specs {
        let index = match fate {
            Fate::Passed => 0,
            Fate::Failed(_) => 1,
            Fate::Skipped(_) => 2,
            Fate::LeftOut(_) => 3,
        };
        counts[index] += 1;
    }
    counts
}

/// What there is to say of the spec `name`.
fn tell(fate: &Fate, name: &str) -> Option<String> {
    match fate {
        Fate::Passed => None,
        Fate::Failed(why) => Some(format!("FAILED    {name}: {why}")),
        Fate::Skipped(why) => Some(format!("skipped   {name}: {why}")),
        Fate::LeftOut(why) => Some(format!("left out  {name}: {why}")),
    }
}

fn one_line(said: &str) -> String {
    let said = said.replace("\\n", " ").replace("\\t", " ");
    let words: Vec<&str> = said.split_whitespace().collect();
    words.join(" ").chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::critest::left_out;

    fn summary(handler: &str, specs: &[&str]) -> Vec<String> {
        let mut summary = Summary::new(left_out::of_handler(handler));
        assert!(specs.iter().all(|spec| summary.take_line(spec)));
        summary.lines()
    }

    #[test]
    fn every_spec_is_counted_once_and_what_did_not_pass_has_a_reason() {
        let lines = summary(
            "kvm",
            &[
                "spec\tpassed\ttrue\tPods\truns\tPods runs\t",
                "spec\tfailed\ttrue\tPods\tstops\tPods stops\tnot so\\nexpected  1",
                "spec\tskipped\ttrue\tPods\thas HostPID\tPods has HostPID\t",
                "spec\tskipped\ttrue\tImages\tpull\tImages pull\tno registry\\nat all",
                "spec\tskipped\tfalse\tImages\tpublic image with digest\tpublic image with digest\t",
            ],
        );
        let why = left_out::of_handler("kvm")[1].why;
        let expected = [
            "group   passed  failed  skipped  left out",
            "Images       0       0        1         0",
            "Pods         1       1        0         1",
            "FAILED    Pods: stops: not so expected 1",
            &format!("left out  Pods: has HostPID: {why}"),
            "skipped   Images: pull: no registry",
            "critest: 1 passed, 1 failed, 1 skipped, 1 left out: 4 specs; 1 were not asked for",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_spec_that_nobody_left_out_and_did_not_run_has_failed() {
        let spec = "spec\tskipped\ttrue\tPods\thas HostPID\tPods has HostPID\t";
        let lines = summary("namespaced", &[spec]);
        assert!(
            lines
                .last()
                .unwrap()
                .starts_with("critest: 0 passed, 1 failed")
        );
        assert!(lines.iter().any(|line| line.contains("nobody left it out")));
    }

    #[test]
    fn other_lines_are_none_of_a_spec() {
        assert!(!Summary::new(Vec::new()).take_line("critest: 3 specs so far"));
    }
}

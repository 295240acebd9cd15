//! What was measured: samples by step and side, their statistics, and the table of them.

use anyhow::{Context, Result};

/// The first column of the table that holds numbers.
pub(super) const NUMBERS_FROM: usize = 2;

/// Everything that one part measured, in the order in which it came.
#[derive(Debug, Default)]
pub(super) struct Figures {
    steps: Vec<Step>,
    notes: Vec<String>,
}

/// One thing that all sides do.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) unit: String,
    pub(super) sides: Vec<Side>,
}

/// What one side took for it.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) name: String,
    samples: Vec<f64>,
}

impl Figures {
    /// Takes a line of the client, if it is for us: `sample` with side, step, unit and value, or `note`.
    pub(super) fn take_line(&mut self, line: &str) -> Result<bool> {
        match line.split('\t').collect::<Vec<_>>()[..] {
            ["sample", side, step, unit, value] => {
                let value = value.parse().with_context(|| format!("read {line:?}"))?;
                self.add(side, step, unit, value);
            }
            ["note", text] => self.notes.push(text.to_owned()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn add(&mut self, side: &str, step: &str, unit: &str, value: f64) {
        let is_it = |s: &Step| s.name == step && s.unit == unit;
        let index = self.steps.iter().position(is_it).unwrap_or_else(|| {
            self.steps.push(Step {
                name: step.to_owned(),
                unit: unit.to_owned(),
                sides: Vec::new(),
            });
            self.steps.len() - 1
        });
        self.steps[index].add(side, value);
    }

    /// The steps in the order in which they were first heard of.
    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// What the reader has to know beside.
    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// A head and one row a step: median and 90th percentile of each side, and after each peer the
    /// ratio of ours to it.
    pub(super) fn rows(&self) -> Vec<Vec<String>> {
        let sides = self.sides();
        let mut head = vec!["STEP".to_owned(), "UNIT".to_owned()];
        for (index, side) in sides.iter().enumerate() {
            head.extend([side.to_uppercase(), "P90".to_owned()]);
            if index > 0 {
                head.push("RATIO".to_owned());
            }
        }
        let rows = self.steps.iter().map(|step| step.row(&sides));
        std::iter::once(head).chain(rows).collect()
    }

    /// The sides of all steps; ours is the first.
    fn sides(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for side in self.steps.iter().flat_map(|step| &step.sides) {
            if !names.contains(&side.name.as_str()) {
                names.push(&side.name);
            }
        }
        names
    }
}

impl Step {
    fn add(&mut self, side: &str, value: f64) {
        match self.sides.iter_mut().find(|known| known.name == side) {
            Some(known) => known.samples.push(value),
            None => self.sides.push(Side {
                name: side.to_owned(),
                samples: vec![value],
            }),
        }
    }

    fn side(&self, name: &str) -> Option<&Side> {
        self.sides.iter().find(|side| side.name == name)
    }

    /// How much of a peer's median ours is: below one is better.
    pub(super) fn ratio(&self, ours: &str, peer: &str) -> Option<f64> {
        let ratio = self.side(ours)?.median() / self.side(peer)?.median();
        ratio.is_finite().then_some(ratio)
    }

    fn row(&self, sides: &[&str]) -> Vec<String> {
        let mut row = vec![self.name.clone(), self.unit.clone()];
        let absent = || "-".to_owned();
        for (index, name) in sides.iter().enumerate() {
            let side = self.side(name);
            row.push(side.map_or_else(absent, |side| number(side.median())));
            row.push(side.map_or_else(absent, |side| number(side.p90())));
            if index > 0 {
                let ratio = self.ratio(sides[0], name);
                row.push(ratio.map_or_else(absent, |ratio| format!("{ratio:.2}")));
            }
        }
        row
    }
}

impl Side {
    /// How often it was measured.
    pub(super) fn count(&self) -> usize {
        self.samples.len()
    }

    /// The value that half of the samples are below.
    pub(super) fn median(&self) -> f64 {
        percentile(&self.samples, 50)
    }

    /// The value that nine of ten samples are below.
    pub(super) fn p90(&self) -> f64 {
        percentile(&self.samples, 90)
    }
}

/// Between two samples it is as far as `percent` is between their ranks, which makes the median of an
/// even number the mean of the middle two.
fn percentile(samples: &[f64], percent: u8) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let hundredths = last * usize::from(percent);
    let (below, above) = (hundredths / 100, hundredths.div_ceil(100));
    let between = (hundredths % 100) as f64 / 100.0;
    sorted[below] + (sorted[above] - sorted[below]) * between
}

/// Three digits that say something.
fn number(value: f64) -> String {
    match value.abs() {
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests;

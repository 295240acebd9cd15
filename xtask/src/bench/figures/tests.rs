//! Statistics, and the table of them.

use super::*;
use crate::table;

#[track_caller]
fn check_percentile(samples: &[f64], percent: u8, expected: f64) {
    let found = percentile(samples, percent);
    assert!((found - expected).abs() < 1e-9, "{found} for {expected}");
}

fn figures(lines: &[&str]) -> Figures {
    let mut figures = Figures::default();
    for line in lines {
        assert!(figures.take_line(line).unwrap(), "{line}");
    }
    figures
}

#[test]
fn the_median_of_an_even_number_is_between_the_middle_two() {
    check_percentile(&[9.0, 1.0, 5.0], 50, 5.0);
    check_percentile(&[4.0, 1.0, 2.0, 3.0], 50, 2.5);
}

#[test]
fn nine_of_ten_are_below_the_90th_percentile() {
    let samples: Vec<f64> = (0..=10).map(f64::from).collect();
    check_percentile(&samples, 90, 9.0);
    check_percentile(&[1.0, 2.0], 90, 1.9);
}

#[test]
fn one_sample_is_every_percentile_and_none_is_no_number() {
    check_percentile(&[7.0], 50, 7.0);
    check_percentile(&[7.0], 90, 7.0);
    assert!(percentile(&[], 50).is_nan());
}

#[test]
fn a_table_has_each_side_with_the_ratio_of_ours_to_it() {
    let figures = figures(&[
        "sample\tours\tStart\tms\t100",
        "sample\tpeer\tStart\tms\t400",
        "sample\tours\tStart\tms\t300",
        "sample\tpeer\tStart\tms\t400",
        "sample\tours\tboot\tms\t7",
    ]);
    let expected = [
        "STEP   UNIT  OURS   P90  PEER  P90  RATIO",
        "Start  ms     200   280   400  400   0.50",
        "boot   ms    7.00  7.00     -    -      -",
    ];
    assert_eq!(table::lines(&figures.rows(), NUMBERS_FROM), expected);
}

#[test]
fn a_side_alone_has_no_ratio() {
    let figures = figures(&["sample\tours\tboot\tms\t12.345"]);
    assert_eq!(figures.rows()[0].len(), 4);
    assert_eq!(figures.rows()[1], ["boot", "ms", "12.3", "12.3"]);
}

#[test]
fn notes_are_kept_and_other_lines_are_not_taken() {
    let mut figures = figures(&["note\tit was cold"]);
    assert_eq!(figures.notes(), ["it was cold"]);
    assert!(!figures.take_line("round 1").unwrap());
    assert!(figures.take_line("sample\tours\tboot\tms\tlong").is_err());
}

#[test]
fn a_peer_that_took_no_time_has_no_ratio() {
    let figures = figures(&["sample\tours\tx\tms\t1", "sample\tpeer\tx\tms\t0"]);
    assert_eq!(figures.steps()[0].ratio("ours", "peer"), None);
}

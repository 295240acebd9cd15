//! Whoever opens `unsafe` says why it cannot be safe.

use super::Finding;
use super::sources::Source;

/// How far from the attribute the reason may begin.
const REACH: usize = 8;

/// Each lint expectation for unsafe code has its `// UNSAFETY:` comment nearby.
pub(super) fn check(source: &Source) -> Vec<Finding> {
    let lines: Vec<&str> = source.text.lines().map(str::trim).collect();
    let is_reason = |line: &&str| line.starts_with("// UNSAFETY:");
    let mut findings = Vec::new();
    for (index, _) in lines
        .iter()
        .enumerate()
        .filter(|(_, line)| opens_unsafe(line))
    {
        let nearby = &lines[index.saturating_sub(REACH)..lines.len().min(index + REACH)];
        if !nearby.iter().any(is_reason) {
            let what = "opens unsafe code without `// UNSAFETY:`: say why it cannot be safe";
            findings.push(Finding::new(&source.path, index + 1, what));
        }
    }
    findings
}

/// The lint's name is on a line of its own when rustfmt has broken the attribute up.
fn opens_unsafe(line: &str) -> bool {
    let attribute = line.starts_with("#[") || line.starts_with("#![");
    let names = attribute && (line.contains("(unsafe_code") || line.contains(" unsafe_code"));
    names || line == "unsafe_code,"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_lines(text: &str, lines: &[usize]) {
        let source = Source {
            path: "a.rs".to_owned(),
            text: text.to_owned(),
        };
        let found: Vec<usize> = check(&source).iter().map(|finding| finding.line).collect();
        assert_eq!(found, lines);
    }

    #[test]
    fn an_opening_needs_its_reason() {
        check_lines("//! A.\n#![expect(unsafe_code, reason = \"x\")]\n", &[2]);
        check_lines(
            "#[expect(\n    unsafe_code,\n    reason = \"x\"\n)]\n",
            &[2],
        );
        check_lines(
            "// UNSAFETY: no binding.\n#[expect(unsafe_code, reason = \"x\")]\n",
            &[],
        );
    }
}

//! Templates as clusters have them, and mistakes in them.

use proptest::prelude::*;

use super::*;

fn cidrs(texts: &[&str]) -> PodCidrs {
    PodCidrs::new(texts.iter().map(|text| text.parse().unwrap()).collect()).unwrap()
}

#[track_caller]
fn check(template: &str, told: &[&str], expected: &str) {
    let template = Template::parse(template).unwrap();
    assert_eq!(template.render(&cidrs(told)).unwrap(), expected);
}

const DUAL: &[&str] = &["10.1.0.0/24", "fd00:1::/64"];

#[test]
fn places_are_filled() {
    check(
        "a {{.PodCIDR}} b {{ .PodCIDR }}",
        DUAL,
        "a 10.1.0.0/24 b 10.1.0.0/24",
    );
    check(
        "{{.PodCIDRRanges}}",
        DUAL,
        r#"["10.1.0.0/24","fd00:1::/64"]"#,
    );
    check("{{.Routes}}", &["fd00:1::/64"], r#"["::/0"]"#);
    check("no places", DUAL, "no places");
}

#[test]
fn lists_are_gone_through_as_in_templates_for_other_runtimes() {
    let ranges = r#"[{{range $i, $range := .PodCIDRRanges}}{{if $i}}, {{end}}[{"subnet": "{{$range}}"}]{{end}}]"#;
    check(
        ranges,
        DUAL,
        r#"[[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1::/64"}]]"#,
    );
    check("{{range .Routes}}<{{.}}>{{end}}", DUAL, "<0.0.0.0/0><::/0>");
    check(
        "{{range $r := .Routes}}{{$r}} {{else}}none{{end}}",
        DUAL,
        "0.0.0.0/0 ::/0 ",
    );
    check("{{if .Routes}}yes{{else}}no{{end}}", DUAL, "yes");
}

#[test]
fn comments_and_spaces_go_as_they_are_told_to() {
    check("a{{/* why */}}b", DUAL, "ab");
    check("a \n {{- .PodCIDR -}} \n b", DUAL, "a10.1.0.0/24b");
}

#[track_caller]
fn check_refused(template: &str, line: usize) {
    let render = |template: Template| template.render(&cidrs(DUAL));
    let error = Template::parse(template).and_then(render).unwrap_err();
    let begin = format!("render its template, line {line}: ");
    assert!(error.to_string().starts_with(&begin), "{error}");
}

#[test]
fn mistakes_are_named_with_their_line() {
    check_refused("\n{{.Other}}", 2);
    check_refused("{{printf \"%s\" .PodCIDR}}", 1);
    check_refused("\n\n{{range .Routes}}", 3);
    check_refused("{{end}}", 1);
    check_refused("{{if .PodCIDR}}{{else}}{{else}}{{end}}", 1);
    check_refused("{{range .PodCIDR}}{{end}}", 1);
    check_refused("{{range $a, $b, $c := .Routes}}{{end}}", 1);
    check_refused("{{range .Routes}}{{.PodCIDR}}{{end}}", 1);
    check_refused("{{$unknown}}", 1);
    check_refused("{{.}}", 1);
    check_refused("\n{{", 2);
    check_refused(&"{{if .PodCIDR}}".repeat(10_000), 1);
}

proptest! {
    #[test]
    fn any_text_is_rendered_or_refused(
        parts in prop::collection::vec(
            prop_oneof![
                Just("{{range .Routes}}"), Just("{{range $i, $x := .PodCIDRRanges}}"),
                Just("{{if $i}}"), Just("{{else}}"), Just("{{end}}"), Just("{{.}}"),
                Just("{{-"), Just("-}}"), Just("{{"), Just("}}"), Just("$x"), Just("é\n"),
            ],
            0..20,
        ),
    ) {
        if let Ok(template) = Template::parse(&parts.concat()) {
            template.render(&cidrs(DUAL)).ok();
        }
    }
}

# From ginkgo's JSON report: counts by group, then what failed and what skipped itself, with reasons.
# Specs that the focus left out are "skipped" without a message, and are not ours to count.
def group: (.ContainerHierarchyTexts // []) | map(sub("\\[k8s.io\\] "; "")) | .[0:2] | join(" / ");
def name: .LeafNodeText | sub(" \\[Conformance\\]"; "");
def first_line: split("\n")[0];
# What went wrong stands behind the first line.
def one_line: [splits("\\s+")] | join(" ") | .[0:600];

[.[0].SpecReports[] | select(.LeafNodeType == "It")
    | select(.State != "skipped" or ((.Failure.Message // "") != ""))] as $ran
| ($ran | group_by(group)[]
    | "\(map(select(.State == "passed")) | length) passed, \(map(select(.State != "passed" and .State != "skipped")) | length) failed, \(map(select(.State == "skipped")) | length) skipped  \(.[0] | group)"),
  ($ran[] | select(.State != "passed" and .State != "skipped")
    | "FAILED   \(group): \(name): \(.Failure.Message // "" | one_line)"),
  ($ran[] | select(.State == "skipped") | "skipped  \(group): \(name): \(.Failure.Message | first_line)"),
  "critest: \($ran | map(select(.State == "passed")) | length) passed, \($ran | map(select(.State != "passed" and .State != "skipped")) | length) failed, \($ran | map(select(.State == "skipped")) | length) skipped"

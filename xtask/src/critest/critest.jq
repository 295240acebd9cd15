# From ginkgo's JSON report, a line for each spec, as `summary.rs` reads it: what became of it, whether
# it was asked for, its group, its name, all of its text, and what went wrong.
def text: (.ContainerHierarchyTexts // []) + [.LeafNodeText] | join(" ");
def group: (.ContainerHierarchyTexts // []) | map(sub("\\[k8s.io\\] "; "")) | .[0:2] | join(" / ");
def name: .LeafNodeText | sub(" \\[Conformance\\]"; "");
# As ginkgo understands -ginkgo.focus and -ginkgo.skip.
def asked: (($focus == "") or test($focus)) and (($unwanted == "") or (test($unwanted) | not));

.[0].SpecReports[] | select(.LeafNodeType == "It")
| ["spec", .State, (text | asked), group, name, text, (.Failure.Message // "")] | @tsv

//! Which files of a cgroup say what was asked for.

use agent_api::v1;

use super::CgroupError;

/// The kernel's default (`cpu.max`).
const DEFAULT_PERIOD_US: u64 = 100_000;

/// A file and what to write to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) file: String,
    pub(super) value: String,
    /// It limits to nothing what a kernel without the file does not have at all.
    pub(super) needless: bool,
}

impl Limit {
    fn new(file: &str, value: impl ToString) -> Self {
        Self {
            file: file.to_owned(),
            value: value.to_string(),
            needless: false,
        }
    }
}

/// The files to write, in order. Those given verbatim come last.
pub(super) fn files(resources: &v1::Resources) -> Result<Vec<Limit>, CgroupError> {
    let mut all = Vec::new();
    if let Some(weight) = resources.cpu_weight {
        all.push(Limit::new("cpu.weight", weight));
    }
    all.extend(cpu_max(resources)?);
    if !resources.cpuset_cpus.is_empty() {
        all.push(Limit::new("cpuset.cpus", &resources.cpuset_cpus));
    }
    if !resources.cpuset_mems.is_empty() {
        all.push(Limit::new("cpuset.mems", &resources.cpuset_mems));
    }
    if let Some(bytes) = resources.memory_bytes {
        all.push(Limit::new("memory.max", or_max(bytes)));
    }
    if let Some(bytes) = resources.swap_bytes {
        let needless = bytes <= 0;
        all.push(Limit {
            needless,
            ..Limit::new("memory.swap.max", or_max(bytes))
        });
    }
    if let Some(pids) = resources.pids_max {
        all.push(Limit::new("pids.max", or_max(pids)));
    }
    for (size, bytes) in sorted(&resources.hugepages) {
        let file = format!("hugetlb.{}.max", plain(size)?);
        all.push(Limit {
            needless: *bytes == 0,
            ..Limit::new(&file, bytes)
        });
    }
    for (file, value) in sorted(&resources.unified) {
        all.push(verbatim(file, value)?);
    }
    Ok(all)
}

fn cpu_max(resources: &v1::Resources) -> Result<Option<Limit>, CgroupError> {
    let period = resources.cpu_period_us.filter(|period| *period > 0);
    Ok(match (resources.cpu_quota_us, period) {
        (None, None) => None,
        // A period alone changes nothing that could be exceeded.
        (Some(..=0) | None, period) => {
            let period = period.unwrap_or(DEFAULT_PERIOD_US);
            Some(Limit::new("cpu.max", format!("max {period}")))
        }
        (Some(quota), period) => {
            let period = period.unwrap_or(DEFAULT_PERIOD_US);
            Some(Limit::new("cpu.max", format!("{quota} {period}")))
        }
    })
}

fn verbatim(file: &str, value: &str) -> Result<Limit, CgroupError> {
    let file = plain(file)?;
    // Those of the hierarchy itself would move processes or freeze them.
    if !file.contains('.') || file.starts_with("cgroup.") {
        return Err(CgroupError::Invalid(format!(
            "{file:?} is no limit of a cgroup"
        )));
    }
    let needless = file == "memory.swap.max" && matches!(value.trim(), "0" | "max");
    Ok(Limit {
        needless,
        ..Limit::new(file, value)
    })
}

fn plain(name: &str) -> Result<&str, CgroupError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(allowed) {
        return Err(CgroupError::Invalid(format!(
            "{name:?} is no file of a cgroup"
        )));
    }
    Ok(name)
}

fn or_max(value: i64) -> String {
    if value < 0 {
        "max".to_owned()
    } else {
        value.to_string()
    }
}

fn sorted<V>(map: &std::collections::HashMap<String, V>) -> Vec<(&String, &V)> {
    let mut all: Vec<_> = map.iter().collect();
    all.sort_by_key(|(key, _)| *key);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(resources: &v1::Resources, expected: &[(&str, &str)]) {
        let files = files(resources).unwrap();
        let got: Vec<_> = files
            .iter()
            .map(|limit| (limit.file.as_str(), limit.value.as_str()))
            .collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn what_is_not_given_is_not_changed() {
        check(&v1::Resources::default(), &[]);
    }

    #[test]
    fn limits_are_written_as_the_kernel_reads_them() {
        let resources = v1::Resources {
            cpu_weight: Some(39),
            cpu_quota_us: Some(20_000),
            cpu_period_us: Some(100_000),
            memory_bytes: Some(15 << 20),
            swap_bytes: Some(0),
            cpuset_cpus: "0-1".into(),
            pids_max: Some(-1),
            hugepages: [("2MB".to_owned(), 0)].into(),
            unified: [("memory.oom.group".to_owned(), "1".to_owned())].into(),
            ..v1::Resources::default()
        };
        check(
            &resources,
            &[
                ("cpu.weight", "39"),
                ("cpu.max", "20000 100000"),
                ("cpuset.cpus", "0-1"),
                ("memory.max", "15728640"),
                ("memory.swap.max", "0"),
                ("pids.max", "max"),
                ("hugetlb.2MB.max", "0"),
                ("memory.oom.group", "1"),
            ],
        );
    }

    #[test]
    fn no_quota_is_no_limit() {
        let resources = |quota| v1::Resources {
            cpu_quota_us: Some(quota),
            ..Default::default()
        };
        check(&resources(0), &[("cpu.max", "max 100000")]);
        check(&resources(-1), &[("cpu.max", "max 100000")]);
        check(&resources(5000), &[("cpu.max", "5000 100000")]);
    }

    #[track_caller]
    fn check_refused(file: &str) {
        let unified = [(file.to_owned(), "1".to_owned())].into();
        let resources = v1::Resources {
            unified,
            ..v1::Resources::default()
        };
        assert!(
            matches!(files(&resources), Err(CgroupError::Invalid(_))),
            "{file}"
        );
    }

    #[test]
    fn only_limits_are_written_verbatim() {
        for file in [
            "",
            "cgroup.procs",
            "cgroup.freeze",
            "../x",
            "a/memory.max",
            "memory",
            ".x.y",
        ] {
            check_refused(file);
        }
    }
}

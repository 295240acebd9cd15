//! Debian packages of the machine we run on.

use crate::process;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// The release that everything here is made for.
const RELEASE: &str = "bookworm";

/// Installs those of `packages` that are missing. Safe to repeat; silent when there is nothing to do.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> = packages
        .iter()
        .copied()
        .filter(|name| !is_installed(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    process::step(&format!("apt: installing {}", missing.join(" ")));
    process::run_quietly(apt_get()?.arg("update"))?;
    let mut install = apt_get()?;
    install
        .args(["install", "--yes", "--no-install-recommends"])
        .args(&missing);
    process::run_quietly(&mut install)
}

/// `apt-get` with root's rights, asking nothing.
fn apt_get() -> Result<Command> {
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new("apt-get")
    } else if which("sudo") {
        let mut sudo = Command::new("sudo");
        sudo.arg("apt-get");
        sudo
    } else {
        bail!("Debian packages are missing: run this as root, or install sudo");
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command.args(["-qq", "-o", "DPkg::Lock::Timeout=600"]);
    Ok(command)
}

/// Brings the package lists up to date.
pub(crate) fn update() -> Result<()> {
    process::step("apt: updating the package lists");
    process::run_quietly(apt_get()?.arg("update"))
}

/// Unpacks packages of Debian 12's backports below `dir`, without installing them or touching the
/// machine's own list of sources.
pub(crate) fn download_from_backports(packages: &[String], dir: &Path) -> Result<()> {
    let apt = dir.join("apt");
    fs::create_dir_all(apt.join("lists/partial")).context("make the package lists' directory")?;
    let key = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let mirror = mirror()?;
    let source = format!("deb [signed-by={key}] {mirror} {RELEASE}-backports main\n");
    fs::write(apt.join("sources.list"), source).context("write sources.list")?;
    let apt_get = || {
        let mut command = Command::new("apt-get");
        command
            .current_dir(&apt)
            .args(["-qq", "-o", "APT::Sandbox::User=root"]);
        let here = [
            ("Dir::Etc::SourceList", "sources.list"),
            ("Dir::State::Lists", "lists"),
        ];
        for (option, name) in here {
            command.args(["-o", &format!("{option}={}", apt.join(name).display())]);
        }
        command.args(["-o", "Dir::Etc::SourceParts=/dev/null", "-o", "Dir::Cache="]);
        command
    };
    process::run_quietly(apt_get().arg("update"))?;
    process::run_quietly(apt_get().arg("download").args(packages))?;
    for entry in fs::read_dir(&apt).context("list the downloads")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            process::run(
                Command::new("dpkg-deb")
                    .arg("--extract")
                    .arg(&path)
                    .arg(dir),
            )?;
        }
    }
    fs::remove_dir_all(&apt).context("remove the downloads")
}

/// Where this machine has its own packages from.
fn mirror() -> Result<String> {
    let format = "$(REPO_URI) $(RELEASE) $(COMPONENT)";
    let targets =
        process::output(Command::new("apt-get").args(["indextargets", "--format", format]))?;
    mirror_in(&targets).with_context(|| {
        format!("apt has no source for Debian's {RELEASE} main: add one to /etc/apt/sources.list")
    })
}

fn mirror_in(targets: &str) -> Option<String> {
    let wanted = format!(" {RELEASE} main");
    let mut mirrors = targets
        .lines()
        .filter_map(|line| line.strip_suffix(&wanted));
    mirrors.next().map(str::to_owned)
}

fn is_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query
        .args(["--show", "--showformat=${db:Status-Abbrev}", package])
        .stderr(Stdio::null());
    query
        .output()
        .is_ok_and(|output| output.stdout.starts_with(b"ii"))
}

fn which(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join(program).exists())
    })
}

/// The one package that the metapackage `name` depends on: the kernel it stands for today.
pub(crate) fn dependency(name: &str) -> Result<String> {
    let text = process::output(Command::new("apt-cache").args(["depends", "--important", name]))?;
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "));
    line.map(str::to_owned)
        .with_context(|| format!("package {name} depends on nothing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_that_of_the_release_itself() {
        let targets = "http://a/security/ bookworm-security main\nhttp://b/debian/ bookworm main\n";
        assert_eq!(mirror_in(targets).as_deref(), Some("http://b/debian/"));
        assert_eq!(mirror_in("http://c/ sid main\n"), None);
    }
}

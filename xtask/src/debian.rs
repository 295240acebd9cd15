//! Debian packages of the machine we run on.

use crate::process;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Debian 12's newer versions of some packages.
const BACKPORTS: &str = "http://deb.debian.org/debian bookworm-backports";

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
    let source = format!("deb [signed-by={key}] {BACKPORTS} main\n");
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

//! What QEMU's guest is: our guest's kernel and modules, with the node's own iperf3 and busybox for a
//! user land that serves what pods serve.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{LONG_SEGMENTS, SERVE, sysctl_path};
use crate::debian::run;

const MODULES: &str = "/usr/share/bulkhead/initramfs";
const ROOT: &str = "/run/bench/guest";
/// The kernel is told to run it, and not our agent, with [`ADDRESS`] in its environment.
pub(super) const INIT: &str = "/bench/init";
/// The variable with the guest's address and prefix length.
pub(super) const ADDRESS: &str = "ADDRESS";

/// Makes the initial RAM disk at `path`: that of our guests, and an archive after it, as the kernel allows.
pub(super) fn initramfs(path: &Path) -> Result<PathBuf> {
    let root = Path::new(ROOT);
    let _ = fs::remove_dir_all(root);
    for program in ["/usr/bin/iperf3", "/usr/bin/busybox"] {
        for file in with_libraries(program)? {
            copy(&file, root)?;
        }
    }
    for dir in ["bin", "proc", "tmp"] {
        fs::create_dir_all(root.join(dir))?;
    }
    for applet in ["sh", "cat", "nc", "ip", "insmod", "mount"] {
        symlink("/usr/bin/busybox", root.join("bin").join(applet))?;
    }
    let init = root.join(INIT.trim_start_matches('/'));
    fs::create_dir_all(init.parent().context("it is in a directory")?)?;
    fs::write(&init, script())?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    let pack = format!(
        "cp {MODULES} {path} && cd {ROOT} && find . | busybox cpio -o -H newc >> {path}",
        path = path.display()
    );
    run(Command::new("sh").args(["-c", &pack]))?;
    Ok(path.to_owned())
}

fn script() -> String {
    let (sysctl, value) = LONG_SEGMENTS;
    let sysctl = sysctl_path(sysctl);
    // The kernel found no console in the archive, so there is no input or output yet.
    format!(
        "#!/bin/sh\nexport PATH=/bin:/usr/bin\n\
         mount -t devtmpfs dev /dev\nmount -t proc proc /proc\nexec < /dev/null > /dev/console 2>&1\n\
         while read -r module; do insmod $module; done < /modules/order\n\
         echo {value} > {sysctl} || exit\n\
         ip link set lo up\nip link set eth0 up\nip address add ${ADDRESS} dev eth0\n{SERVE}\n"
    )
}

/// The program, its loader, and what that loads.
fn with_libraries(program: &str) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output()?;
    let text = String::from_utf8(output.stdout)?;
    let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(std::iter::once(program)
        .chain(paths)
        .map(PathBuf::from)
        .collect())
}

/// To the same place below `root`, symbolic links followed.
fn copy(file: &Path, root: &Path) -> Result<()> {
    let to = root.join(file.strip_prefix("/").context("an absolute path")?);
    fs::create_dir_all(to.parent().context("a file is in a directory")?)?;
    fs::copy(file, &to).with_context(|| format!("copy {}", file.display()))?;
    Ok(())
}

//! Kernel modules from the initial RAM disk.

use std::fs::{File, read_to_string};
use std::io::ErrorKind;

use rustix::io::Errno;
use rustix::system::finit_module;
use tokio::sync::OnceCell;

use super::host::Host;

/// File names of modules, one per line, in an order in which each finds what it needs: those that a sandbox
/// needs, and those that its containers need beside.
const ORDER: &str = "/modules/order";
const LATER: &str = "/modules/later";

/// Loads the modules that a sandbox needs. After each, as long as it has not worked, `reach_host` is tried: the
/// host need not wait for modules that have nothing to do with it.
pub(super) fn load_first(reach_host: impl Fn() -> rustix::io::Result<Host>) -> Option<Host> {
    let mut host = reach_host().ok();
    for name in listed(ORDER) {
        try_load(&name);
        if host.is_none() {
            host = reach_host().ok();
        }
    }
    host
}

/// The modules that nobody needs before the first container.
#[derive(Debug, Default)]
pub(crate) struct Later(OnceCell<()>);

impl Later {
    /// Loads them, once. Returns when they are there, or can't be had.
    pub(crate) async fn load(&self) {
        let load = async || {
            let all = || listed(LATER).iter().for_each(|name| try_load(name));
            // It does not panic.
            let _ = tokio::task::spawn_blocking(all).await;
        };
        self.0.get_or_init(load).await;
    }
}

fn listed(list: &str) -> Vec<String> {
    match read_to_string(list) {
        Ok(text) => names(&text).map(ToOwned::to_owned).collect(),
        // A kernel may have all it needs built in.
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            tracing::error!(list, %error, "no list of modules");
            Vec::new()
        }
    }
}

fn names(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn try_load(name: &str) {
    if let Err(error) = load(name) {
        tracing::warn!(module = name, %error, "not loaded");
    }
}

fn load(name: &str) -> std::io::Result<()> {
    let file = File::open(std::path::Path::new("/modules").join(name))?;
    match finit_module(file, c"", 0) {
        // Built in, or loaded already.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_lines_and_comments_are_no_modules() {
        let got: Vec<_> = names("# first\nvsock.ko\n\n  erofs.ko \n").collect();
        assert_eq!(got, ["vsock.ko", "erofs.ko"]);
    }
}

//! `cargo xtask build`: the binaries that go into a node. The one place that knows where they are.

use crate::{debian, process, repository};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::thread;

/// The only target we build for; named to cargo, so that build scripts are not linked statically.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What crates link that are not Rust all the way down, and where Debian puts it.
pub(crate) const NATIVE_PACKAGES: [&str; 1] = ["libcap-ng-dev"];
const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";

/// A binary of ours, and how it is built.
pub(crate) struct Binary {
    package: &'static str,
    pub(crate) name: &'static str,
    profile: &'static str,
    linking: Linking,
    /// What the file may weigh at most, where that is promised.
    max_size: Option<u64>,
}

enum Linking {
    /// Against the glibc of the node.
    Dynamic,
    /// For a root file system that has no libraries. Position independent all the same.
    Static,
}

/// The CRI server.
pub(crate) const SERVER: Binary = Binary {
    package: "cri-server",
    name: "bulkhead",
    profile: "release",
    linking: Linking::Dynamic,
    max_size: None,
};

/// The process round one machine.
pub(crate) const VMM: Binary = Binary {
    package: "vmm",
    name: "bulkhead-vmm",
    profile: "vmm",
    linking: Linking::Static,
    max_size: None,
};

/// The process that serves the node's files to one machine.
pub(crate) const FSD: Binary = Binary {
    package: "vmm-fs",
    name: "bulkhead-fsd",
    profile: "vmm",
    linking: Linking::Static,
    max_size: None,
};

/// The supervisor in the guest and on the host.
pub(crate) const AGENT: Binary = Binary {
    package: "agent",
    name: "bulkhead-agent",
    profile: "agent",
    linking: Linking::Static,
    max_size: Some(3 << 20),
};

/// All of them.
pub(crate) const BINARIES: [Binary; 4] = [SERVER, VMM, FSD, AGENT];

/// The CRI server as it is tested: with overflow checks, and built together with the tests.
pub(crate) const TESTED_SERVER: Binary = Binary {
    profile: "dev",
    ..SERVER
};

pub(crate) fn run() -> Result<()> {
    build(&BINARIES)
}

/// Those that are tested as they are shipped: all but the server. The agent's optimisation keeps one
/// core busy for long, so the others are built beside it.
pub(crate) fn beside_server() -> Result<()> {
    thread::scope(|scope| {
        let agent = scope.spawn(|| build(&[AGENT]));
        let others = build(&[VMM, FSD]);
        agent
            .join()
            .expect("this thread does not panic")
            .and(others)
    })
}

fn build(binaries: &[Binary]) -> Result<()> {
    debian::install(&NATIVE_PACKAGES)?;
    // Those of one profile in one run of cargo, which compiles what they share once.
    binaries
        .chunk_by(|one, next| one.profile == next.profile)
        .try_for_each(build_together)
}

/// Builds those of `binaries`, which have profile and linking in common, whose sources changed.
fn build_together(binaries: &[Binary]) -> Result<()> {
    let Some(Binary {
        profile, linking, ..
    }) = binaries.first()
    else {
        return Ok(());
    };
    let names: Vec<_> = binaries.iter().map(|binary| binary.name).collect();
    process::step(&format!("cargo: building {}", names.join(", ")));
    let mut cargo = process::cargo();
    cargo.args(["build", "--profile", profile]);
    for binary in binaries {
        cargo.args(["--package", binary.package, "--bin", binary.name]);
    }
    if matches!(linking, Linking::Static) {
        cargo.args(["--target", TARGET]);
        let flags = "-C target-feature=+crt-static";
        cargo.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", flags);
        cargo.env("LIBCAPNG_LINK_TYPE", "static");
        cargo.env("LIBCAPNG_LIB_PATH", LIBRARIES);
    }
    process::run(&mut cargo)?;
    binaries.iter().try_for_each(Binary::check_size)
}

impl Binary {
    /// Where cargo puts it.
    pub(crate) fn path(&self) -> PathBuf {
        self.path_in(repository::root())
    }

    /// Where cargo puts it in the checkout at `root`.
    pub(crate) fn path_in(&self, root: &Path) -> PathBuf {
        let profile = match self.profile {
            "dev" => "debug",
            profile => profile,
        };
        let dir = match self.linking {
            Linking::Dynamic => PathBuf::from(profile),
            Linking::Static => PathBuf::from(TARGET).join(profile),
        };
        root.join("target").join(dir).join(self.name)
    }

    /// Builds it if its sources changed.
    pub(crate) fn build(self) -> Result<()> {
        build(&[self])
    }

    fn check_size(&self) -> Result<()> {
        let path = self.path();
        let size = path
            .metadata()
            .with_context(|| format!("find {}", path.display()))?
            .len();
        match self.max_size {
            Some(max) if size > max => anyhow::bail!(
                "{} has {size} bytes and may have {max}: `cargo bloat --profile {} -p {}` shows of what",
                self.name,
                self.profile,
                self.package
            ),
            _ => Ok(()),
        }
    }
}

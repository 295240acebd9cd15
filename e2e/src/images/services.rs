//! Images of servers, made from Debian packages: what pods use over their network.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use super::{PASSWD, PATH};
use crate::debian::{Tree, run};
use crate::image::{Compression, Files, Image, Layer};
use crate::registry::RegistryStore;

/// Redis with its command line client.
pub const REDIS: &str = "registry.k8s.io/bulkhead/redis:7";

/// PostgreSQL with psql, and an empty cluster that trusts everybody.
pub const POSTGRESQL: &str = "registry.k8s.io/bulkhead/postgresql:15";

/// iperf3, which measures networks.
pub const IPERF3: &str = "registry.k8s.io/bulkhead/iperf3:3";

/// Who PostgreSQL runs as: it refuses to be root.
const POSTGRES: u32 = 70;
const BIN: &str = "usr/lib/postgresql/15/bin";
/// Where the cluster is, in the packages' tree and in the image.
const CLUSTER: &str = "var/lib/postgresql/cluster";

const REDIS_PACKAGES: [&str; 16] = [
    "redis-server",
    "redis-tools",
    "libatomic1",
    "libc6",
    "libcap2",
    "libgcc-s1",
    "libgcrypt20",
    "libgpg-error0",
    "libjemalloc2",
    "liblz4-1",
    "liblzf1",
    "liblzma5",
    "libssl3",
    "libstdc++6",
    "libsystemd0",
    "libzstd1",
];

const IPERF3_PACKAGES: [&str; 5] = ["iperf3", "libiperf0", "libc6", "libsctp1", "libssl3"];

/// With all libraries, also those for what the cluster does not use.
const POSTGRESQL_PACKAGES: [&str; 44] = [
    "postgresql-15",
    "postgresql-client-15",
    "dash",
    "libaudit1",
    "libc6",
    "libcap-ng0",
    "libcap2",
    "libcom-err2",
    "libcrypt1",
    "libffi8",
    "libgcc-s1",
    "libgcrypt20",
    "libgmp10",
    "libgnutls30",
    "libgpg-error0",
    "libgssapi-krb5-2",
    "libhogweed6",
    "libicu72",
    "libidn2-0",
    "libk5crypto3",
    "libkeyutils1",
    "libkrb5-3",
    "libkrb5support0",
    "libldap-2.5-0",
    "liblz4-1",
    "liblzma5",
    "libnettle8",
    "libp11-kit0",
    "libpam0g",
    "libpcre2-8-0",
    "libpq5",
    "libreadline8",
    "libsasl2-2",
    "libselinux1",
    "libssl3",
    "libstdc++6",
    "libsystemd0",
    "libtasn1-6",
    "libtinfo6",
    "libunistring2",
    "libuuid1",
    "libxml2",
    "libzstd1",
    "zlib1g",
];

/// Adds them over `base`, with downloads kept in `cache`.
pub(super) fn add(registry: &RegistryStore, base: &Layer, cache: &Path) -> Result<()> {
    let image = |files: &Files, settings| -> Result<Image> {
        // The fastest to unpack, which counts in an emulated node.
        let layer = Layer::pack(files, Compression::Zstd)?;
        Ok(Image::new(&[base.clone(), layer], settings))
    };
    let tree = Tree::fetch(&cache.join("iperf3"), &IPERF3_PACKAGES)?;
    let iperf3 = with_program(Files::new(), &tree, "usr/bin/iperf3")?;
    let settings = json!({"Cmd": ["iperf3", "-s"], "Env": [PATH]});
    registry.add("bulkhead/iperf3", "3", &image(&iperf3, settings)?)?;

    let redis = redis(&Tree::fetch(&cache.join("redis"), &REDIS_PACKAGES)?)?;
    let serve = ["redis-server", "--protected-mode", "no", "--save", ""];
    let settings = json!({"Cmd": serve, "Env": [PATH]});
    registry.add("bulkhead/redis", "7", &image(&redis, settings)?)?;

    let tree = Tree::fetch(&cache.join("postgresql"), &POSTGRESQL_PACKAGES)?;
    make_cluster(&tree)?;
    let serve = ["postgres", "-D", &format!("/{CLUSTER}"), "-h", "*"];
    let path = format!("{PATH}:/{BIN}");
    let settings = json!({"Cmd": serve, "User": POSTGRES.to_string(), "Env": [path]});
    let postgresql = image(&postgresql(&tree)?, settings)?;
    registry.add("bulkhead/postgresql", "15", &postgresql)
}

fn redis(tree: &Tree) -> Result<Files> {
    ["redis-server", "redis-cli"]
        .into_iter()
        .try_fold(Files::new(), |files, program| {
            let path = format!("usr/bin/{program}");
            with_program(files, tree, &path)
        })
}

fn postgresql(tree: &Tree) -> Result<Files> {
    let mut files = Files::new()
        .file("etc/passwd", 0o644, passwd())
        .directory("var/run/postgresql", 0o1777);
    for program in ["postgres", "psql"] {
        files = with_program(files, tree, &format!("{BIN}/{program}"))?;
    }
    for part in ["lib/postgresql/15/lib/plpgsql.so", "share/postgresql/15"] {
        files = with_all(files, tree, &format!("usr/{part}"), 0)?;
    }
    with_all(files, tree, CLUSTER, POSTGRES)
}

/// A program with the libraries that its loader finds for it.
fn with_program(files: Files, tree: &Tree, path: &str) -> Result<Files> {
    let libraries = tree.libraries(&format!("/{path}"))?;
    let files = files.copy(path, 0o755, &tree.path(path))?;
    libraries.iter().try_fold(files, |files, library| {
        files.copy(library, 0o755, &tree.path(library))
    })
}

/// A file or a directory with what is in it.
fn with_all(files: Files, tree: &Tree, path: &str, owner: u32) -> Result<Files> {
    let on_disk = tree.path(path);
    let mode = fs::metadata(&on_disk)
        .with_context(|| format!("find {}", on_disk.display()))?
        .permissions()
        .mode();
    let files = match on_disk.is_dir() {
        true => files.directory(path, mode & 0o777),
        false => files.copy(path, mode & 0o777, &on_disk)?,
    };
    let mut files = files.owned_by(path, owner.into(), owner.into());
    if on_disk.is_dir() {
        for entry in fs::read_dir(&on_disk)? {
            let name = entry?.file_name();
            files = with_all(files, tree, &format!("{path}/{}", name.display()), owner)?;
        }
    }
    Ok(files)
}

/// Making a cluster takes long in an emulated machine, so it is done here, among the packages.
fn make_cluster(tree: &Tree) -> Result<()> {
    let cluster = tree.path(CLUSTER);
    let _ = fs::remove_dir_all(&cluster);
    for directory in ["dev/shm", "etc", "tmp", CLUSTER] {
        fs::create_dir_all(tree.path(directory))?;
    }
    // A regular file will do: nobody reads what is written to it.
    for (path, text) in [("dev/null", ""), ("etc/passwd", passwd().as_str())] {
        fs::write(tree.path(path), text)?;
    }
    for path in ["dev/null", "dev/shm", "tmp"] {
        fs::set_permissions(tree.path(path), fs::Permissions::from_mode(0o777))?;
    }
    chown(&cluster, Some(POSTGRES), Some(POSTGRES))?;
    let mut initdb = tree.command(&format!("/{BIN}/initdb"), POSTGRES);
    initdb.args(["--no-sync", "--no-instructions", "--auth=trust"]);
    initdb.args(["--locale=C", "--encoding=UTF8", "--wal-segsize=1"]);
    initdb.args(["--username=postgres", &format!("--pgdata=/{CLUSTER}")]);
    run(&mut initdb)?;
    // By itself it trusts clients of the same host only.
    let trusted = cluster.join("pg_hba.conf");
    let mut trusted = fs::File::options().append(true).open(trusted)?;
    Ok(trusted.write_all(b"host all all all trust\n")?)
}

fn passwd() -> String {
    format!("{PASSWD}postgres:x:{POSTGRES}:{POSTGRES}::/:/bin/sh\n")
}

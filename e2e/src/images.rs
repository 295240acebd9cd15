//! The images that the tests, critest and the demo pull, made from Debian packages.
//!
//! critest names its images by constants, so each is served under the name that critest asks for,
//! through a registry mirror, and holds what its specs need of it. One of them is named by a digest
//! and can't be substituted.

pub mod services;

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

use crate::debian::{Tree, run};
use crate::image::{Compression, Files, Image, Layer};
use crate::registry::RegistryStore;

/// Registries whose names the images carry; all are mirrored by the node's own.
pub const REGISTRIES: [&str; 3] = ["registry.k8s.io", "k8s.gcr.io", "gcr.io"];

/// nginx, serving one page on port 80.
pub const NGINX: &str = "registry.k8s.io/e2e-test-images/nginx:1.14-2";

/// The image of the demo and of most tests, as a pod names it.
pub const BUSYBOX: &str = "registry.k8s.io/e2e-test-images/busybox:1.29-2";

const BUSYBOX_PACKAGES: [&str; 2] = ["busybox", "libc6"];
const NGINX_PACKAGES: [&str; 5] = ["nginx", "libssl3", "libpcre2-8-0", "libcrypt1", "zlib1g"];

/// Builds every image into a registry's store at `store`, with downloads kept in `cache`.
pub fn build(cache: &Path, store: &Path) -> Result<()> {
    let registry = RegistryStore::create(store)?;
    let base = Layer::pack(
        &busybox(&Tree::fetch(&cache.join("busybox"), &BUSYBOX_PACKAGES)?)?,
        Compression::Gzip,
    )?;
    let with = |files: &Files, settings: Value| -> Result<Image> {
        Ok(Image::new(
            &[base.clone(), Layer::pack(files, Compression::Gzip)?],
            settings,
        ))
    };
    let shell = || json!({"Cmd": ["sh"], "Env": [PATH]});

    registry.add(
        "e2e-test-images/busybox",
        "1.29-2",
        &Image::new(std::slice::from_ref(&base), shell()),
    )?;

    let nginx_tree = Tree::fetch(&cache.join("nginx"), &NGINX_PACKAGES)?;
    let web = json!({"Cmd": ["nginx", "-g", "daemon off;"], "Env": [PATH]});
    registry.add(
        "e2e-test-images/nginx",
        "1.14-2",
        &with(&nginx(&nginx_tree, 80)?, web.clone())?,
    )?;
    registry.add(
        "k8s-staging-cri-tools/hostnet-nginx-amd64",
        "latest",
        &with(&nginx(&nginx_tree, 12003)?, web)?,
    )?;

    let httpd = json!({"Cmd": ["sh", "-c", "echo httpd started; exec httpd -f -p 80 -h /www"], "Env": [PATH]});
    let page = Files::new()
        .directory("www", 0o755)
        .file("www/index.html", 0o644, "it works\n");
    registry.add("e2e-test-images/httpd", "2.4.39-4", &with(&page, httpd)?)?;

    let nnp = Files::new().file("usr/local/bin/nnp", 0o6755, effective_uid(cache)?);
    registry.add(
        "e2e-test-images/nonewprivs",
        "1.3",
        &with(&nnp, json!({"Cmd": ["/usr/local/bin/nnp"], "Env": [PATH]}))?,
    )?;

    let groups = Files::new()
        .file(
            "etc/passwd",
            0o644,
            format!("{PASSWD}default-user:x:1000:1000::/home:/bin/sh\n"),
        )
        .file(
            "etc/group",
            0o644,
            format!("{GROUP}default-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n"),
        );
    registry.add(
        "k8s-staging-cri-tools/test-image-predefined-group",
        "latest",
        &with(
            &groups,
            json!({"Cmd": ["sh"], "User": "1000", "Env": [PATH]}),
        )?,
    )?;

    services::add(&registry, &base, cache)?;
    add_marked(&registry, &with, shell())?;
    add_users(&registry, &with)?;

    let pause = with(
        &Files::new().file("pause", 0o644, ""),
        json!({"Entrypoint": ["sleep", "infinity"], "Env": [PATH]}),
    )?;
    registry.add("pause", "3.9", &pause)?;
    add_layered(&registry, &base)
}

/// Images that differ by one marker file, under the names and tags critest tells apart.
fn add_marked(
    registry: &RegistryStore,
    with: &impl Fn(&Files, Value) -> Result<Image>,
    settings: Value,
) -> Result<()> {
    for (name, tags) in [
        ("test-image-latest", &["latest"][..]),
        ("test-image-digest", &["latest"]),
        ("test-image-1", &["latest"]),
        ("test-image-2", &["latest"]),
        ("test-image-3", &["latest"]),
        ("test-image-tags", &["1", "2", "3"]),
    ] {
        let image = with(&Files::new().file(name, 0o644, name), settings.clone())?;
        for tag in tags {
            registry.add(&format!("k8s-staging-cri-tools/{name}"), tag, &image)?;
        }
    }
    for tag in ["test", "all"] {
        let image = with(
            &Files::new().file(&format!("test-image-tag-{tag}"), 0o644, tag),
            settings.clone(),
        )?;
        registry.add("k8s-staging-cri-tools/test-image-tag", tag, &image)?;
    }
    Ok(())
}

/// Images whose config names a user in each way that there is.
fn add_users(
    registry: &RegistryStore,
    with: &impl Fn(&Files, Value) -> Result<Image>,
) -> Result<()> {
    for (name, user) in [
        ("uid", "1002"),
        ("username", "www-data"),
        ("uid-group", "1003:1004"),
        ("username-group", "www-data:1004"),
    ] {
        let marker = format!("test-image-user-{name}");
        let image = with(
            &Files::new().file(&marker, 0o644, ""),
            json!({"Cmd": ["sh"], "User": user, "Env": [PATH]}),
        )?;
        registry.add(&format!("k8s-staging-cri-tools/{marker}"), "latest", &image)?;
    }
    Ok(())
}

/// `bulkhead/layered:latest`: gzip, zstd and plain layers, with whiteouts, for our own tests.
fn add_layered(registry: &RegistryStore, base: &Layer) -> Result<()> {
    let below = Files::new()
        .directory("data", 0o1777)
        .file("data/gone", 0o644, "hidden by the layer above")
        .file("data/kept", 0o640, "kept")
        .owned_by("data/kept", 3_000_000, 3_000_001)
        .directory("opaque", 0o755)
        .file("opaque/below", 0o644, "hidden by an opaque directory");
    let above = Files::new()
        .file("data/.wh.gone", 0o644, "")
        .file("opaque/above", 0o644, "shown")
        .file("opaque/.wh..wh..opq", 0o644, "");
    let layers = [
        base.clone(),
        Layer::pack(&below, Compression::Zstd)?,
        Layer::pack(&above, Compression::None)?,
    ];
    let settings = json!({"Cmd": ["sh"], "Env": [PATH], "WorkingDir": "/data"});
    registry.add("bulkhead/layered", "latest", &Image::new(&layers, settings))
}

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n";
const GROUP: &str = "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n";

/// Debian's busybox. Its applets are hard links: a mask over a symbolic link would mask the shell too.
fn busybox(tree: &Tree) -> Result<Files> {
    let mut files = Files::new()
        .directory("tmp", 0o1777)
        .directory("root", 0o700)
        .directory("var", 0o755)
        .directory("run", 0o755)
        .symlink("var/run", "/run")
        .symlink("lib64", "lib")
        .file("etc/passwd", 0o644, PASSWD)
        .file("etc/group", 0o644, GROUP)
        .copy("bin/busybox", 0o755, &tree.path("/bin/busybox"))?
        .copy(
            "lib/ld-linux-x86-64.so.2",
            0o755,
            &tree.path("/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
        )?
        .file("bin/pgrep", 0o755, PGREP)
        .file("bin/ipcs", 0o755, IPCS);
    for library in ["libc.so.6", "libresolv.so.2"] {
        let from = tree.path(&format!("/lib/x86_64-linux-gnu/{library}"));
        files = files.copy(&format!("lib/x86_64-linux-gnu/{library}"), 0o644, &from)?;
    }
    for applet in tree
        .output("/bin/busybox", "--list")?
        .lines()
        .filter(|a| *a != "busybox")
    {
        files = files.hardlink(&format!("bin/{applet}"), "bin/busybox");
    }
    Ok(files)
}

/// Debian's busybox has no pgrep. Prints the pids of processes with this name, and nothing else.
const PGREP: &str = r#"#!/bin/sh
found=1
for status in /proc/[0-9]*/status; do
  { read -r _ name < "$status"; } 2>/dev/null || continue
  case "$name" in *"$1"*) pid=${status#/proc/}; echo "${pid%/status}"; found=0;; esac
done
exit $found
"#;

/// Nor ipcs. The kernel's own table of shared memory names each segment by key and id.
const IPCS: &str = "#!/bin/sh\ncat /proc/sysvipc/shm\n";

/// Debian's nginx over busybox, serving one page on `port`.
fn nginx(tree: &Tree, port: u16) -> Result<Files> {
    let config = format!(
        "user www-data;\npid /run/nginx.pid;\nerror_log /dev/stderr;\nevents {{}}\n\
         http {{ access_log /dev/stdout; server {{ listen {port}; listen [::]:{port}; root /www; }} }}\n"
    );
    let mut files = Files::new()
        .copy("usr/sbin/nginx", 0o755, &tree.path("/usr/sbin/nginx"))?
        .file("etc/nginx/nginx.conf", 0o644, config)
        .directory("var/lib/nginx", 0o755)
        .directory("var/log/nginx", 0o755)
        .directory("usr/share/nginx", 0o755)
        .directory("www", 0o755)
        .file("www/index.html", 0o644, "it works\n");
    for library in [
        "usr/lib/x86_64-linux-gnu/libssl.so.3",
        "usr/lib/x86_64-linux-gnu/libcrypto.so.3",
        "usr/lib/x86_64-linux-gnu/libpcre2-8.so.0",
        "lib/x86_64-linux-gnu/libcrypt.so.1",
        "lib/x86_64-linux-gnu/libz.so.1",
    ] {
        let name = library.rsplit('/').next().unwrap_or(library);
        files = files.copy(
            &format!("lib/x86_64-linux-gnu/{name}"),
            0o644,
            &tree.path(library),
        )?;
    }
    Ok(files)
}

/// A static program that prints its effective user id, for a file with setuid bits.
fn effective_uid(cache: &Path) -> Result<Vec<u8>> {
    let source = cache.join("effective_uid.c");
    let program = cache.join("effective_uid");
    std::fs::write(
        &source,
        "#include <stdio.h>\n#include <unistd.h>\nint main(void) { printf(\"Effective uid: %d\\n\", geteuid()); return 0; }\n",
    )?;
    run(Command::new("cc")
        .args(["-static", "-O1", "-s", "-o"])
        .arg(&program)
        .arg(&source))?;
    Ok(std::fs::read(&program)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_critest_registry_is_mirrored() {
        assert!(REGISTRIES.contains(&BUSYBOX.split('/').next().unwrap()));
    }
}

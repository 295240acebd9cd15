//! Tests with trees as the kubelet lays them out.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::*;
use crate::spec::Propagation;

/// A kubelet's directory with a Secret volume, written as the kubelet's atomic writer does.
struct Kubelet {
    dir: tempfile::TempDir,
}

impl Kubelet {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("volumes/kubernetes.io~secret/token");
        fs::create_dir_all(secret.join("..2024/deep")).unwrap();
        fs::write(secret.join("..2024/user"), "alice").unwrap();
        fs::write(secret.join("..2024/deep/pass"), "wonder").unwrap();
        symlink("..2024", secret.join("..data")).unwrap();
        symlink("..data/user", secret.join("user")).unwrap();
        symlink("..data/deep", secret.join("deep")).unwrap();
        Self { dir }
    }

    fn secret(&self) -> PathBuf {
        self.dir.path().join("volumes/kubernetes.io~secret/token")
    }
}

fn mount(source: &Path, destination: &str, readonly: bool) -> Mount {
    Mount {
        destination: destination.into(),
        source: MountSource::Host(source.into()),
        readonly,
        recursive_readonly: false,
        propagation: Propagation::Private,
    }
}

fn add(mount: &Mount) -> Result<Volumes> {
    add_where(HostVolumes::Shared, mount)
}

fn add_where(host_volumes: HostVolumes, mount: &Mount) -> Result<Volumes> {
    let MountSource::Host(source) = &mount.source else {
        panic!("a path of the node")
    };
    let mut volumes = Volumes::default();
    volumes.add(mount, source, host_volumes, &mut Budget::default())?;
    Ok(volumes)
}

#[test]
fn a_secret_is_copied_by_its_names_into_memory_that_cannot_be_written() {
    let kubelet = Kubelet::new();
    let volumes = add(&mount(&kubelet.secret(), "/run/secrets/", true)).unwrap();
    let mut files: Vec<_> = volumes
        .files
        .iter()
        .map(|file| (file.path.as_str(), file.content.as_slice()))
        .collect();
    files.sort_unstable();
    assert_eq!(
        files,
        [
            ("/run/secrets/deep/pass", b"wonder".as_slice()),
            ("/run/secrets/user", b"alice".as_slice())
        ]
    );
    assert_eq!(volumes.mounts[0].r#type, "tmpfs");
    assert_eq!(volumes.readonly_paths, ["/run/secrets/"]);
    assert_eq!(volumes.notes.len(), 1);
}

#[test]
fn a_link_out_of_the_volume_is_not_followed() {
    let kubelet = Kubelet::new();
    symlink("/etc/passwd", kubelet.secret().join("out")).unwrap();
    let error = add(&mount(&kubelet.secret(), "/secret", true)).unwrap_err();
    assert!(
        error.chain().contains("kubernetes.io~secret"),
        "{}",
        error.chain()
    );
}

#[test]
fn links_in_a_circle_and_floods_of_files_come_to_an_end() {
    let kubelet = Kubelet::new();
    symlink(".", kubelet.secret().join("again")).unwrap();
    assert!(add(&mount(&kubelet.secret(), "/secret", true)).is_err());
    fs::remove_file(kubelet.secret().join("again")).unwrap();
    for number in 0..1000 {
        fs::write(kubelet.secret().join(number.to_string()), "").unwrap();
    }
    let error = add(&mount(&kubelet.secret(), "/secret", true)).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
}

#[test]
fn what_is_too_large_is_refused_with_the_limit() {
    let kubelet = Kubelet::new();
    fs::write(kubelet.secret().join("big"), vec![0; 3 << 20]).unwrap();
    let error = add(&mount(&kubelet.secret(), "/secret", true)).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(
        error.chain().ends_with("may hold 2097152 bytes"),
        "{}",
        error.chain()
    );
}

#[test]
fn a_single_file_of_a_volume_is_copied() {
    let kubelet = Kubelet::new();
    let user = kubelet.secret().join("user");
    let volumes = add(&mount(&user, "/app/user", true)).unwrap();
    assert_eq!(volumes.files[0].content, b"alice");
    assert_eq!(volumes.readonly_paths, ["/app/user"]);
    assert_eq!(volumes.mounts, []);
}

#[test]
fn a_file_that_the_kubelet_mounted_alone_is_shared_where_anything_is() {
    let kubelet = Kubelet::new();
    let subpaths = kubelet.dir.path().join("volume-subpaths/data/app");
    fs::create_dir_all(&subpaths).unwrap();
    let file = subpaths.join("0");
    fs::write(&file, vec![0; 3 << 20]).unwrap();
    let mount = mount(&file, "/app/data", true);
    let shared = add(&mount).unwrap();
    assert_eq!(shared.shared[0].source, file);
    assert_eq!(shared.files, []);
    let error = add_where(HostVolumes::Refused, &mount).unwrap_err();
    assert!(error.chain().contains("may hold"), "{}", error.chain());
    fs::write(&file, "small").unwrap();
    let copied = add_where(HostVolumes::Refused, &mount).unwrap();
    assert_eq!(copied.files[0].content, b"small");
}

#[test]
fn last_words_are_known_by_where_they_go_or_where_the_kubelet_reads_them() {
    let kubelet = Kubelet::new();
    let below = |path: &str| {
        let path = kubelet.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        path
    };
    let (made, other) = (
        below("pods/1-2/containers/app/0a1b"),
        below("pods/1-2/app/0a1b"),
    );
    let words = |source: &Path, at: &str, readonly| {
        let volumes = add(&mount(source, at, readonly)).unwrap();
        volumes
            .last_words
            .map(|words| (words.file, words.destination))
    };
    for (source, at) in [(&made, "/tmp/why"), (&other, "/dev/termination-log")] {
        assert_eq!(
            words(source, at, false),
            Some((source.clone(), at.to_owned()))
        );
    }
    assert_eq!(words(&other, "/tmp/why", false), None);
    assert_eq!(words(&made, "/tmp/why", true), None);
}

#[test]
fn the_pods_hosts_file_may_be_written_to() {
    let kubelet = Kubelet::new();
    let hosts = kubelet.dir.path().join("etc-hosts");
    fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    let volumes = add(&mount(&hosts, "/etc/hosts", false)).unwrap();
    assert_eq!(volumes.files[0].path, "/etc/hosts");
    assert_eq!(volumes.readonly_paths, Vec::<String>::new());
}

#[test]
fn everything_else_is_the_nodes_own() {
    let dir = tempfile::tempdir().unwrap();
    let kubelet = Kubelet::new();
    for (source, readonly, access) in [
        (dir.path(), true, Access::ReadOnly),
        (dir.path(), false, Access::Full),
        (kubelet.secret().as_path(), false, Access::Full),
    ] {
        let volumes = add(&mount(source, "/data", readonly)).unwrap();
        let [shared] = volumes.shared.as_slice() else {
            panic!("{volumes:?}")
        };
        assert_eq!((shared.source.as_path(), shared.access), (source, access));
        assert_eq!((volumes.mounts, volumes.files), (vec![], vec![]));
    }
}

#[test]
fn mounts_below_a_volume_follow_it_or_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut mount = mount(dir.path(), "/data", true);
    mount.recursive_readonly = true;
    mount.propagation = Propagation::HostToContainer;
    let shared = add(&mount).unwrap().shared.remove(0);
    assert_eq!(
        (shared.access, shared.follows_node),
        (Access::ReadOnlyTree, true)
    );
    mount.propagation = Propagation::Bidirectional;
    let error = add(&mount).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.to_string().contains("at /data with"), "{error}");
}

//! A container's file tree.

use std::fs;
use std::os::unix::fs::symlink;

use agent_api::v1;
use tonic::Code;

use crate::fixture::{Pod, bind, process, run};

fn file(path: &str, content: &str) -> v1::File {
    v1::File {
        path: path.into(),
        content: content.into(),
        mode: 0o644,
        uid: 0,
        gid: 0,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_goes_to_the_upper_directory_only() {
    let pod = Pod::new().await;
    pod.output_of(pod.shell("c1", "echo mine > /file; rm /etc/group"))
        .await;
    assert_eq!(
        fs::read_to_string(pod.directory.join("c1/upper/file")).unwrap(),
        "mine\n"
    );
    assert_eq!(
        pod.output_of(pod.shell("c2", "ls /file /etc/group 2>&1; true"))
            .await,
        "ls: /file: No such file or directory\n/etc/group\n"
    );
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_root_is_read_only_and_its_volumes_are_not() {
    let pod = Pod::new().await;
    let volume = pod.directory.join("volume");
    fs::create_dir(&volume).unwrap();
    let mut request = pod.shell("c1", "touch test.go; touch /data/file && echo ok");
    request.readonly_rootfs = true;
    request.mounts = vec![bind(&volume, "/data")];
    assert_eq!(
        pod.output_of(request).await,
        "touch: test.go: Read-only file system\nok\n"
    );
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn masked_and_read_only_paths() {
    let pod = Pod::new().await;
    let mut request = pod.shell(
        "c1",
        "ls; touch /tmp/test; ls /etc; cat /proc/kcore | wc -c; true",
    );
    request.masked_paths = ["/bin/ls", "/etc", "/proc/kcore", "/nosuch"]
        .map(ToOwned::to_owned)
        .to_vec();
    request.readonly_paths = vec!["/tmp".to_owned(), "/nosuch".to_owned()];
    assert_eq!(
        pod.output_of(request).await,
        "sh: ls: Permission denied\ntouch: /tmp/test: Read-only file system\n\
         sh: ls: Permission denied\n0\n"
    );
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_written_even_where_the_image_has_a_dangling_symlink() {
    let pod = Pod::new().await;
    let mut request = pod.shell(
        "c1",
        "cat /etc/resolv.conf /etc/nowhere/resolv.conf /run/secrets/token; cat /etc/hostname",
    );
    request.mounts = vec![
        v1::Mount {
            r#type: "tmpfs".into(),
            destination: "/run/secrets".into(),
            data: "mode=755,size=1m".into(),
            ..v1::Mount::default()
        },
        bind(&pod.directory.join("hostname"), "/etc/hostname"),
    ];
    fs::write(pod.directory.join("hostname"), "from the host\n").unwrap();
    request.files = vec![
        file("/etc/resolv.conf", "nameserver 10.10.10.10\n"),
        file("/run/secrets/token", "secret\n"),
        file("/etc/hostname", "never written\n"),
    ];
    assert_eq!(
        pod.output_of(request).await,
        "nameserver 10.10.10.10\nnameserver 10.10.10.10\nsecret\nfrom the host\n"
    );
    assert_eq!(
        fs::read_to_string(pod.directory.join("hostname")).unwrap(),
        "from the host\n"
    );
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_symlink_of_the_image_does_not_lead_to_the_host() {
    let pod = Pod::new().await;
    let secret = pod.directory.join("host-secret");
    fs::create_dir(&secret).unwrap();
    let request = pod.shell(
        "c1",
        "cat /link/file; echo; ls -ld /var/lib >/dev/null && echo inside",
    );
    let upper = pod.directory.join("c1/upper");
    symlink(
        format!("../../../../../../../../../..{}", secret.display()),
        upper.join("link"),
    )
    .unwrap();
    let volume = pod.directory.join("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("file"), "volume").unwrap();
    let request = v1::CreateContainerRequest {
        mounts: vec![bind(&volume, "/link")],
        files: vec![file("/link2/../link/x", "y")],
        ..request
    };
    assert_eq!(pod.output_of(request).await, "volume\ninside\n");
    assert_eq!(
        fs::read_dir(&secret).unwrap().count(),
        0,
        "the host was written to"
    );
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sub_path_is_resolved_inside_its_volume() {
    let pod = Pod::new().await;
    let volume = pod.directory.join("volume");
    fs::create_dir_all(volume.join("a/b")).unwrap();
    fs::write(volume.join("a/b/file"), "below\n").unwrap();
    symlink("/etc", volume.join("escape")).unwrap();
    let with = |id: &str, sub_path: &str, script: &str| v1::CreateContainerRequest {
        mounts: vec![v1::Mount {
            sub_path: sub_path.into(),
            ..bind(&volume, "/data")
        }],
        ..pod.shell(id, script)
    };
    assert_eq!(
        pod.output_of(with("c1", "a/b", "cat /data/file")).await,
        "below\n"
    );
    for (id, path) in [("c2", "escape"), ("c3", "../../../etc"), ("c4", "nosuch")] {
        let error = pod
            .client
            .create_container(with(id, path, "true"))
            .await
            .unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{path}");
    }
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_only_reaches_what_is_mounted_below_only_if_asked() {
    let pod = Pod::new().await;
    let volume = pod.directory.join("volume");
    fs::create_dir_all(volume.join("tmpfs")).unwrap();
    let below = volume.join("tmpfs").display().to_string();
    run("mount", &["-t", "tmpfs", "none", &below]);
    let with = |id: &str, recursive: bool| v1::CreateContainerRequest {
        mounts: vec![v1::Mount {
            readonly: true,
            recursive_readonly: recursive,
            ..bind(&volume, "/mnt")
        }],
        ..pod.shell(
            id,
            "touch /mnt/file; touch /mnt/tmpfs/file && echo ok; true",
        )
    };
    let shallow = pod.output_of(with("c1", false)).await;
    let deep = pod.output_of(with("c2", true)).await;
    run("umount", &[&below]);
    assert_eq!(shallow, "touch: /mnt/file: Read-only file system\nok\n");
    assert_eq!(
        deep,
        "touch: /mnt/file: Read-only file system\ntouch: /mnt/tmpfs/file: Read-only file system\n"
    );
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mounts_cross_over_as_their_propagation_says() {
    for (propagation, from_host, to_host) in [
        ("rprivate", false, false),
        ("rslave", true, false),
        ("rshared", true, true),
    ] {
        let pod = Pod::new().await;
        let volume = pod.directory.join("volume");
        let path = volume.display().to_string();
        fs::create_dir_all(&volume).unwrap();
        run("mount", &["--bind", &path, &path]);
        run("mount", &["--make-shared", &path]);
        for name in ["host", "container", "source"] {
            fs::create_dir(volume.join(name)).unwrap();
        }
        fs::write(volume.join("source/file"), "").unwrap();
        let mut request = pod.shell("c1", "sleep 60");
        request.privileged = true;
        let all = v1::Capabilities {
            bounding: u64::MAX,
            effective: u64::MAX,
            permitted: u64::MAX,
            ..Default::default()
        };
        process(&mut request).capabilities = Some(all);
        request.mounts = vec![v1::Mount {
            propagation: propagation.into(),
            ..bind(&volume, "/mnt")
        }];
        pod.start(request).await;

        run(
            "mount",
            &[
                "--bind",
                &volume.join("source").display().to_string(),
                &volume.join("host").display().to_string(),
            ],
        );
        let inside = pod.exec("c1", "ls /mnt/host/file").await;
        assert_eq!(inside.code == 0, from_host, "{propagation}");
        pod.exec_output("c1", "mount --bind /mnt/source /mnt/container")
            .await;
        assert_eq!(
            volume.join("container/file").exists(),
            to_host,
            "{propagation}"
        );

        pod.client.remove_container("c1").await.unwrap();
        run("umount", &["-R", &path]);
        pod.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mount_source_that_is_missing_is_named() {
    let pod = Pod::new().await;
    let mut request = pod.shell("c1", "true");
    request.mounts = vec![bind("/nosuch/source".as_ref(), "/data")];
    let error = pod.client.create_container(request).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    let words = error.words().unwrap();
    assert!(
        words.starts_with("open mount source /nosuch/source: No such file"),
        "{words}"
    );
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_working_directory_is_made_if_missing() {
    let pod = Pod::new().await;
    let mut request = pod.shell("c1", "pwd");
    process(&mut request).cwd = "/not/there/yet".into();
    assert_eq!(pod.output_of(request).await, "/not/there/yet\n");
    // Neither a way out by way of an open descriptor.
    let mut request = pod.shell("c2", "pwd");
    process(&mut request).cwd = "/proc/self/fd/3".into();
    assert!(pod.client.create_container(request).await.is_err());
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_standard_devices_and_file_systems_are_there() {
    let pod = Pod::new().await;
    let script = "echo x > /dev/null; head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c; \
                  echo out > /dev/stdout; ls -l /dev/ptmx | awk '{print $NF}'; \
                  ls /sys/fs/cgroup/cgroup.procs; touch /sys/fs/cgroup/x 2>&1; \
                  echo x > /proc/sys/kernel/hostname; true; cat /proc/self/cgroup; \
                  grep -c ' /proc\\| /sys\\| /dev' /proc/self/mounts";
    let seen = pod.output_of(pod.shell("c1", script)).await;
    assert!(
        seen.starts_with("4\n4\nout\npts/ptmx\n/sys/fs/cgroup/cgroup.procs\n"),
        "{seen}"
    );
    assert!(seen.contains("0::/\n"), "{seen}");
    assert!(
        seen.contains("touch: /sys/fs/cgroup/x: Read-only file system"),
        "{seen}"
    );
    pod.finish().await;
}

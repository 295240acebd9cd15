//! What a container may not do.

use agent_api::v1;
use tonic::Code;

use crate::fixture::{Pod, exec, process};

const NET_ADMIN: u64 = 1 << 12;
const NET_RAW: u64 = 1 << 13;

/// A seccomp program that answers one system call with EPERM and allows all others.
pub(crate) fn denying(number: u32) -> Vec<u8> {
    let instructions: [(u16, u8, u8, u32); 4] = [
        (0x20, 0, 0, 0),
        (0x15, 0, 1, number),
        (0x06, 0, 0, 0x0005_0001),
        (0x06, 0, 0, 0x7fff_0000),
    ];
    let mut bytes = Vec::new();
    for (code, jt, jf, k) in instructions {
        bytes.extend_from_slice(&code.to_ne_bytes());
        bytes.extend_from_slice(&[jt, jf]);
        bytes.extend_from_slice(&k.to_ne_bytes());
    }
    bytes
}

/// chmod(2), and what libraries use instead.
const CHMOD: u32 = 90;

fn only(bits: u64) -> Option<v1::Capabilities> {
    Some(v1::Capabilities {
        bounding: bits,
        effective: bits,
        permitted: bits,
        ..Default::default()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_and_groups_come_from_the_request_and_the_image() {
    let pod = Pod::new().await;
    let as_user = |id: &str, user: v1::User| {
        let mut request = pod.shell(id, "id -u; id -g; id -G; echo $HOME");
        process(&mut request).user = Some(user);
        request
    };
    let named = v1::User {
        user: Some(v1::user::User::Name("user".into())),
        supplemental_groups: vec![1234],
        ..v1::User::default()
    };
    let seen = pod.output_of(as_user("c1", named.clone())).await;
    assert_eq!(seen, "1000\n1000\n1000 1234 50000\n/home/user\n");
    let strict = v1::User {
        strict_groups: true,
        ..named
    };
    assert_eq!(
        pod.output_of(as_user("c2", strict)).await,
        "1000\n1000\n1000 1234\n/home/user\n"
    );
    let numbers = v1::User {
        user: Some(v1::user::User::Uid(1001)),
        group: Some(v1::user::Group::Gid(1002)),
        ..v1::User::default()
    };
    let reply = pod
        .client
        .create_container(as_user("c3", numbers))
        .await
        .unwrap();
    assert_eq!(
        (reply.uid, reply.gid, reply.groups),
        (1001, 1002, vec![1002])
    );
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn capabilities_are_those_given() {
    let pod = Pod::new().await;
    let with = |id: &str, capabilities, script: &str| {
        let mut request = pod.shell(id, script);
        process(&mut request).capabilities = capabilities;
        request
    };
    let status = "grep Cap /proc/self/status | awk '{print $2}' | tr '\\n' ' '";
    let none = "0000000000000000 ".repeat(5);
    assert_eq!(pod.output_of(with("c1", only(0), status)).await, none);
    let raw =
        "0000000000000000 0000000000002000 0000000000002000 0000000000002000 0000000000000000 ";
    assert_eq!(pod.output_of(with("c2", only(NET_RAW), status)).await, raw);
    let ping = "ping -c 1 127.0.0.1";
    let (_, exit) = pod.run(with("c3", only(0), ping)).await;
    assert_ne!(exit.code, 0);
    let (log, exit) = pod.run(with("c4", only(NET_RAW), ping)).await;
    assert_eq!(exit.code, 0, "{log}");
    let link = "ip link add d0 type dummy 2>/dev/null || ip link set lo down";
    let (_, exit) = pod.run(with("c5", only(NET_RAW), link)).await;
    assert_ne!(exit.code, 0);
    let (log, exit) = pod.run(with("c6", only(NET_ADMIN), link)).await;
    assert_eq!(exit.code, 0, "{log}");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ambient_capabilities_stay_with_a_user() {
    let pod = Pod::new().await;
    let mut request = pod.shell(
        "c1",
        "grep -E 'Cap(Eff|Amb)' /proc/self/status | awk '{print $2}'",
    );
    let first = process(&mut request);
    first.user = Some(v1::User {
        user: Some(v1::user::User::Uid(1000)),
        ..Default::default()
    });
    first.capabilities = Some(v1::Capabilities {
        ambient: NET_RAW,
        ..only(NET_RAW).unwrap()
    });
    assert_eq!(
        pod.output_of(request).await,
        "0000000000002000\n0000000000002000\n"
    );
    let mut request = pod.shell("c2", "grep CapEff /proc/self/status | awk '{print $2}'");
    process(&mut request).user = Some(v1::User {
        user: Some(v1::user::User::Uid(1000)),
        ..Default::default()
    });
    assert_eq!(pod.output_of(request).await, "0000000000000000\n");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seccomp_filter_applies_with_and_without_new_privileges() {
    let pod = Pod::new().await;
    for (id, no_new_privileges) in [("c1", false), ("c2", true)] {
        let mut request = pod.shell(
            id,
            "chmod 400 /etc/passwd; grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status | awk '{print $2}'",
        );
        let first = process(&mut request);
        first.seccomp = denying(CHMOD);
        first.no_new_privileges = no_new_privileges;
        let expected = format!(
            "chmod: /etc/passwd: Operation not permitted\n{}\n2\n",
            i32::from(no_new_privileges)
        );
        assert_eq!(pod.output_of(request).await, expected);
    }
    let mut request = pod.shell("c3", "true");
    process(&mut request).seccomp = vec![1, 2, 3];
    let error = pod.client.create_container(request).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_are_denied_unless_given() {
    let pod = Pod::new().await;
    let script = "mknod /tmp/kmsg c 1 11; head -c 1 /tmp/kmsg > /dev/null && echo open; true";
    let mut request = pod.shell("c1", script);
    process(&mut request).capabilities = only(1 << 27 | 1 << 34);
    let denied = pod.output_of(request).await;
    assert_eq!(denied, "head: /tmp/kmsg: Operation not permitted\n");

    let mut request = pod.shell(
        "c2",
        "head -c 1 /dev/messages > /dev/null && echo open; ls /dev",
    );
    process(&mut request).capabilities = only(1 << 34);
    request.devices = vec![v1::Device {
        path: "/dev/messages".into(),
        source: "/dev/kmsg".into(),
        access: "r".into(),
    }];
    let allowed = pod.output_of(request).await;
    assert!(allowed.starts_with("open\n"), "{allowed}");
    assert!(!allowed.contains("mem\n"), "{allowed}");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_privileged_container_has_the_hosts_devices_and_a_writable_sys() {
    let pod = Pod::new().await;
    let mut request = pod.shell("c1", "head -c 1 /dev/kmsg > /dev/null && echo open; grep -c 'sysfs rw' /proc/self/mounts; ls /sys/fs/cgroup/init.scope > /dev/null && echo cgroups");
    request.privileged = true;
    process(&mut request).capabilities = only(u64::MAX);
    assert_eq!(pod.output_of(request).await, "open\n1\ncgroups\n");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_label_that_the_kernel_does_not_know_is_an_error() {
    let pod = Pod::new().await;
    let mut request = pod.shell("c1", "true");
    process(&mut request).selinux_label = "system_u:system_r:container_t:s0".into();
    let error = pod.client.create_container(request).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    let words = error.words().unwrap();
    assert!(
        words.starts_with("SELinux is not enabled in this kernel"),
        "{words}"
    );
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_the_host_is_open_in_a_container() {
    let pod = Pod::new().await;
    let seen = pod
        .output_of(pod.shell(
            "c1",
            "ls /proc/self/fd; readlink /proc/self/fd/0; echo $PATH",
        ))
        .await;
    // 3 is the directory that ls itself lists.
    assert_eq!(seen, "0\n1\n2\n3\n/dev/null\n/bin\n");
    pod.start(pod.shell("c2", "sleep 60")).await;
    assert_eq!(
        pod.exec_output("c2", "ls /proc/self/fd").await,
        "0\n1\n2\n3\n"
    );
    pod.finish().await;
}

/// Ways out by a descriptor that is open while the program is looked for (CVE-2024-21626): into the agent's
/// cgroup, and up to the host's root. What is there is no program, and is refused as such where it is seen.
fn ways_out() -> impl Iterator<Item = String> {
    (3..14).flat_map(|fd| {
        let up = "../".repeat(12);
        [
            format!("/proc/self/fd/{fd}/cgroup.procs"),
            format!("/proc/self/fd/{fd}/{up}etc/debian_version"),
        ]
    })
}

#[track_caller]
fn assert_unseen(way: &str, error: agent_api::client::Error) {
    let words = error.words().unwrap();
    assert!(!words.contains("permission denied"), "{way}: {words}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_descriptor_leads_a_program_out_of_its_container() {
    let pod = Pod::new().await;
    assert!(std::path::Path::new("/etc/debian_version").exists());
    pod.start(pod.shell("c1", "sleep 600")).await;
    for way in ways_out() {
        let created = pod
            .client
            .create_container(pod.container("c2", &[&way]))
            .await;
        assert_unseen(&way, created.unwrap_err());
        let Err(error) = pod.client.exec(exec("c1", &[&way])).await else {
            panic!("{way} was executed");
        };
        assert_unseen(&way, error);
    }
    // The kernel looks up a script's interpreter by itself, after all else.
    let scripts = (3..14).map(|fd| format!("/proc/self/fd/{fd}/cgroup.procs"));
    for (number, way) in scripts.enumerate() {
        let id = format!("s{number}");
        let mut request = pod.container(&id, &["/script"]);
        request.files = vec![v1::File {
            path: "/script".into(),
            content: format!("#!{way}\n").into_bytes(),
            mode: 0o755,
            uid: 0,
            gid: 0,
        }];
        pod.client.create_container(request).await.unwrap();
        let error = pod.client.start_container(&id).await.unwrap_err();
        assert_unseen(&way, error);
    }
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_can_not_write_the_agents_program() {
    let pod = Pod::new().await;
    // Its first process is the agent's program until it executes another: this one executes that again.
    let mut request = pod.container("c1", &["/program"]);
    let content = b"#!/proc/self/exe\n".to_vec();
    request.files = vec![v1::File {
        path: "/program".into(),
        content,
        mode: 0o755,
        uid: 0,
        gid: 0,
    }];
    let (_, exit) = pod.run(request).await;
    // It complains of its command line; one built for tests misses its libraries already.
    assert!([64, 127].contains(&exit.code), "{exit:?}");
    let mut request = pod.shell(
        "c2",
        "for p in /proc/[0-9]*; do echo x > $p/exe; done; true",
    );
    request.namespaces = Some(v1::Namespaces {
        pid: v1::PidNamespace::PidPod.into(),
        ..v1::Namespaces::default()
    });
    request.privileged = true;
    process(&mut request).capabilities = only(u64::MAX);
    pod.output_of(request).await;
    assert_eq!(pod.output_of(pod.shell("c3", "echo fine")).await, "fine\n");
    pod.finish().await;
}

//! What containers share with their pod and with the host, and what not.

use std::fs;
use std::time::Duration;

use agent_api::v1;
use agent_api::v1::dial_input::Input;
use agent_api::v1::dial_output::Output;

use crate::fixture::Pod;

fn pid(pid: v1::PidNamespace) -> Option<v1::Namespaces> {
    Some(v1::Namespaces {
        pid: pid.into(),
        ..v1::Namespaces::default()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_with_a_pid_namespace_of_its_own_is_pid_1() {
    let pod = Pod::new().await;
    assert_eq!(
        pod.output_of(pod.shell("c1", "set -- /proc/[0-9]*; echo $$ $#"))
            .await,
        "1 1\n"
    );
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_that_share_the_pods_pid_namespace_see_each_other_and_a_reaper() {
    let pod = Pod::with(|request| request.shared_pid = true).await;
    let shared = |id: &str, script: &str| v1::CreateContainerRequest {
        namespaces: pid(v1::PidNamespace::PidPod),
        ..pod.shell(id, script)
    };
    pod.start(shared("c1", "sleep 4321")).await;
    let seen = pod
        .output_of(shared(
            "c2",
            "ps; cat /proc/1/cmdline | tr '\\0' ' '; ls /proc/1/root/ 2>&1; true",
        ))
        .await;
    assert!(seen.contains("sleep 4321"), "{seen}");
    assert!(seen.contains("bulkhead-agent pause"), "{seen}");
    assert!(
        seen.contains("Permission denied"),
        "PID 1 can be looked into: {seen}"
    );
    // Orphans don't stay zombies.
    let orphan = "sh -c 'sleep 0.2 &'; sleep 1; ps -o stat,args | grep -c '^Z'";
    assert_eq!(pod.exec("c1", orphan).await.stdout, b"0\n");
    // A process that is not PID 1 feels SIGTERM without a handler.
    crate::life::signal(&pod, "c1", 15, false).await;
    assert_eq!(pod.exit_of("c1").await.code, 143);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_can_join_the_pid_namespace_of_another() {
    let pod = Pod::new().await;
    pod.start(pod.shell("c1", "sleep 4321")).await;
    let mut request = pod.shell("c2", "cat /proc/1/cmdline | tr '\\0' ' '");
    request.namespaces = Some(v1::Namespaces {
        pid: v1::PidNamespace::PidTarget.into(),
        pid_target: "c1".into(),
    });
    assert_eq!(pod.output_of(request).await, "sleep 4321 ");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_can_share_the_hosts_pid_namespace() {
    let pod = Pod::new().await;
    let mut request = pod.shell("c1", "echo $$; cat /proc/1/comm");
    request.namespaces = pid(v1::PidNamespace::PidHost);
    let seen = pod.output_of(request).await;
    let init = fs::read_to_string("/proc/1/comm").unwrap();
    assert!(seen.ends_with(&init), "{seen}");
    assert!(!seen.starts_with("1\n"), "{seen}");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pod_has_its_own_host_name_network_and_sysctls() {
    let pod = Pod::with(|request| {
        request.sysctls = [
            ("kernel.shm_rmid_forced".to_owned(), "1".to_owned()),
            ("fs.mqueue.msg_max".to_owned(), "100".to_owned()),
            (
                "net.ipv4.ip_unprivileged_port_start".to_owned(),
                "80".to_owned(),
            ),
        ]
        .into();
    })
    .await;
    let seen = pod
        .output_of(pod.shell(
            "c1",
            "hostname; cat /proc/sys/kernel/shm_rmid_forced /proc/sys/fs/mqueue/msg_max \
             /proc/sys/net/ipv4/ip_unprivileged_port_start; ls /sys/class/net",
        ))
        .await;
    assert_eq!(seen, "test-pod\n1\n100\n80\nlo\n");
    assert_ne!(
        fs::read_to_string("/proc/sys/kernel/hostname").unwrap(),
        "test-pod\n"
    );
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_memory_is_the_pods() {
    let pod = Pod::with(|request| request.shm_bytes = 1 << 20).await;
    pod.start(pod.shell("c1", "echo shared > /dev/shm/file; sleep 60"))
        .await;
    let seen = pod
        .output_of(pod.shell(
            "c2",
            "sleep 0.5; cat /dev/shm/file; df -k /dev/shm | tail -1",
        ))
        .await;
    assert!(seen.starts_with("shared\n"), "{seen}");
    assert!(seen.contains("1024"), "{seen}");
    assert!(!std::path::Path::new("/dev/shm/file").exists());
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn host_namespaces_are_the_hosts() {
    let pod = Pod::with(|request| {
        request.host_ipc = true;
        request.host_uts = true;
        request.hostname.clear();
        request.network_namespace.clear();
    })
    .await;
    let seen = pod
        .output_of(pod.shell(
            "c1",
            "for n in ipc uts net; do readlink /proc/self/ns/$n; done",
        ))
        .await;
    let own: String = ["ipc", "uts", "net"]
        .map(|kind| {
            format!(
                "{}\n",
                fs::read_link(format!("/proc/self/ns/{kind}"))
                    .unwrap()
                    .display()
            )
        })
        .concat();
    assert_eq!(seen, own);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_of_the_pod_can_be_reached() {
    let pod = Pod::new().await;
    pod.start(pod.shell(
        "c1",
        "mkdir /www; echo page > /www/index.html; httpd -f -p 127.0.0.1:8080 -h /www",
    ))
    .await;
    let dialled = async {
        loop {
            match pod.client.dial(8080).await {
                Ok(session) => return session,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    let mut session = tokio::time::timeout(Duration::from_secs(20), dialled)
        .await
        .unwrap();
    let request = b"GET /index.html HTTP/1.0\r\n\r\n".to_vec();
    let message = v1::DialInput {
        input: Some(Input::Data(request.into())),
    };
    session.input.send(message).await.unwrap();
    let mut answer = Vec::new();
    while let Some(message) = session.output.message().await.unwrap() {
        match message.output {
            Some(Output::Data(bytes)) => answer.extend_from_slice(&bytes),
            Some(Output::End(_)) => break,
            _ => {}
        }
    }
    assert!(
        String::from_utf8_lossy(&answer).ends_with("page\n"),
        "{answer:?}"
    );
    let error = pod.client.dial(9).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::Unavailable);
    let words = error.words().unwrap();
    assert!(
        words.starts_with("connect to port 9 of the pod: Connection refused"),
        "{words}"
    );
    pod.finish().await;
}

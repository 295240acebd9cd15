//! From creation to removal.

use std::fs;
use std::time::Duration;

use agent_api::{exit_record, v1};
use tonic::Code;

use crate::fixture::{Pod, process, wait_for};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_container_writes_is_in_its_log_and_its_exit_is_told() {
    let pod = Pod::new().await;
    let (log, exit) = pod
        .run(pod.shell("c1", "echo one; echo two >&2; printf rest; exit 3"))
        .await;
    let mut lines: Vec<_> = log.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["one", "rest", "two"]);
    assert_eq!((exit.code, exit.signal, exit.oom_killed), (3, 0, false));
    let raw = fs::read_to_string(pod.log_path("c1")).unwrap();
    assert!(raw.contains(" stderr F two\n"), "{raw}");
    assert!(raw.contains(" stdout P rest\n"), "{raw}");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_exit_is_on_disk_before_it_is_told_and_goes_with_the_container() {
    let pod = Pod::new().await;
    let (_, exit) = pod.run(pod.shell("c1", "exit 7")).await;
    let record = pod
        .directory
        .join("state")
        .join(exit_record::file_name("c1"));
    assert_eq!(
        exit_record::decode(&fs::read_to_string(&record).unwrap()),
        Some(exit)
    );
    pod.client.remove_container("c1").await.unwrap();
    assert!(!record.exists());
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_goes_through_its_states() {
    let pod = Pod::new().await;
    let state = async || {
        let all = pod.client.list_containers(Some("c1")).await.unwrap();
        all.first().map(|container| container.state())
    };
    assert_eq!(state().await, None);
    pod.client
        .create_container(pod.shell("c1", "sleep 60"))
        .await
        .unwrap();
    assert_eq!(state().await, Some(v1::ContainerState::Created));
    pod.client.start_container("c1").await.unwrap();
    assert_eq!(state().await, Some(v1::ContainerState::Running));
    signal(&pod, "c1", 9, false).await;
    assert_eq!(pod.exit_of("c1").await.code, 137);
    assert_eq!(state().await, Some(v1::ContainerState::Exited));
    assert_eq!(
        pod.client.start_container("c1").await.unwrap_err().code(),
        Code::FailedPrecondition
    );
    pod.client.remove_container("c1").await.unwrap();
    pod.client.remove_container("c1").await.unwrap();
    assert_eq!(state().await, None);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_is_taken_until_its_container_is_removed() {
    let pod = Pod::new().await;
    pod.start(pod.shell("c1", "sleep 60")).await;
    let again = pod
        .client
        .create_container(pod.shell("c1", "true"))
        .await
        .unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);
    pod.client.remove_container("c1").await.unwrap();
    pod.start(pod.shell("c1", "echo again")).await;
    wait_for("the second of its name writes", || {
        pod.log("c1").contains("again")
    });
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_created_container_can_be_stopped_before_it_starts() {
    let pod = Pod::new().await;
    pod.client
        .create_container(pod.shell("c1", "sleep 60"))
        .await
        .unwrap();
    signal(&pod, "c1", 15, false).await;
    assert_eq!(pod.exit_of("c1").await.signal, 9);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_is_missing_is_an_error_that_names_it_and_leaves_nothing() {
    let pod = Pod::new().await;
    let error = pod
        .client
        .create_container(pod.container("c1", &["nosuch"]))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert_eq!(
        error.words(),
        Some("exec \"nosuch\": no such file or directory")
    );
    assert!(!pod.cgroup("c1").exists());
    assert!(pod.client.list_containers(None).await.unwrap().is_empty());
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_does_not_execute_fails_the_start() {
    let pod = Pod::new().await;
    let mut request = pod.container("c1", &["/program"]);
    let content = b"#!/no/such/interpreter\n".to_vec();
    request.files = vec![v1::File {
        path: "/program".into(),
        content,
        mode: 0o755,
        uid: 0,
        gid: 0,
    }];
    pod.client.create_container(request).await.unwrap();
    let error = pod.client.start_container("c1").await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    let words = error.words().unwrap();
    assert!(
        words.contains("its interpreter or loader is not"),
        "{words}"
    );
    pod.exit_of("c1").await;
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_in_a_container_ends_with_its_first_process() {
    let pod = Pod::with(|request| request.shared_pid = true).await;
    let mut request = pod.shell("c1", "sleep 1000 & sleep 1000 & exit 4");
    request.namespaces = Some(v1::Namespaces {
        pid: v1::PidNamespace::PidPod.into(),
        ..Default::default()
    });
    let (_, exit) = pod.run(request).await;
    assert_eq!(exit.code, 4);
    let procs = fs::read_to_string(pod.cgroup("c1").join("cgroup.procs")).unwrap();
    assert_eq!(procs, "");
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_of_much_output_right_before_the_end() {
    let pod = Pod::new().await;
    let script = "i=0; while [ $i -lt 3000 ]; do echo line $i of the output; i=$((i+1)); done";
    let log = pod.output_of(pod.shell("c1", script)).await;
    let expected: String = (0..3000)
        .map(|i| format!("line {i} of the output\n"))
        .collect();
    assert_eq!(log, expected);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_ignores_sigterm_is_killed_at_shutdown() {
    let pod = Pod::new().await;
    pod.start(pod.shell("c1", "trap '' TERM; while true; do sleep 1; done"))
        .await;
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_gives_grace() {
    let pod = Pod::new().await;
    pod.start(pod.shell(
        "c1",
        "trap 'echo bye; exit 0' TERM; echo up; while true; do sleep 0.1; done",
    ))
    .await;
    wait_for("it is up", || pod.log("c1").contains("up"));
    pod.client.shutdown(Duration::from_secs(30)).await.unwrap();
    assert!(pod.log("c1").contains("bye"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agent_does_not_mind_sigterm_and_runs_from_a_sealed_file() {
    let pod = Pod::new().await;
    let pid = rustix::process::Pid::from_child(&pod.agent);
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::HUP] {
        rustix::process::kill_process(pid, signal).unwrap();
    }
    assert_eq!(
        pod.output_of(pod.shell("c1", "echo alive")).await,
        "alive\n"
    );
    let exe = fs::read_link(format!("/proc/{}/exe", pod.agent.id())).unwrap();
    assert!(
        exe.starts_with("/memfd:bulkhead-agent (deleted)"),
        "{exe:?}"
    );
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_can_be_made_before_the_sandbox() {
    let pod = Pod::unconfigured().await;
    let error = pod
        .client
        .create_container(pod.shell("c1", "true"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    pod.client.configure_sandbox(pod.request()).await.unwrap();
    pod.client.configure_sandbox(pod.request()).await.unwrap();
    let mut other = pod.request();
    other.hostname = "other".into();
    let error = pod.client.configure_sandbox(other).await.unwrap_err();
    assert_eq!(error.code(), Code::AlreadyExists);
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_on_the_host_refuses_what_is_for_guests() {
    let pod = Pod::new().await;
    let disks = pod
        .client
        .rescan_disks(vec!["d1".into()])
        .await
        .unwrap_err();
    assert_eq!(disks.code(), Code::Unimplemented);
    let clock = v1::UpdateGuestRequest {
        cpus: 0,
        time_ns: 1,
    };
    assert_eq!(
        pod.client.update_guest(clock).await.unwrap_err().code(),
        Code::Unimplemented
    );
    assert_eq!(
        pod.client.release_disk("d1").await.unwrap_err().code(),
        Code::Unimplemented
    );
    pod.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_refused_and_leave_nothing() {
    let pod = Pod::new().await;
    let no_process = v1::CreateContainerRequest {
        process: None,
        ..pod.shell("c1", "true")
    };
    let mut bad_user = pod.shell("c1", "true");
    process(&mut bad_user).user = Some(v1::User {
        user: Some(v1::user::User::Name("nosuch".into())),
        ..v1::User::default()
    });
    let mut bad_cgroup = pod.shell("c1", "true");
    bad_cgroup.resources = Some(v1::Resources {
        cpuset_cpus: "999".into(),
        ..v1::Resources::default()
    });
    let bad_id = v1::CreateContainerRequest {
        container_id: "../x".into(),
        ..pod.shell("c1", "")
    };
    for request in [no_process, bad_user, bad_cgroup, bad_id] {
        let error = pod.client.create_container(request).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{error:?}");
    }
    assert!(!pod.cgroup("c1").exists());
    pod.finish().await;
}

pub(crate) async fn signal(pod: &Pod, id: &str, number: u32, all: bool) {
    let request = v1::SignalContainerRequest {
        container_id: id.into(),
        signal: number,
        all,
    };
    pod.client.signal_container(request).await.unwrap();
}

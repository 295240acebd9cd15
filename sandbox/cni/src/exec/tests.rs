//! Programs that misbehave.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Instant;

use super::*;

struct Script {
    dir: tempfile::TempDir,
}

impl Script {
    fn new(body: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = Self { dir };
        // Its own file may still be open for writing in a child that another test is starting.
        std::fs::write(script.program(), format!("#!/bin/sh\n{body}\n")).unwrap();
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(script.program(), executable).unwrap();
        script
    }

    fn program(&self) -> PathBuf {
        self.dir.path().join("plugin")
    }

    async fn run(&self, stdin: &[u8], limit: Duration) -> Result<Ended, Failure> {
        let environment = [
            ("PLACE", self.dir.path().into()),
            ("CNI_COMMAND", "ADD".into()),
        ];
        run(&self.program(), &environment, stdin, limit).await
    }

    /// The process whose id the script wrote to `pid`.
    fn has_living_child(&self) -> bool {
        let pid = std::fs::read_to_string(self.dir.path().join("pid")).unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }
}

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_plugin_gets_its_input_and_environment_and_its_output_comes_back() {
    let script = Script::new("cat; echo \"$CNI_COMMAND\"; echo log >&2; exit 3");
    let ended = script.run(b"request ", LONG).await.unwrap();
    assert_eq!(ended.stdout, b"request ADD\n");
    assert_eq!(ended.stderr, b"log\n");
    assert_eq!(ended.status.code(), Some(3));
}

#[tokio::test]
async fn a_plugin_that_hangs_is_killed_with_its_children() {
    let script = Script::new("sleep 600 & echo $! > $PLACE/pid; sleep 600");
    let failure = script.run(b"", Duration::from_secs(5)).await.unwrap_err();
    assert!(matches!(failure, Failure::TimedOut(_)), "{failure}");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!script.has_living_child());
}

#[tokio::test]
async fn a_plugin_that_writes_without_end_is_killed_with_its_children() {
    let script = Script::new("sleep 600 & echo $! > $PLACE/pid; yes");
    let failure = script.run(b"", LONG).await.unwrap_err();
    assert!(
        matches!(failure, Failure::TooMuchOutput { .. }),
        "{failure}"
    );
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!script.has_living_child());
}

#[tokio::test]
async fn a_log_of_megabytes_is_cut_and_disturbs_nobody() {
    let script = Script::new("head -c 5000000 /dev/zero >&2; echo done");
    let ended = script.run(b"", LONG).await.unwrap();
    assert_eq!(ended.stdout, b"done\n");
    assert_eq!(ended.stderr.len(), KEPT_STDERR);
}

#[tokio::test]
async fn a_plugin_that_never_reads_its_input_is_not_waited_for() {
    let script = Script::new("exit 0");
    let ended = script.run(&vec![b' '; 1 << 20], LONG).await.unwrap();
    assert!(ended.status.success());
}

#[tokio::test]
async fn a_child_that_holds_the_output_open_does_not_hold_up_the_answer() {
    let script = Script::new("sleep 600 & echo $! > $PLACE/pid; echo answer");
    let started = Instant::now();
    let ended = script.run(b"", LONG).await.unwrap();
    assert_eq!(ended.stdout, b"answer\n");
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(
        script.has_living_child(),
        "what a plugin leaves on purpose stays"
    );
    let pid = std::fs::read_to_string(script.dir.path().join("pid")).unwrap();
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_the_plugin_with_it() {
    let script = Script::new("sleep 600 & echo $! > $PLACE/pid; sleep 600");
    let run = script.run(b"", LONG);
    assert!(timeout(Duration::from_secs(5), run).await.is_err());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!script.has_living_child());
}

#[tokio::test]
async fn a_program_that_can_not_be_started_is_named() {
    let program = Path::new("/nonexistent/plugin");
    let failure = run(program, &[], b"", LONG).await.unwrap_err();
    let words = crate::error::chain(&failure);
    assert!(words.starts_with("start /nonexistent/plugin: "), "{words}");
}

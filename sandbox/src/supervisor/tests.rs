//! Tests of starting, finding and ending a process, with a shell in its place.

use std::io::Write;
use std::os::fd::AsFd;

use super::*;

struct Fixture {
    dir: tempfile::TempDir,
    log: LogFile,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = LogFile::at(dir.path().join("shell.log"));
        Self { dir, log }
    }

    fn lock(&self) -> PathBuf {
        self.dir.path().join("lock")
    }

    /// Starts `script` with the lock as descriptor 3, without the cgroup, which takes root.
    fn start(&self, script: &str, descriptors: &[BorrowedFd<'_>]) -> Supervisor {
        let lock = take(&self.lock()).unwrap().unwrap();
        let output = self.log.open().unwrap();
        let cgroup = PodCgroup::saved("/none".into(), crate::cgroup::Parent::Ours);
        let launch = Launch {
            program: Path::new("/bin/sh"),
            args: vec!["-c".into(), script.into()],
            descriptors: [&[lock.as_fd()], descriptors].concat(),
            output: output.as_fd(),
            cgroup: &cgroup,
            oom_score_adj: 0,
        };
        let pid = spawn::spawn(&launch).unwrap();
        Supervisor::open(pid, self.lock()).unwrap()
    }
}

#[tokio::test]
async fn it_gets_its_descriptors_and_nothing_else() {
    let fixture = Fixture::new();
    let (mut writer, reader) = std::os::unix::net::UnixStream::pair().unwrap();
    let script =
        "cat <&4; ls /proc/self/fd; env; ps -o sid= -p $$ || cut -d' ' -f6 /proc/$$/stat; exit 7";
    let shell = fixture.start(script, &[reader.as_fd()]);
    writer.write_all(b"through\n").unwrap();
    drop((writer, reader));
    assert_eq!(shell.wait().await, "exited with code 7");
    let said = fixture.log.tail(1000);
    let lines: Vec<_> = said.lines().map(str::trim).collect();
    // `ls` itself has the directory open as one more.
    assert_eq!(
        lines[..7],
        ["through", "0", "1", "2", "3", "4", "5"],
        "{said}"
    );
    assert!(
        lines[7].starts_with("PATH=") || lines[7].starts_with("PWD="),
        "{said}"
    );
    assert_eq!(lines.last().unwrap(), &shell.pid().to_string(), "{said}");
}

#[tokio::test]
async fn its_death_frees_the_lock_and_is_told() {
    let fixture = Fixture::new();
    let shell = fixture.start("sleep 1000 & wait", &[]);
    assert!(is_held(&fixture.lock()).unwrap());
    assert!(take(&fixture.lock()).unwrap().is_none());
    let group = as_pid(shell.pid()).unwrap();
    rustix::process::kill_process_group(group, Signal::KILL).unwrap();
    assert_eq!(shell.wait().await, "killed by signal 9");
    while is_held(&fixture.lock()).unwrap() {
        tokio::task::yield_now().await;
    }
    shell.kill();
}

#[tokio::test]
async fn it_is_found_again_by_what_was_saved() {
    let fixture = Fixture::new();
    let shell = fixture.start("exec sleep 1000", &[]);
    let saved = shell.saved().clone();
    let found = Supervisor::adopt(&saved).unwrap().expect("it lives");
    assert_eq!(holder(&fixture.lock()), Some(saved.pid));

    let later = Saved {
        start_time: saved.start_time + 1,
        ..saved.clone()
    };
    assert!(
        Supervisor::adopt(&later).unwrap().is_none(),
        "another process"
    );

    kill_holder(&fixture.lock()).unwrap();
    found.wait().await;
    shell.wait().await;
    assert!(Supervisor::adopt(&saved).unwrap().is_none(), "it is dead");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told() {
    let cgroup = PodCgroup::saved("/none".into(), crate::cgroup::Parent::Ours);
    let output = null().unwrap();
    let launch = Launch {
        program: Path::new("/nonexistent/agent"),
        args: vec![],
        descriptors: vec![],
        output: output.as_fd(),
        cgroup: &cgroup,
        oom_score_adj: 0,
    };
    let error = Supervisor::start(&launch, "/nonexistent/lock".into()).unwrap_err();
    assert!(
        error
            .chain()
            .starts_with("start /nonexistent/agent: No such file"),
        "{}",
        error.chain()
    );
}

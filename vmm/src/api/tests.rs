//! The control socket as a sandbox uses it, on a host without KVM.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket_with};
use vmm_api::event::Stop;
use vmm_api::{
    Accel, Channel, ErrorCode, MachineKind, MachineSpec, MemorySharing, PROTOCOL, Reply, Request,
    VsockSpec,
};

use super::*;
use crate::builtin::KvmError;
use crate::seccomp::Filters;

struct Fixture {
    _dir: tempfile::TempDir,
    path: PathBuf,
    surroundings: Surroundings,
    process: JoinHandle<ExitCode>,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        let flags = SocketFlags::CLOEXEC;
        let listener =
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        listen(&listener, 16).unwrap();
        let kvm = Err(KvmError::Missing("everything"));
        let surroundings = Surroundings::new(kvm, Arc::new(Filters::default())).unwrap();
        let api = Api::new(listener, surroundings.clone()).unwrap();
        Self {
            _dir: dir,
            path,
            surroundings,
            process: std::thread::spawn(|| api.run().unwrap()),
        }
    }

    fn connect(&self) -> Channel {
        Channel::connect(&self.path).unwrap()
    }

    /// A connection that has said hello.
    fn greeted(&self) -> Channel {
        let channel = self.connect();
        let reply = ask(
            &channel,
            &Request::Hello {
                min: 1,
                max: PROTOCOL,
            },
        );
        assert!(matches!(
            reply,
            Reply::Hello {
                protocol: PROTOCOL,
                ..
            }
        ));
        channel
    }

    fn subscribed(&self) -> Channel {
        let channel = self.greeted();
        assert_eq!(ask(&channel, &Request::Subscribe), Reply::Done);
        channel
    }
}

fn ask(channel: &Channel, request: &Request) -> Reply {
    channel.send(request, &[]).unwrap();
    channel.receive().unwrap().0
}

fn next(channel: &Channel) -> Event {
    channel.receive().unwrap().0
}

#[track_caller]
fn check_refused(reply: &Reply, code: ErrorCode, words: &str) {
    let Reply::Failed(failure) = reply else {
        panic!("{reply:?}");
    };
    assert_eq!(failure.code, code, "{failure}");
    assert!(failure.message.contains(words), "{failure}");
}

fn spec(kind: MachineKind) -> Request {
    Request::Boot(Box::new(MachineSpec {
        kind,
        vcpus: 1,
        memory_mib: 128,
        memory_sharing: MemorySharing::Private,
        kernel: 0,
        initramfs: 1,
        cmdline: String::new(),
        console: 2,
        console_limit_bytes: 0,
        vsock: VsockSpec { listener: 3 },
        devices: Vec::new(),
        interfaces: Vec::new(),
    }))
}

#[test]
fn a_peer_says_hello_first_and_in_a_protocol_we_know() {
    let fixture = Fixture::new();
    let channel = fixture.connect();
    check_refused(
        &ask(&channel, &Request::Status),
        ErrorCode::WrongState,
        "hello",
    );
    let newer = Request::Hello {
        min: PROTOCOL + 1,
        max: PROTOCOL + 2,
    };
    check_refused(&ask(&channel, &newer), ErrorCode::Unsupported, "protocols");
}

#[test]
fn a_host_without_kvm_is_unavailable_and_says_why() {
    let fixture = Fixture::new();
    let reply = ask(&fixture.greeted(), &spec(MachineKind::Builtin));
    check_refused(&reply, ErrorCode::Unavailable, "lacks everything");
}

#[test]
fn a_kind_of_machine_that_is_not_built_is_unsupported_by_name() {
    let fixture = Fixture::new();
    let reply = ask(
        &fixture.greeted(),
        &spec(MachineKind::Qemu { accel: Accel::Tcg }),
    );
    check_refused(&reply, ErrorCode::Unsupported, "kind: ");
}

#[test]
fn devices_need_a_machine() {
    let fixture = Fixture::new();
    let address = vmm_api::DeviceAddress { slot: 3 };
    let reply = ask(&fixture.greeted(), &Request::Detach(address));
    check_refused(&reply, ErrorCode::WrongState, "no machine");
}

#[test]
fn rubbish_is_refused_and_costs_nobody_else_anything() {
    let fixture = Fixture::new();
    let (other, channel) = (fixture.greeted(), fixture.greeted());
    channel.send(&"rubbish", &[]).unwrap();
    check_refused(
        &channel.receive().unwrap().0,
        ErrorCode::Invalid,
        "understand",
    );
    assert!(matches!(ask(&other, &Request::Status), Reply::Status(_)));
}

#[test]
fn logs_are_opened_and_closed_without_a_machine() {
    let fixture = Fixture::new();
    let channel = fixture.greeted();
    let file = tempfile::tempfile().unwrap();
    let open = Request::OpenLog {
        container: "c1".into(),
        file: 0,
    };
    check_refused(
        &ask(&channel, &open),
        ErrorCode::Invalid,
        "file: descriptor 0",
    );
    channel.send(&open, &[file.as_fd()]).unwrap();
    assert_eq!(channel.receive::<Reply>().unwrap().0, Reply::Done);
    let close = Request::CloseLog {
        container: "c1".into(),
    };
    assert_eq!(ask(&channel, &close), Reply::Done);
}

#[test]
fn subscribers_hear_what_happens_and_how_it_ends() {
    let fixture = Fixture::new();
    let events = fixture.subscribed();
    fixture.surroundings.ready.reach(());
    assert_eq!(next(&events), Event::GuestReady);
    fixture.surroundings.end.end(Stop::Reset, "the guest reset");
    let stopped = Event::Stopped {
        how: Stop::Reset,
        why: "the guest reset".into(),
    };
    assert_eq!(next(&events), stopped);
    drop(events);
    assert_eq!(fixture.process.join().unwrap(), ExitCode::Reset);
}

#[test]
fn who_comes_after_the_end_is_told_before_the_process_goes() {
    let fixture = Fixture::new();
    fixture.surroundings.end.end(Stop::Crash, "triple fault");
    let requests = fixture.greeted();
    let Reply::Status(status) = ask(&requests, &Request::Status) else {
        panic!("no status");
    };
    assert_eq!(
        (&*status.state, status.why.as_deref()),
        ("stopped", Some("triple fault"))
    );
    let events = fixture.subscribed();
    assert!(matches!(
        next(&events),
        Event::Stopped {
            how: Stop::Crash,
            ..
        }
    ));
    drop(events);
    assert_eq!(fixture.process.join().unwrap(), ExitCode::Crashed);
}

#[test]
fn a_subscriber_that_does_not_hang_up_does_not_keep_the_process() {
    let fixture = Fixture::new();
    let events = fixture.subscribed();
    fixture.surroundings.end.end(Stop::PowerOff, "off");
    assert_eq!(fixture.process.join().unwrap(), ExitCode::PoweredOff);
    drop(events);
}

#[test]
fn kill_ends_the_process_and_is_answered() {
    let fixture = Fixture::new();
    let events = fixture.subscribed();
    assert_eq!(ask(&fixture.greeted(), &Request::Kill), Reply::Done);
    assert!(matches!(
        next(&events),
        Event::Stopped {
            how: Stop::Killed,
            ..
        }
    ));
    assert_eq!(fixture.process.join().unwrap(), ExitCode::Killed);
}

#[test]
fn a_peer_that_never_reads_is_cut_off_and_the_rest_goes_on() {
    let fixture = Fixture::new();
    let deaf = fixture.greeted();
    let sent = (0..100_000).take_while(|_| deaf.send(&Request::Status, &[]).is_ok());
    assert!(sent.count() < 100_000);
    assert!(matches!(
        ask(&fixture.greeted(), &Request::Status),
        Reply::Status(_)
    ));
}

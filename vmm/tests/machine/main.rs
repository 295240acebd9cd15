//! The whole process with a real machine in it, whose guests are a few instructions long.
//!
//! Needs root and KVM, and therefore a node.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod guest;
mod process;

use std::time::Duration;

use guest::Code;
use process::{Process, spec};
use vmm_api::event::Stop;
use vmm_api::{
    BlkAccess, BlkSpec, DeviceAddress, DeviceSpec, ErrorCode, Extent, FsSpec, NetSpec, Reply,
    Request,
};

/// Runs `code` to its end, and gives how it ended, what the console shows, and the exit code.
fn run(code: &Code) -> (Stop, String, Option<i32>) {
    let mut process = Process::start();
    process.boot(code, |_| ());
    let (how, _) = process.stopped();
    let exit = process.wait();
    (how, process.console(), exit)
}

#[test]
fn a_guest_speaks_on_its_console_and_powers_off() {
    let (how, console, exit) = run(&Code::new().say("hello\nunfinished").power_off());
    assert_eq!((how, &*console), (Stop::PowerOff, "hello\nunfinished"));
    assert_eq!(exit, Some(0));
}

#[test]
fn a_reset_is_told_from_a_crash() {
    let (how, console, exit) = run(&Code::new().say("panic\n").reset());
    assert_eq!((how, &*console, exit), (Stop::Reset, "panic\n", Some(10)));
    let (how, _, exit) = run(&Code::new().triple_fault());
    assert_eq!((how, exit), (Stop::Crash, Some(11)));
}

#[test]
fn running_code_in_device_memory_costs_the_guest_only_itself() {
    let (how, _, exit) = run(&Code::new().jump_to(0xe000_0000));
    assert_eq!((how, exit), (Stop::Crash, Some(11)));
}

#[test]
fn a_guest_that_never_ends_is_killed_on_request() {
    let mut process = Process::start();
    process.boot(&Code::new().spin(), |spec| spec.vcpus = 3);
    assert_eq!(process.ask(&Request::Kill, &[]), Reply::Done);
    assert_eq!(process.stopped().0, Stop::Killed);
    assert_eq!(process.wait(), Some(12));
}

#[test]
fn neither_signals_nor_a_server_that_dies_end_it() {
    let mut process = Process::start();
    process.boot(&Code::new().spin(), |_| ());
    for signal in ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2"] {
        process.signal(signal);
    }
    process.hang_up();
    std::thread::sleep(Duration::from_millis(500));
    assert!(process.has_open("anon_inode:kvm-vm"));
    process.connect();
    let Reply::Status(status) = process.ask(&Request::Status, &[]) else {
        panic!("no status");
    };
    assert_eq!(status.state, "running");
    // The node's kernel can do this.
    let mut counters = status.counters.iter();
    let pre_faulted = counters.find(|(name, _)| name == "memory_pre_faulted_bytes");
    assert!(
        pre_faulted.is_some_and(|(_, bytes)| *bytes > 0),
        "{status:?}"
    );
}

#[test]
fn who_was_away_is_told_of_the_end_and_memory_is_given_back_before() {
    let mut process = Process::start();
    process.stop_listening();
    let reply = process.try_boot(spec(), &Code::new().power_off());
    assert_eq!(reply, Reply::Done);
    process.hang_up();
    std::thread::sleep(Duration::from_secs(1));
    assert!(process.largest_mapping() < 64 << 20);
    assert!(!process.has_open("anon_inode:kvm-vm"));
    process.connect();
    assert_eq!(process.stopped().0, Stop::PowerOff);
    assert_eq!(process.wait(), Some(0));
}

#[test]
fn the_process_is_locked_in() {
    let mut process = Process::start();
    process.boot(&Code::new().spin(), |spec| spec.vcpus = 2);
    let threads = process.threads();
    assert_eq!(threads.len(), 5, "control, io, disk and two vCPUs");
    for status in threads {
        let field = |name: &str| -> Vec<&str> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.expect(name).split_whitespace().collect()
        };
        let uid = process::UID.to_string();
        assert_eq!(field("Uid:"), [&*uid; 4]);
        assert_eq!(field("Gid:"), [&*uid; 4]);
        assert!(field("Groups:").is_empty());
        assert_eq!(field("NoNewPrivs:"), ["1"]);
        assert_eq!(field("Seccomp:"), ["2"]);
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(field(set), ["0000000000000000"], "{set}");
        }
    }
    assert_eq!(process.root_entries(), 0, "its root is empty");
    for namespace in ["mnt", "user"] {
        assert!(process.has_own(namespace), "{namespace}");
    }
}

#[test]
fn a_machine_that_can_not_be_leaves_room_for_one_that_can() {
    let mut process = Process::start();
    let bad = |process: &Process, change: fn(&mut vmm_api::MachineSpec), words: &str| {
        let mut spec = spec();
        change(&mut spec);
        let reply = process.try_boot(spec, &Code::new().spin());
        let Reply::Failed(failure) = reply else {
            panic!("{reply:?}");
        };
        assert_eq!(failure.code, ErrorCode::Invalid, "{failure}");
        assert!(failure.message.contains(words), "{failure}");
    };
    bad(&process, |spec| spec.vcpus = 0, "vcpus = 0");
    bad(&process, |spec| spec.vcpus = 100_000, "vcpus = 100000");
    bad(&process, |spec| spec.memory_mib = 1, "memory_mib = 1");
    bad(&process, |spec| spec.kernel = 1, "guest kernel");
    bad(&process, |spec| spec.kernel = 99, "kernel: descriptor 99");
    bad(&process, |spec| spec.cmdline = "x".repeat(4000), "cmdline");
    let fs = |spec: &mut vmm_api::MachineSpec| {
        let tag = "files".to_owned();
        spec.devices = vec![DeviceSpec::Fs(FsSpec { tag, socket: 3 })];
    };
    bad(&process, fs, "memory_sharing");
    let net = |queues, vhost| NetSpec {
        queues,
        vhost,
        mac: [2; 6],
        mtu: 1500,
    };
    let no_queue = net(vec![], vec![]);
    bad_interface(&process, no_queue, "an interface has 1 to 16, not 0");
    bad_interface(&process, net(vec![3], vec![]), "look at the TAP device");
    let uneven = net(vec![3, 3], vec![2]);
    bad_interface(&process, uneven, "vhost: 1 descriptors for 2 queues");
    process.boot(&Code::new().say("fine\n").power_off(), |_| ());
    assert_eq!(process.stopped().0, Stop::PowerOff);
}

#[track_caller]
fn bad_interface(process: &Process, interface: NetSpec, words: &str) {
    let mut spec = spec();
    spec.interfaces = vec![interface];
    let Reply::Failed(failure) = process.try_boot(spec, &Code::new().spin()) else {
        panic!("it boots");
    };
    assert_eq!(failure.code, ErrorCode::Invalid, "{failure}");
    assert!(failure.message.contains(words), "{failure}");
}

#[test]
fn disks_come_and_go_while_the_guest_runs() {
    let mut process = Process::start();
    process.boot(&Code::new().spin(), |_| ());
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 20).unwrap();
    let disk = |serial: &str| {
        Request::Attach(DeviceSpec::Blk(BlkSpec {
            serial: serial.to_owned(),
            access: BlkAccess::ReadOnly,
            extents: vec![Extent {
                file: 0,
                offset: 0,
                len: 1 << 20,
            }],
        }))
    };
    let attach = |serial: &str| process.ask(&disk(serial), &[&file]);
    let failed = |reply: Reply| match reply {
        Reply::Failed(failure) => failure.code,
        other => panic!("{other:?}"),
    };
    let Reply::Attached(first) = attach("one") else {
        panic!("not attached");
    };
    assert_eq!(
        failed(attach("one")),
        ErrorCode::Invalid,
        "the name is taken"
    );
    // One slot is the bridge's, two are taken by what every machine has.
    for number in 0..28 {
        assert!(matches!(attach(&number.to_string()), Reply::Attached(_)));
    }
    assert_eq!(failed(attach("last")), ErrorCode::NoSpace);
    let detach = |address| process.ask(&Request::Detach(address), &[]);
    assert_eq!(detach(first), Reply::Done);
    assert_eq!(failed(detach(first)), ErrorCode::NotFound);
    let own = DeviceAddress { slot: 1 };
    assert_eq!(
        failed(detach(own)),
        ErrorCode::NotFound,
        "every machine has it"
    );
    assert_eq!(attach("one"), Reply::Attached(first));
}

#[test]
fn a_guest_that_writes_rubbish_to_every_register_gets_nowhere() {
    let mut process = Process::start();
    process.boot(&Code::new().scribble(), |spec| spec.vcpus = 1);
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(200));
        assert!(matches!(
            process.ask(&Request::Status, &[]),
            Reply::Status(_)
        ));
    }
    assert_eq!(process.ask(&Request::Kill, &[]), Reply::Done);
    assert_eq!(process.wait(), Some(12));
}

#[test]
fn a_guest_that_never_stops_talking_fills_its_console_file_only_so_far() {
    let mut process = Process::start();
    process.boot(
        &Code::new().say_for_ever("all work and no play\n"),
        |spec| {
            spec.console_limit_bytes = 16 * 1024;
        },
    );
    std::thread::sleep(Duration::from_secs(3));
    assert!(process.console().len() <= 16 * 1024);
    assert!(process.console().ends_with("play\n"));
}

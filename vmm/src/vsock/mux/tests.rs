//! The multiplexer between host programs and a guest, well-behaved and otherwise.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use proptest::prelude::*;
use vmm_devices::virtio::vsock::header::{SHUTDOWN_RECEIVE, SHUTDOWN_SEND};

use super::*;
use crate::vsock::GUEST_CID;
use crate::vsock::credit::BUFFER_SIZE;

const BOTH: u32 = SHUTDOWN_RECEIVE | SHUTDOWN_SEND;

/// A service of ours that gives back what it gets.
#[derive(Default)]
struct Echo(Vec<u8>);

impl HostEnd for Echo {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = buffer.len().min(self.0.len());
        buffer[..len].copy_from_slice(&self.0[..len]);
        self.0.drain(..len);
        Ok(len)
    }
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
}

struct Fixture {
    _dir: tempfile::TempDir,
    path: std::path::PathBuf,
    mux: Mux,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vsock");
        let listener = UnixListener::bind(&path).unwrap();
        let connect: Connect =
            Box::new(|port| (port == 7).then(|| Box::new(Echo::default()) as Box<dyn HostEnd>));
        Self {
            _dir: dir,
            path,
            mux: Mux::new(listener.into(), connect).unwrap(),
        }
    }

    /// Deals with everything that has happened on the host's side.
    fn run(&mut self) {
        for _ in 0..1000 {
            if self.mux.events.poll().unwrap().is_empty() {
                return;
            }
            self.mux.host_event();
        }
        panic!("the descriptor stays readable");
    }

    fn send(&mut self, ports: Ports, op: u16, flags: u32, payload: &[u8]) {
        let packet = Header {
            flags,
            len: u32::try_from(payload.len()).unwrap(),
            ..from_guest(ports, op)
        };
        assert_eq!(self.mux.send(&packet, payload), Sent::Taken);
    }

    #[track_caller]
    fn receive(&mut self) -> (Header, Vec<u8>) {
        self.run();
        let mut payload = vec![0; 4096];
        let packet = self.mux.receive(&mut payload).expect("a packet");
        payload.truncate(packet.len.try_into().unwrap());
        (packet, payload)
    }

    #[track_caller]
    fn expect(&mut self, op: u16) -> Header {
        let (packet, _) = self.receive();
        assert_eq!(packet.op, op, "{packet:?}");
        packet
    }

    #[track_caller]
    fn expect_nothing(&mut self) {
        self.run();
        let packet = self.mux.receive(&mut [0; 4096]);
        assert_eq!(packet, None);
    }

    /// A host program connected to port 52 of the guest, and the ports of its stream.
    #[track_caller]
    fn connected(&mut self) -> (UnixStream, Ports) {
        let mut program = UnixStream::connect(&self.path).unwrap();
        program.write_all(b"CONNECT 52\n").unwrap();
        let request = self.expect(op::REQUEST);
        let ports = Ports {
            host: request.src_port,
            guest: 52,
        };
        assert_eq!(request.dst_port, 52);
        self.send(ports, op::RESPONSE, 0, b"");
        let mut answer = vec![0; format!("OK {}\n", ports.host).len()];
        program.read_exact(&mut answer).unwrap();
        assert_eq!(answer, format!("OK {}\n", ports.host).into_bytes());
        program.set_nonblocking(true).unwrap();
        (program, ports)
    }
}

/// A packet of a guest with plenty of room.
fn from_guest(ports: Ports, op: u16) -> Header {
    Header {
        src_cid: GUEST_CID,
        dst_cid: HOST_CID,
        src_port: ports.guest,
        dst_port: ports.host,
        socket_type: TYPE_STREAM,
        op,
        buf_alloc: 64 * 1024,
        ..Header::default()
    }
}

fn read_all(mut program: &UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 65536];
    while let Ok(len @ 1..) = program.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..len]);
    }
    bytes
}

#[test]
fn a_host_program_talks_to_a_port_of_the_guest() {
    let mut fixture = Fixture::new();
    let (mut program, ports) = fixture.connected();
    program.write_all(b"question").unwrap();
    let (packet, payload) = fixture.receive();
    assert_eq!((packet.op, &payload[..]), (op::RW, &b"question"[..]));
    fixture.send(ports, op::RW, 0, b"answer");
    assert_eq!(read_all(&program), b"answer");
    fixture.expect_nothing();
}

#[test]
fn a_refused_program_sees_its_socket_close() {
    let mut fixture = Fixture::new();
    let mut program = UnixStream::connect(&fixture.path).unwrap();
    program.write_all(b"CONNECT 99\n").unwrap();
    let request = fixture.expect(op::REQUEST);
    let ports = Ports {
        host: request.src_port,
        guest: 99,
    };
    fixture.send(ports, op::RST, 0, b"");
    let mut rest = Vec::new();
    assert_eq!(program.read_to_end(&mut rest).unwrap(), 0);
    assert!(fixture.mux.streams.is_empty());
}

#[test]
fn the_guest_reaches_our_services_and_no_other_port() {
    let mut fixture = Fixture::new();
    let ports = Ports { host: 7, guest: 1 };
    fixture.send(ports, op::REQUEST, 0, b"");
    fixture.expect(op::RESPONSE);
    fixture.send(ports, op::RW, 0, b"hello");
    let (packet, payload) = fixture.receive();
    assert_eq!((packet.op, &payload[..]), (op::RW, &b"hello"[..]));

    let other = Ports { host: 22, guest: 1 };
    fixture.send(other, op::REQUEST, 0, b"");
    let reset = fixture.expect(op::RST);
    assert_eq!((reset.src_port, reset.dst_port), (22, 1));
}

#[test]
fn a_guest_that_closes_is_answered_with_a_reset_after_delivery() {
    let mut fixture = Fixture::new();
    let (program, ports) = fixture.connected();
    fixture.send(ports, op::RW, 0, b"last words");
    fixture.send(ports, op::SHUTDOWN, BOTH, b"");
    assert_eq!(read_all(&program), b"last words");
    fixture.expect(op::RST);
    assert!(fixture.mux.streams.is_empty());
}

#[test]
fn each_direction_ends_by_itself() {
    let mut fixture = Fixture::new();
    let (mut program, ports) = fixture.connected();
    program.write_all(b"all I have").unwrap();
    program.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(fixture.receive().1, b"all I have");
    assert_eq!(fixture.expect(op::SHUTDOWN).flags, SHUTDOWN_SEND);
    fixture.send(ports, op::RW, 0, b"reply");
    fixture.send(ports, op::SHUTDOWN, SHUTDOWN_SEND, b"");
    let mut reply = Vec::new();
    program.set_nonblocking(false).unwrap();
    program.read_to_end(&mut reply).unwrap();
    assert_eq!(reply, b"reply");
}

#[test]
fn a_program_that_leaves_ends_both_directions_after_its_last_bytes() {
    let mut fixture = Fixture::new();
    let (mut program, ports) = fixture.connected();
    program.write_all(b"bye").unwrap();
    drop(program);
    let mut flags = 0;
    let mut payload = Vec::new();
    for _ in 0..3 {
        fixture.run();
        let mut buffer = [0; 64];
        if let Some(packet) = fixture.mux.receive(&mut buffer) {
            payload.extend_from_slice(&buffer[..packet.len.try_into().unwrap()]);
            flags |= packet.flags;
        }
    }
    assert_eq!((flags, &payload[..]), (BOTH, &b"bye"[..]));
    fixture.send(ports, op::RST, 0, b"");
    assert!(fixture.mux.streams.is_empty());
}

#[test]
fn we_never_send_more_than_the_guest_has_room_for() {
    let mut fixture = Fixture::new();
    let (mut program, ports) = fixture.connected();
    let tell = |fixture: &mut Fixture, taken: u32| {
        let packet = Header {
            buf_alloc: 1000,
            fwd_cnt: taken,
            ..from_guest(ports, op::CREDIT_UPDATE)
        };
        assert_eq!(fixture.mux.send(&packet, b""), Sent::Taken);
    };
    tell(&mut fixture, 0);
    program.write_all(&[1; 1500]).unwrap();
    assert_eq!(fixture.receive().1.len(), 1000);
    fixture.expect(op::CREDIT_REQUEST);
    fixture.expect_nothing();
    tell(&mut fixture, 1000);
    assert_eq!(fixture.receive().1.len(), 500);
}

#[test]
fn a_guest_that_sends_more_than_we_have_room_for_is_cut_off() {
    let mut fixture = Fixture::new();
    let (_program, ports) = fixture.connected();
    for _ in 0..100 {
        fixture.send(ports, op::RW, 0, &[0; 65536]);
        let held = fixture.mux.streams[&ports].connection.held();
        assert!(held <= BUFFER_SIZE.try_into().unwrap());
        // Nothing but room for what the socket took is told before.
        match fixture.mux.receive(&mut [0; 4096]) {
            Some(packet) if packet.op == op::RST => return,
            Some(packet) => assert_eq!(packet.op, op::CREDIT_UPDATE),
            None => {}
        }
    }
    panic!("the guest was not cut off");
}

#[test]
fn the_guest_learns_of_room_as_the_program_reads() {
    let mut fixture = Fixture::new();
    let (program, ports) = fixture.connected();
    for _ in 0..2 {
        fixture.send(ports, op::RW, 0, &[0; 65536]);
    }
    let taken = read_all(&program).len();
    fixture.run();
    let rest = read_all(&program).len();
    assert_eq!(taken + rest, 131_072);
    let update = fixture.expect(op::CREDIT_UPDATE);
    assert!(update.fwd_cnt >= 65536);
    assert_eq!(update.buf_alloc, BUFFER_SIZE);
}

#[test]
fn refusals_that_nobody_takes_stop_the_guest() {
    let mut fixture = Fixture::new();
    let refused = (0..).find(|port| {
        let ports = Ports {
            host: 9,
            guest: *port,
        };
        fixture.mux.send(&from_guest(ports, op::REQUEST), b"") == Sent::Busy
    });
    assert_eq!(refused, Some(u32::try_from(MAX_RESETS).unwrap()));
    fixture.expect(op::RST);
    let ports = Ports { host: 9, guest: 9 };
    fixture.send(ports, op::REQUEST, 0, b"");
}

#[test]
fn a_guest_begins_only_so_many_streams() {
    let mut fixture = Fixture::new();
    for guest in 0..100 {
        fixture.send(Ports { host: 7, guest }, op::REQUEST, 0, b"");
    }
    assert_eq!(fixture.mux.streams.len(), MAX_GUEST_STREAMS);
}

#[test]
fn a_guest_that_comes_and_goes_and_takes_nothing_has_one_turn_at_most() {
    let mut fixture = Fixture::new();
    let ports = Ports { host: 7, guest: 1 };
    for _ in 0..100 {
        fixture.send(ports, op::REQUEST, 0, b"");
        assert_eq!(fixture.mux.line.len(), 1);
        fixture.send(ports, op::RST, 0, b"");
        assert!(fixture.mux.line.is_empty());
    }
}

#[test]
fn packets_take_turns() {
    let mut fixture = Fixture::new();
    let (mut first, one) = fixture.connected();
    let (mut second, two) = fixture.connected();
    first.write_all(&[1; 16384]).unwrap();
    second.write_all(&[2; 16384]).unwrap();
    let order: Vec<u32> = (0..4).map(|_| fixture.receive().0.src_port).collect();
    assert!(order.contains(&one.host) && order.contains(&two.host));
    assert_ne!(order[0], order[1]);
    assert_eq!(order[..2], order[2..]);
}

#[test]
fn a_guest_that_does_not_answer_is_given_up() {
    let mut fixture = Fixture::new();
    let mut program = UnixStream::connect(&fixture.path).unwrap();
    program.write_all(b"CONNECT 52\n").unwrap();
    fixture.expect(op::REQUEST);
    fixture.mux.lose_patience(Instant::now() + PATIENCE);
    fixture.expect(op::RST);
    assert_eq!(program.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_reset_of_the_device_ends_all_streams() {
    let mut fixture = Fixture::new();
    let (mut program, _) = fixture.connected();
    fixture.mux.reset();
    program.set_nonblocking(false).unwrap();
    assert_eq!(program.read(&mut [0]).unwrap(), 0);
    fixture.expect_nothing();
}

/// What a hostile guest or an odd program does next.
#[derive(Clone, Debug)]
enum Move {
    Packet {
        ports: Ports,
        op: u16,
        flags: u32,
        buf_alloc: u32,
        fwd_cnt: u32,
        len: usize,
    },
    Receive {
        room: usize,
    },
    Connect,
    Greet(u32),
    Say(usize),
    Listen,
    Leave,
    Wait,
}

fn any_move() -> impl Strategy<Value = Move> {
    // Host ports of streams that exist, most of the time, so that packets meet streams.
    let host = prop_oneof![
        Just(7u32),
        Just(9u32),
        FIRST_HOST_PORT..FIRST_HOST_PORT + 6,
        any::<u32>()
    ];
    let ports = (host, 0u32..4).prop_map(|(host, guest)| Ports { host, guest });
    let packet = (
        ports,
        0u16..10,
        0u32..5,
        prop_oneof![Just(4096u32), any::<u32>()],
        any::<u32>(),
        0usize..65537,
    )
        .prop_map(|(ports, op, flags, buf_alloc, fwd_cnt, len)| Move::Packet {
            ports,
            op,
            flags,
            buf_alloc,
            fwd_cnt,
            len,
        });
    prop_oneof![
        8 => packet,
        4 => prop_oneof![Just(0usize), 1usize..5000].prop_map(|room| Move::Receive { room }),
        2 => Just(Move::Connect),
        2 => (0u32..4).prop_map(Move::Greet),
        2 => (0usize..20000).prop_map(Move::Say),
        1 => Just(Move::Listen),
        1 => Just(Move::Leave),
        1 => Just(Move::Wait),
    ]
}

impl Fixture {
    fn play(&mut self, programs: &mut Vec<UnixStream>, step: Move) {
        match step {
            Move::Packet {
                ports,
                op,
                flags,
                buf_alloc,
                fwd_cnt,
                len,
            } => {
                let len = if op == op::RW { len } else { 0 };
                let packet = Header {
                    flags,
                    buf_alloc,
                    fwd_cnt,
                    len: u32::try_from(len).unwrap(),
                    ..from_guest(ports, op)
                };
                let _ = self.mux.send(&packet, &vec![0; len]);
            }
            Move::Receive { room } => {
                if let Some(packet) = self.mux.receive(&mut vec![0; room]) {
                    assert!(usize::try_from(packet.len).unwrap() <= room);
                }
            }
            Move::Connect => {
                let program = UnixStream::connect(&self.path).unwrap();
                program.set_nonblocking(true).unwrap();
                programs.push(program);
            }
            Move::Greet(port) => {
                if let Some(program) = programs.last_mut() {
                    let _ = program.write(format!("CONNECT {port}\n").as_bytes());
                }
            }
            Move::Say(len) => {
                if let Some(program) = programs.first_mut() {
                    let _ = program.write(&vec![0; len]);
                }
            }
            Move::Listen => drop(programs.iter().map(read_all).count()),
            Move::Leave => drop(programs.pop()),
            Move::Wait => self.mux.lose_patience(Instant::now() + PATIENCE),
        }
    }

    #[track_caller]
    fn check_bounds(&self) {
        let mux = &self.mux;
        assert!(mux.resets.len() <= MAX_RESETS);
        assert!(mux.streams.len() <= MAX_STREAMS && mux.line.len() <= MAX_STREAMS);
        for stream in mux.streams.values() {
            assert!(stream.connection.held() <= BUFFER_SIZE.try_into().unwrap());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_a_guest_does_makes_us_hold_more_or_spin(
        moves in proptest::collection::vec(any_move(), 1..200),
    ) {
        let mut fixture = Fixture::new();
        let mut programs = Vec::new();
        for step in moves {
            fixture.play(&mut programs, step);
            fixture.run();
            fixture.check_bounds();
        }
        // A guest that takes all packets and then sends no more leaves nothing pending.
        for _ in 0..100_000 {
            if fixture.mux.receive(&mut [0; 4096]).is_none() { break; }
        }
        prop_assert!(!fixture.mux.has_pending());
    }

    /// Whatever is written at one end comes out at the other, in both directions.
    #[test]
    fn no_byte_is_lost(
        chunks in proptest::collection::vec((any::<bool>(), 1usize..30_000, 0usize..70_000), 1..40),
    ) {
        let mut fixture = Fixture::new();
        let (mut program, ports) = fixture.connected();
        let (mut said, mut heard) = (Vec::new(), Vec::new());
        let (mut guest_said, mut program_heard) = (Vec::new(), Vec::new());
        let (mut room_at_host, mut taken) = (BUFFER_SIZE, 0u32);
        for (byte, (from_program, len, room)) in (0u8..).zip(chunks) {
            if from_program {
                let written = program.write(&vec![byte; len]).unwrap_or(0);
                said.extend(std::iter::repeat_n(byte, written));
            } else {
                let len = len.min(room_at_host.try_into().unwrap());
                let payload = vec![byte; len];
                let packet = Header {
                    len: u32::try_from(len).unwrap(),
                    fwd_cnt: taken,
                    ..from_guest(ports, op::RW)
                };
                prop_assert_eq!(fixture.mux.send(&packet, &payload), Sent::Taken);
                guest_said.extend(payload);
            }
            program_heard.extend(read_all(&program));
            fixture.run();
            let mut buffer = vec![0; room.max(1)];
            while let Some(packet) = fixture.mux.receive(&mut buffer) {
                prop_assert!(packet.op != op::RST);
                heard.extend_from_slice(&buffer[..packet.len.try_into().unwrap()]);
                taken = taken.wrapping_add(packet.len);
                let update = Header { fwd_cnt: taken, ..from_guest(ports, op::CREDIT_UPDATE) };
                let _ = fixture.mux.send(&update, b"");
                let sent = u32::try_from(guest_said.len()).unwrap();
                room_at_host = packet.buf_alloc - (sent - packet.fwd_cnt);
                fixture.run();
            }
            let sent = u32::try_from(guest_said.len()).unwrap();
            let ask = Header { fwd_cnt: taken, ..from_guest(ports, op::CREDIT_REQUEST) };
            let _ = fixture.mux.send(&ask, b"");
            if let Some(packet) = fixture.mux.receive(&mut buffer) {
                heard.extend_from_slice(&buffer[..packet.len.try_into().unwrap()]);
                taken = taken.wrapping_add(packet.len);
                room_at_host = packet.buf_alloc - (sent - packet.fwd_cnt);
            }
        }
        for _ in 0..100 {
            program_heard.extend(read_all(&program));
            fixture.run();
            let mut buffer = [0; 4096];
            while let Some(packet) = fixture.mux.receive(&mut buffer) {
                heard.extend_from_slice(&buffer[..packet.len.try_into().unwrap()]);
                taken = taken.wrapping_add(packet.len);
                let update = Header { fwd_cnt: taken, ..from_guest(ports, op::CREDIT_UPDATE) };
                let _ = fixture.mux.send(&update, b"");
                fixture.run();
            }
        }
        prop_assert!(heard == said, "{} of {}", heard.len(), said.len());
        prop_assert!(program_heard == guest_said, "{} of {}", program_heard.len(), guest_said.len());
    }
}

//! The log end as a guest sees it.

use super::*;

fn data(key: &str, payload: &str) -> Vec<u8> {
    let length = u32::try_from(4 + key.len() + payload.len()).unwrap();
    let key_len = u8::try_from(key.len()).unwrap();
    [
        &length.to_le_bytes()[..],
        &[1, 1, key_len, 0],
        key.as_bytes(),
        payload.as_bytes(),
    ]
    .concat()
}

const END_OF_C1: &[u8] = b"\x06\0\0\0\x02\0\x02\0c1";
const ACK_OF_C1: &[u8] = b"\x06\0\0\0\x03\0\x02\0c1";

struct Fixture {
    dir: tempfile::TempDir,
    logs: Arc<Logs>,
    end: LogEnd,
}

impl Fixture {
    fn new() -> Self {
        let logs = Arc::new(Logs::default());
        Self {
            dir: tempfile::tempdir().unwrap(),
            end: LogEnd::new(Arc::clone(&logs)),
            logs,
        }
    }

    fn open(&self, container: &str, name: &str) {
        let path = self.dir.path().join(name);
        let file = File::options().append(true).create(true).open(path);
        self.logs.open(container, file.unwrap());
    }

    #[track_caller]
    fn check_log(&self, name: &str, expected: &[&str]) {
        let text = std::fs::read_to_string(self.dir.path().join(name)).unwrap();
        let lines: Vec<_> = text
            .lines()
            .map(|line| line.split_once(' ').unwrap().1)
            .collect();
        assert_eq!(lines, expected);
    }

    fn counter(&self, name: &str) -> u64 {
        let counters = self.logs.counters();
        counters.iter().find(|(n, _)| *n == name).unwrap().1
    }
}

#[test]
fn output_goes_to_the_file_of_its_container() {
    let mut fixture = Fixture::new();
    fixture.open("c1", "one");
    fixture.open("c2", "two");
    fixture.end.write(&data("c1", "a\n")).unwrap();
    fixture.end.write(&data("c2", "b\n")).unwrap();
    fixture.check_log("one", &["stdout F a"]);
    fixture.check_log("two", &["stdout F b"]);
}

#[test]
fn the_end_is_acknowledged_after_the_last_line_is_written() {
    let mut fixture = Fixture::new();
    fixture.open("c1", "one");
    fixture.end.write(&data("c1", "no newline")).unwrap();
    fixture.check_log("one", &[]);
    fixture.end.write(END_OF_C1).unwrap();
    fixture.check_log("one", &["stdout P no newline"]);
    let mut buffer = [0; 64];
    let len = fixture.end.read(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], ACK_OF_C1);
    let nothing = fixture.end.read(&mut buffer).unwrap_err();
    assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn rotation_moves_to_the_new_file_at_once() {
    let mut fixture = Fixture::new();
    fixture.open("c1", "old");
    fixture.end.write(&data("c1", "a\nb")).unwrap();
    fixture.open("c1", "new");
    fixture.end.write(&data("c1", "c\n")).unwrap();
    fixture.check_log("old", &["stdout F a"]);
    fixture.check_log("new", &["stdout F bc"]);
}

#[test]
fn output_of_an_unknown_container_is_counted_and_its_end_acknowledged() {
    let mut fixture = Fixture::new();
    fixture.end.write(&data("c1", "lost\n")).unwrap();
    fixture.end.write(END_OF_C1).unwrap();
    assert_eq!(fixture.counter("log_unknown_container_bytes"), 5);
    assert_eq!(fixture.end.read(&mut [0; 64]).unwrap(), ACK_OF_C1.len());
}

#[test]
fn closing_writes_what_was_left_unterminated() {
    let mut fixture = Fixture::new();
    fixture.open("c1", "one");
    fixture.end.write(&data("c1", "rest")).unwrap();
    fixture.logs.close("c1");
    fixture.logs.close("c1");
    fixture.check_log("one", &["stdout P rest"]);
}

#[test]
fn a_guest_that_never_reads_is_cut_off() {
    let mut fixture = Fixture::new();
    let refused = (0..100_000).find_map(|_| fixture.end.write(END_OF_C1).err());
    assert_eq!(refused.unwrap().kind(), io::ErrorKind::InvalidData);
    assert!(fixture.end.unread.len() <= MAX_UNREAD + ACK_OF_C1.len());
}

#[test]
fn a_guest_that_speaks_something_else_is_cut_off() {
    let mut fixture = Fixture::new();
    let error = fixture.end.write(b"GET / HTTP/1.1\r\n").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

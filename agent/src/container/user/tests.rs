//! Tests of who a process runs as.

use std::os::fd::AsFd;

use proptest::prelude::*;
use v1::user::{Group, User};

use super::*;

const PASSWD: &[u8] = b"\
root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
broken
:x:5:5::/:
huge:x:4294967296:1::/home/huge:
none:x:4294967295:1::/home/none:
default-user:x:1000:1000::/home/default-user:/bin/sh
2000:x:3000:3000::relative:/bin/sh
";

const GROUP: &[u8] = b"\
root:x:0:
nogroup:x:65534:
group-defined-in-image:x:50000:other,default-user
prefix:x:50001:default-user2
huge:x:99999999999:default-user
short:x:7
";

fn user(user: Option<User>, group: Option<Group>) -> v1::User {
    v1::User {
        user,
        group,
        ..v1::User::default()
    }
}

#[track_caller]
fn check(user: &v1::User, uid: u32, gid: u32, groups: &[u32], home: &str) {
    let expected = Identity {
        uid,
        gid,
        groups: groups.to_vec(),
        home: home.to_owned(),
    };
    assert_eq!(identify(user, PASSWD, GROUP).unwrap(), expected);
}

#[track_caller]
fn check_refused(user: &v1::User, message: &str) {
    assert_eq!(
        identify(user, PASSWD, GROUP).unwrap_err().to_string(),
        message
    );
}

fn name(name: &str) -> Option<User> {
    Some(User::Name(name.to_owned()))
}

#[test]
fn nobody_in_particular_is_root() {
    check(&v1::User::default(), 0, 0, &[0], "/root");
}

#[test]
fn a_number_takes_its_group_and_home_from_the_image() {
    check(
        &user(Some(User::Uid(1000)), None),
        1000,
        1000,
        &[1000, 50000],
        "/home/default-user",
    );
}

#[test]
fn a_number_that_the_image_does_not_know_is_in_group_0() {
    check(&user(Some(User::Uid(1234)), None), 1234, 0, &[0], "/");
}

#[test]
fn a_name_is_looked_up() {
    check(
        &user(name("nobody"), None),
        65534,
        65534,
        &[65534],
        "/nonexistent",
    );
}

#[test]
fn a_name_of_digits_is_a_name_first_and_a_number_otherwise() {
    check(&user(name("2000"), None), 3000, 3000, &[3000], "/");
    check(
        &user(name("1000"), None),
        1000,
        1000,
        &[1000, 50000],
        "/home/default-user",
    );
}

#[test]
fn groups_asked_for_are_added_and_each_is_there_once() {
    let mut wanted = user(Some(User::Uid(1000)), None);
    wanted.supplemental_groups = vec![1234, 1000, 1234];
    check(
        &wanted,
        1000,
        1000,
        &[1000, 1234, 50000],
        "/home/default-user",
    );
    wanted.strict_groups = true;
    check(&wanted, 1000, 1000, &[1000, 1234], "/home/default-user");
}

#[test]
fn a_group_may_be_named() {
    let group = |name: &str| Some(Group::GroupName(name.to_owned()));
    check(&user(None, group("nogroup")), 0, 65534, &[65534], "/root");
    check(&user(None, group("42")), 0, 42, &[42], "/root");
    check_refused(
        &user(None, group("nosuch")),
        "no group \"nosuch\" in the container's /etc/group",
    );
}

#[test]
fn ids_that_do_not_fit_are_refused() {
    check_refused(
        &user(name("4294967296"), None),
        "user or group id 4294967296 is out of range",
    );
    check_refused(
        &user(name("4294967295"), None),
        "user or group id 4294967295 is out of range",
    );
    check_refused(
        &user(Some(User::Uid(u32::MAX)), None),
        "user or group id 4294967295 is out of range",
    );
    // Lines with such ids are no users.
    check_refused(
        &user(name("huge"), None),
        "no user \"huge\" in the container's /etc/passwd",
    );
    check_refused(
        &user(name("none"), None),
        "no user \"none\" in the container's /etc/passwd",
    );
}

#[test]
fn too_many_groups_are_refused() {
    let mut group = Vec::new();
    for gid in 1..=5000 {
        group.extend_from_slice(format!("g{gid}:x:{gid}:root\n").as_bytes());
    }
    assert!(matches!(
        identify(&v1::User::default(), PASSWD, &group),
        Err(UserError::TooManyGroups)
    ));
}

#[test]
fn an_image_without_the_files_has_root_only() {
    let root = tempfile::tempdir().unwrap();
    let fd = File::open(root.path()).unwrap();
    let found = look_up(&v1::User::default(), Root::at(fd.as_fd())).unwrap();
    assert_eq!((found.uid, found.home.as_str()), (0, "/"));
}

#[test]
fn a_fifo_in_place_of_the_file_holds_nobody_up() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("etc")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.path().join("etc/passwd"),
        FileType::Fifo,
        mode,
        0,
    )
    .unwrap();
    let fd = File::open(root.path()).unwrap();
    assert_eq!(
        look_up(&v1::User::default(), Root::at(fd.as_fd()))
            .unwrap()
            .uid,
        0
    );
}

proptest! {
    #[test]
    fn no_file_content_makes_us_panic(
        passwd in proptest::collection::vec(any::<u8>(), 0..200),
        group in "[a-z:0-9,\n]{0,200}",
    ) {
        let _ = identify(&user(name("root"), None), &passwd, group.as_bytes());
        let _ = identify(&user(Some(User::Uid(1)), None), group.as_bytes(), &passwd);
    }
}

//! Records, ours and those of libcni.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn saved(container_id: &str, ifname: &str) -> SavedAttachment {
    let id = AttachmentId::new(container_id, ifname).unwrap();
    let mut attachment = Attachment::new(id, "/run/netns/a");
    attachment.args.push("K8S_POD_NAME", "web=1").unwrap();
    attachment.capabilities.cgroup_path("/pods/a");
    SavedAttachment {
        attachment,
        network: "pod-net".into(),
        owner: Some("me".into()),
        config: b"{}".to_vec(),
        result: None,
    }
}

#[test]
fn a_record_is_libcnis_and_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path().join("cni")).unwrap();
    let mut record = saved("c1", "eth0");
    cache.save(&record).unwrap();
    record.result = Some(Map::from_iter([("cniVersion".into(), json!("1.0.0"))]));
    cache.save(&record).unwrap();
    assert_eq!(cache.of(&record.attachment.id).unwrap(), [record.clone()]);

    let path = dir.path().join("cni/results/pod-net-c1-eth0");
    let json: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let expected = json!({
        "kind": "cniCacheV1", "containerId": "c1", "config": "e30=", "ifName": "eth0",
        "networkName": "pod-net", "netns": "/run/netns/a", "owner": "me",
        "cniArgs": [["K8S_POD_NAME", "web=1"]], "capabilityArgs": {"cgroupPath": "/pods/a"},
        "result": {"cniVersion": "1.0.0"},
    });
    assert_eq!(json, expected);
    cache.remove("pod-net", &record.attachment.id).unwrap();
    cache.remove("pod-net", &record.attachment.id).unwrap();
    assert_eq!(cache.all().unwrap(), []);
}

#[test]
fn what_a_kill_left_unfinished_goes_and_records_stay() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Cache::open(dir.path().to_path_buf()).unwrap();
    let record = saved("c1", "eth0");
    open().save(&record).unwrap();
    let left = dir.path().join(format!("{UNFINISHED}-pod-net-c2-eth0"));
    let foreign = dir.path().join("networks");
    for file in [&left, &foreign] {
        std::fs::write(file, "{").unwrap();
    }
    assert_eq!(open().all().unwrap(), [record]);
    assert!(!left.exists());
    assert!(foreign.exists());
}

#[test]
fn a_record_that_could_not_be_written_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path().to_path_buf()).unwrap();
    let record = saved("c1", "eth0");
    // It can't be renamed to a directory.
    let path = cache.path("pod-net", &record.attachment.id);
    std::fs::create_dir(path).unwrap();
    assert!(cache.save(&record).is_err());
    let names = std::fs::read_dir(dir.path()).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["results"]);
}

#[test]
fn only_the_records_of_the_attachment_are_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path().to_path_buf()).unwrap();
    // The end of the second one's file name is that of the first one's.
    for record in [
        saved("c1", "eth0"),
        saved("a-c1", "eth0"),
        saved("c1", "eth1"),
    ] {
        cache.save(&record).unwrap();
    }
    let id = AttachmentId::new("c1", "eth0").unwrap();
    assert_eq!(cache.of(&id).unwrap(), [saved("c1", "eth0")]);
    assert_eq!(cache.all().unwrap().len(), 3);
}

#[test]
fn what_is_no_record_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path().to_path_buf()).unwrap();
    cache.save(&saved("c1", "eth0")).unwrap();
    std::fs::write(
        dir.path().join("results/x-c2-eth0"),
        "{\"kind\": \"other\"}",
    )
    .unwrap();
    std::fs::write(dir.path().join("results/y-c3-eth0"), "").unwrap();
    assert_eq!(cache.all().unwrap().len(), 1);
    assert!(dir.path().join("results/x-c2-eth0").exists());
}

proptest! {
    #[test]
    fn any_bytes_are_a_record_or_none(bytes: Vec<u8>) {
        if let Ok(wire) = serde_json::from_slice::<Wire>(&bytes) {
            SavedAttachment::try_from(wire).ok();
        }
    }

    #[test]
    fn a_record_never_names_a_file_elsewhere(network: String, container: String, ifname: String) {
        let mut wire = Wire::from(&saved("c1", "eth0"));
        (wire.network_name, wire.container_id, wire.if_name) = (network, container, ifname);
        if let Ok(record) = SavedAttachment::try_from(wire) {
            let cache = Cache { dir: "/cache".into() };
            let path = cache.path(&record.network, &record.attachment.id);
            prop_assert_eq!(path.parent(), Some(Path::new("/cache/results")));
        }
    }
}

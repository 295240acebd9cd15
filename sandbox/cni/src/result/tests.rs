//! Results of every version, right and wrong.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn v1_1() -> Value {
    json!({
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": "cni0", "mac": "00:11:22:33:44:55"},
            {"name": "eth0", "mac": "99:88:77:66:55:44", "mtu": 9000, "sandbox": "/run/netns/a",
             "socketPath": "/run/a.sock", "pciID": "0000:00:01.0"},
        ],
        "ips": [
            {"address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 1},
            {"address": "fd00::5/64", "interface": 1},
            {"address": "10.1.0.1/16", "interface": 0},
        ],
        "routes": [{"dst": "0.0.0.0/0", "gw": "", "mtu": 1400, "priority": 10, "table": 7, "scope": 253}],
        "dns": {"nameservers": ["10.1.0.1"], "search": null},
        "plugin.example/own": {"kept": true},
    })
}

#[test]
fn everything_of_1_1_0_is_read() {
    let result = AddResult::parse(v1_1(), SpecVersion::V1_1_0).unwrap();
    assert_eq!(result.interfaces[1].mtu, Some(9000));
    assert_eq!(result.interfaces[1].pci_id.as_deref(), Some("0000:00:01.0"));
    assert_eq!(result.routes[0].gw, None);
    assert_eq!(result.routes[0].scope, Some(253));
    assert_eq!(result.dns.nameservers, ["10.1.0.1"]);
    let ips: Vec<String> = result.ips_of("eth0").map(|ip| ip.to_string()).collect();
    assert_eq!(ips, ["10.1.0.5", "fd00::5"]);
}

#[test]
fn older_versions_say_the_family_and_newer_ones_do_not() {
    let result = AddResult::parse(v1_1(), SpecVersion::V1_1_0).unwrap();
    let old = Value::Object(result.as_version(SpecVersion::V0_4_0));
    assert_eq!(old["cniVersion"], "0.4.0");
    assert_eq!(old["ips"][0]["version"], "4");
    assert_eq!(old["ips"][1]["version"], "6");
    assert_eq!(old["plugin.example/own"]["kept"], true);
    let read = AddResult::parse(old, SpecVersion::V1_0_0).unwrap();
    let new = Value::Object(read.as_version(SpecVersion::V1_0_0));
    assert_eq!(new["ips"][0].get("version"), None);
    assert_eq!(read.ips, result.ips);
}

#[test]
fn a_result_of_0_3_0_is_read() {
    let json = json!({
        "cniVersion": "0.3.0",
        "ips": [{"version": "4", "address": "10.0.0.2/24", "interface": -1}],
        "dns": {},
    });
    let result = AddResult::parse(json, SpecVersion::OLDEST).unwrap();
    assert_eq!(result.ips_of("eth0").count(), 1);
}

#[test]
fn no_version_means_that_of_the_configuration_and_null_means_nothing() {
    let json = json!({"ips": [{"address": "10.0.0.2/24"}]});
    let result = AddResult::parse(json, SpecVersion::V1_0_0).unwrap();
    assert_eq!(
        result.as_version(SpecVersion::V1_0_0)["cniVersion"],
        "1.0.0"
    );
    let nothing = AddResult::parse(Value::Null, SpecVersion::V1_0_0).unwrap();
    assert_eq!(nothing.ips, []);
}

#[track_caller]
fn check_refused(json: Value) {
    assert!(AddResult::parse(json, SpecVersion::V1_0_0).is_err());
}

#[test]
fn what_is_no_result_is_refused() {
    check_refused(json!([]));
    check_refused(json!("ok"));
    check_refused(json!({"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.2/24"}}));
    check_refused(json!({"cniVersion": "9.0.0"}));
    check_refused(json!({"ips": [{"address": "10.0.0.2"}]}));
    check_refused(json!({"ips": [{"address": "10.0.0.2/24", "interface": 0}]}));
    check_refused(json!({"ips": [{"address": "10.0.0.2/24", "gateway": "here"}]}));
    check_refused(json!({"interfaces": "eth0"}));
}

/// Any JSON of some size, with keys that results have.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop_oneof!["10.0.0.1/24", "fd00::1/64", "1.0.0", ".*"].prop_map(Value::from),
    ];
    let key = prop_oneof![
        "cniVersion",
        "ips",
        "interfaces",
        "address",
        "routes",
        "dns",
        "interface"
    ];
    leaf.prop_recursive(5, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(key.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_read_or_refused_and_what_is_read_can_be_converted(json in any_json()) {
        if let Ok(result) = AddResult::parse(json, SpecVersion::V1_0_0) {
            let old = result.as_version(SpecVersion::V0_4_0);
            let again = AddResult::parse(Value::Object(old), SpecVersion::V1_0_0);
            prop_assert_eq!(again.unwrap().ips, result.ips);
        }
    }
}

//! Configurations right and wrong, and what plugins get of them.

use proptest::prelude::*;

use super::*;

fn parse(json: &Value) -> Result<NetworkConfig, ConfigError> {
    NetworkConfig::parse(json.to_string().as_bytes())
}

fn podnet() -> Value {
    json!({
        "cniVersion": "0.4.0", "cniVersions": ["1.0.0", "1.1.0", "2.0.0"], "name": "podnet",
        "disableCheck": "true",
        "plugins": [
            {"type": "bridge", "ipam": {"type": "host-local"}, "own": [1, {"a": null}]},
            {"type": "portmap", "capabilities": {"portMappings": true, "mac": false}},
        ],
    })
}

#[test]
fn a_list_is_read_with_all_its_versions() {
    let network = parse(&podnet()).unwrap().with_more(vec![]).unwrap();
    assert_eq!(network.name, "podnet");
    assert_eq!(network.version(), SpecVersion::V1_1_0);
    assert_eq!(network.versions.len(), 4);
    assert!(network.disable_check && !network.disable_gc);
    assert_eq!(network.plugins[0].program, "bridge");
}

#[test]
fn the_configuration_of_one_plugin_is_a_list_of_one() {
    let one = json!({"cniVersion": "0.4.0", "name": "lo", "type": "loopback", "own": 1});
    let network = parse(&one).unwrap();
    assert_eq!(network.plugins.len(), 1);
    assert!(!network.load_more);
    assert_eq!(network.request(&network.plugins[0])["own"], 1);
}

#[test]
fn a_plugin_gets_its_own_keys_the_network_and_the_capabilities_that_it_declares() {
    let network = parse(&podnet()).unwrap().with_version(SpecVersion::V1_0_0);
    let mut args = CapabilityArgs::default();
    args.set("portMappings", json!([1]))
        .mac("c2:11:22:33:44:55");
    let result = Map::from_iter([("ips".to_owned(), json!([]))]);
    let request = network.attachment_request(&network.plugins[1], &args, Some(result));
    let expected = json!({
        "cniVersion": "1.0.0", "name": "podnet", "type": "portmap",
        "capabilities": {"portMappings": true, "mac": false},
        "runtimeConfig": {"portMappings": [1]}, "prevResult": {"ips": []},
    });
    assert_eq!(Value::Object(request), expected);
    let first = network.attachment_request(&network.plugins[0], &args, None);
    assert_eq!(first["own"], json!([1, {"a": null}]));
    assert!(!first.contains_key("runtimeConfig") && !first.contains_key("prevResult"));
}

#[test]
fn what_is_recorded_is_what_was_run() {
    let network = parse(&podnet()).unwrap().with_version(SpecVersion::V1_0_0);
    let more = PluginConfig::parse_bytes(br#"{"type": "tuning"}"#).unwrap();
    let network = network.with_more(vec![more]).unwrap();
    let again = NetworkConfig::parse(&network.to_bytes()).unwrap();
    assert_eq!(again.versions, [SpecVersion::V1_0_0]);
    assert_eq!(again.plugins, network.plugins);
    assert!(again.disable_check && !again.load_more);
}

#[track_caller]
fn check_refused(change: impl FnOnce(&mut Value), words: &str) {
    let mut json = podnet();
    change(&mut json);
    let network = parse(&json).and_then(|network| network.with_more(vec![]));
    let error = crate::error::chain(&network.unwrap_err());
    assert!(error.contains(words), "{error}");
}

#[test]
fn mistakes_are_refused_with_the_key_they_are_in() {
    check_refused(
        |json| json["name"] = json!("../net"),
        "network name \"../net\"",
    );
    check_refused(|json| json["name"] = json!(1), "name");
    check_refused(|json| json["plugins"] = json!([]), "plugins");
    check_refused(|json| json["plugins"] = json!({}), "plugins");
    check_refused(
        |json| json["plugins"] = json!(vec![json!({"type": "a"}); 65]),
        "64",
    );
    check_refused(
        |json| json["plugins"][0]["type"] = json!("../sh"),
        "plugin type \"../sh\"",
    );
    check_refused(|json| json["plugins"][0] = json!({}), "type");
    check_refused(
        |json| json["plugins"][1]["capabilities"] = json!([]),
        "capabilities",
    );
    check_refused(|json| json["cniVersions"] = json!("1.0.0"), "cniVersions");
    check_refused(|json| json["cniVersion"] = json!("one"), "\"one\"");
    check_refused(|json| json["disableGC"] = json!("maybe"), "disableGC");
    check_refused(
        |json| *json = json!({"name": "a", "type": "b"}),
        "cniVersion",
    );
    check_refused(|json| *json = json!("net"), "parse it as JSON");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        NetworkConfig::parse(&bytes).ok();
    }

    #[test]
    fn any_damage_to_a_configuration_is_read_or_refused(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = podnet().to_string().into_bytes();
        for (index, byte) in damage {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(network) = NetworkConfig::parse(&bytes) {
            prop_assert!(NetworkConfig::parse(&network.to_bytes()).is_ok());
        }
    }
}

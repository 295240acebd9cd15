//! What a `hosts.toml` makes of a registry.

use std::fs;

use super::*;

/// The hosts of `registry` where `certs.d/<dir>/hosts.toml` holds `text`.
fn hosts(registry: &str, dir: &str, text: &str) -> Result<Vec<Host>, HostsError> {
    let certs_d = tempfile::tempdir().unwrap();
    fs::create_dir(certs_d.path().join(dir)).unwrap();
    fs::write(certs_d.path().join(dir).join("hosts.toml"), text).unwrap();
    hosts_of(registry, &[certs_d.path().to_owned()])
}

fn urls(hosts: &[Host]) -> Vec<&str> {
    hosts.iter().map(|host| host.base.as_str()).collect()
}

#[test]
fn without_a_file_the_registry_itself_is_asked() {
    let url = |registry| urls(&hosts_of(registry, &[]).unwrap())[0].to_owned();
    assert_eq!(url("docker.io"), "https://registry-1.docker.io/v2");
    assert_eq!(url("r.example:5000"), "https://r.example:5000/v2");
    assert_eq!(url("127.0.0.1:5000"), "http://127.0.0.1:5000/v2");
    assert_eq!(url("[::1]:5000"), "http://[::1]:5000/v2");
    assert_eq!(url("localhost"), "http://localhost/v2");
}

#[test]
fn the_registry_is_the_last_resort_unless_a_server_is_named() {
    let mirrored = r#"[host."http://mirror.example:5000"]"#;
    assert_eq!(
        urls(&hosts("r.example", "r.example", mirrored).unwrap()),
        ["http://mirror.example:5000/v2", "https://r.example/v2"]
    );
    let replaced = r#"server = "http://other.example""#;
    assert_eq!(
        urls(&hosts("r.example", "r.example", replaced).unwrap()),
        ["http://other.example/v2"]
    );
}

#[test]
fn only_the_registry_itself_sees_credentials_unless_told_otherwise() {
    let text = r#"
        [host."https://a.example"]
        [host."https://b.example"]
        credentials = "upstream"
    "#;
    let hosts = hosts("r.example", "r.example", text).unwrap();
    let takes: Vec<_> = hosts.iter().map(|host| host.takes_credentials).collect();
    assert_eq!(takes, [false, true, true]);
    assert_eq!(hosts[0].stands_in_for.as_deref(), Some("r.example"));
    assert_eq!(hosts[2].stands_in_for, None);
}

#[test]
fn another_server_is_not_the_registry() {
    let hosts = hosts(
        "r.example",
        "_default",
        r#"server = "https://other.example""#,
    )
    .unwrap();
    assert!(!hosts[0].takes_credentials);
}

#[test]
fn capabilities_and_paths_are_honoured() {
    let text = r#"
        [host."https://a.example/proxy/v2"]
        capabilities = ["pull"]
        [host."https://b.example/any/path"]
        capabilities = ["pull", "resolve", "push"]
        override_path = true
        dial_timeout = "3s"
        [host."https://c.example"]
        capabilities = ["push"]
    "#;
    let hosts = hosts("r.example", "r.example", text).unwrap();
    assert_eq!(
        urls(&hosts),
        [
            "https://a.example/proxy/v2",
            "https://b.example/any/path",
            "https://r.example/v2"
        ]
    );
    assert_eq!((hosts[0].pull, hosts[0].resolve), (true, false));
    assert_eq!((hosts[1].pull, hosts[1].resolve), (true, true));
    assert_eq!(hosts[1].dial_timeout, Some(Duration::from_secs(3)));
}

#[test]
fn a_directory_name_with_underscores_means_a_port() {
    let text = r#"server = "http://mirror.example""#;
    let hosts = hosts("r.example:5000", "r.example_5000_", text).unwrap();
    assert_eq!(urls(&hosts), ["http://mirror.example/v2"]);
}

#[test]
fn a_broken_file_is_an_error_that_names_it() {
    for text in [
        "server = 3",
        "server = \"ftp://x.example\"",
        "server = \"https://user:secret@x.example\"",
        "ca = \"missing.pem\"",
        "[host.\"https://a.example\"]\ndial_timeout = \"soon\"",
        "header = { \"bad name\" = \"x\" }",
    ] {
        let error = hosts("r.example", "r.example", text).unwrap_err();
        assert!(error.to_string().contains("r.example"), "{text:?}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

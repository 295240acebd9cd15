//! The shipped file, and what operators' files do to it.

use super::*;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("config.toml"))
}

#[track_caller]
fn check_mistakes(text: &str, expected: &[&str]) {
    let error = parse(text).unwrap_err().to_string();
    for mistake in expected {
        assert!(error.contains(mistake), "{mistake:?} in {error:?}");
    }
}

#[test]
fn the_shipped_file_is_whole_and_right() {
    let config = parse("").unwrap();
    assert_eq!(config.default_handler, "namespaced");
    assert!(matches!(config.handlers["kvm"], HandlerConfig::Vm(_)));
}

#[test]
fn a_file_changes_what_it_names_and_no_more() {
    let config = parse("socket = \"/run/x.sock\"\n[log]\nformat = \"json\"").unwrap();
    assert_eq!(config.socket, Path::new("/run/x.sock"));
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.log.filter, parse("").unwrap().log.filter);
}

#[test]
fn a_handler_can_be_like_another_but_for_its_kernel() {
    let config =
        parse("[handlers.kvm-legacy]\nlike = \"kvm\"\nkernel = \"/boot/vmlinux-6.1\"").unwrap();
    let (HandlerConfig::Vm(legacy), HandlerConfig::Vm(kvm)) =
        (&config.handlers["kvm-legacy"], &config.handlers["kvm"])
    else {
        panic!("both are machines");
    };
    assert_eq!(legacy.kernel, Path::new("/boot/vmlinux-6.1"));
    assert_eq!(legacy.initramfs, kvm.initramfs);
    check_mistakes(
        "[handlers.x]\nlike = \"nobody\"",
        &["like = \"nobody\" names no handler"],
    );
}

#[test]
fn all_mistakes_are_told_at_once() {
    check_mistakes(
        "socket = \"x.sock\"\ndefault_handler = \"fast\"\n[containers.rlimits]\nNOFILE = [1, 2]\n\
         [images]\nlayers_per_pull = 0\n[handlers.namespaced]\nshm_mib = 0",
        &[
            "socket",
            "[handlers.fast] is missing",
            "NOFILE",
            "images: layers_per_pull",
            "handlers.namespaced: shm_mib",
        ],
    );
}

#[test]
fn an_unknown_key_is_refused_wherever_it_is() {
    check_mistakes("sockett = 1", &["sockett"]);
    check_mistakes("[handlers.kvm]\nkernell = \"/x\"", &["kernell"]);
    check_mistakes("[images]\nroot = \"/x\"", &["root"]);
    assert!(matches!(parse("= 1"), Err(ConfigError::Parse { .. })));
}

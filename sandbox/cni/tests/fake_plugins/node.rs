//! Readiness, versions, turns, and the pod CIDR of a node.

use std::time::{Duration, Instant};

use cni::{Cni, Command, Config, Error, PodCidrOutcome, Readiness};

use crate::fake::{Fake, LONG, attachment, words};

/// Waits until readiness is told in words that have these.
async fn told(cni: &Cni, expected: &str) {
    let begun = Instant::now();
    while !cni.readiness().to_string().contains(expected) {
        assert!(begun.elapsed() < LONG, "{}", cni.readiness());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_network_that_comes_later_is_found_by_itself() {
    let fake = Fake::empty();
    std::fs::remove_dir(fake.path("net.d")).unwrap();
    let cni = Cni::open(fake.config()).await.unwrap();
    told(&cni, "no network configuration in ").await;
    let error = cni.add(attachment("a")).await.unwrap_err();
    assert!(matches!(error, Error::NotReady { .. }), "{}", words(&error));

    std::fs::create_dir(fake.path("net.d")).unwrap();
    fake.configure("10-net.conflist", "net", &["one"], &["1.0.0"]);
    told(&cni, "CNI plugin one: VERSION: no such program in ").await;
    fake.install("one", &["1.0.0"]);
    cni.ready().await;
    cni.add(attachment("a")).await.unwrap();
}

#[tokio::test]
async fn a_directory_that_goes_for_a_moment_is_a_doubt_and_no_more() {
    let fake = Fake::new(&["one"], &["1.0.0"]);
    let cni = fake.open().await;
    std::fs::rename(fake.path("net.d"), fake.path("away")).unwrap();
    told(&cni, "for the moment: no network configuration").await;
    assert!(cni.readiness().is_ready());
    cni.add(attachment("a")).await.unwrap();
    std::fs::rename(fake.path("away"), fake.path("net.d")).unwrap();
    let begun = Instant::now();
    while !matches!(cni.readiness(), Readiness::Ready { doubt: None, .. }) {
        assert!(begun.elapsed() < LONG, "{}", cni.readiness());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_version_is_one_that_all_plugins_speak() {
    let fake = Fake::new(&["one", "two"], &["0.4.0", "1.0.0", "1.1.0"]);
    fake.install("two", &["0.3.1", "0.4.0", "1.0.0"]);
    let cni = fake.open().await;
    cni.add(attachment("a")).await.unwrap();
    assert_eq!(fake.request("one", "ADD")["cniVersion"], "1.0.0");
    assert_eq!(
        fake.request("two", "ADD")["prevResult"]["cniVersion"],
        "1.0.0"
    );

    fake.install("two", &["9.0.0"]);
    told(&cni, "two speaks 9.0.0").await;
}

#[tokio::test]
async fn a_plugin_that_knows_no_version_is_taken_at_the_configurations_word() {
    let fake = Fake::new(&["one"], &["0.4.0"]);
    let script = std::fs::read_to_string(fake.path("bin/one")).unwrap();
    let mute = script.replace("= VERSION ]; then", "= VERSION ]; then exit 1;");
    std::fs::write(fake.path("bin/one"), mute).unwrap();
    let cni = fake.open().await;
    cni.add(attachment("a")).await.unwrap();
    assert_eq!(fake.request("one", "ADD")["cniVersion"], "0.4.0");
}

#[tokio::test]
async fn a_plugin_says_in_its_status_why_it_is_not_ready() {
    let fake = Fake::new(&["one"], &["1.1.0"]);
    let script = r#"echo '{"code": 50, "msg": "agent is not up"}'; exit 1"#;
    fake.behave("one", "STATUS", script);
    let cni = Cni::open(fake.config()).await.unwrap();
    told(&cni, "CNI plugin one: STATUS: code 50: agent is not up").await;
    assert!(!cni.readiness().is_ready());
    fake.behave("one", "STATUS", "");
    tokio::time::timeout(LONG, cni.ready()).await.unwrap();
}

#[tokio::test]
async fn reading_readiness_runs_no_plugin() {
    let fake = Fake::new(&["one"], &["1.0.0"]);
    let cni = fake.open().await;
    for _ in 0..100 {
        assert!(cni.readiness().is_ready());
    }
    let runs: u64 = cni.stats().iter().map(|(_, stats)| stats.runs).sum();
    assert_eq!(runs, 1, "one VERSION: {:?}", cni.stats());
}

/// Notes in `most` how many of its kind ever ran at once.
const COUNT: &str = r#"
    touch $PLACE/running-$$; ls $PLACE | grep -c running- >> $PLACE/counts
    sleep 0.5; rm $PLACE/running-$$"#;

#[tokio::test]
async fn operations_beyond_the_most_wait_and_none_is_dropped() {
    let fake = Fake::new(&["one"], &["1.0.0"]);
    let config = Config {
        max_plugins: 4,
        ..fake.config()
    };
    let cni = fake.open_with(config).await;
    let containers: Vec<String> = (0..10).map(|n| format!("c{n}")).collect();
    for (command, most) in [("ADD", 3), ("DEL", 4)] {
        fake.behave("one", command, COUNT);
        let run = |container: &String| {
            let (cni, attachment) = (cni.clone(), attachment(container));
            tokio::spawn(async move {
                match command {
                    "ADD" => cni.add(attachment).await.map(drop),
                    _ => cni.del(attachment).await,
                }
            })
        };
        let tasks: Vec<_> = containers.iter().map(run).collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        let counts = std::fs::read_to_string(fake.path("counts")).unwrap();
        let counts: Vec<u32> = counts.lines().map(|count| count.parse().unwrap()).collect();
        assert_eq!(counts.len(), 10);
        assert!(
            counts.iter().all(|count| *count <= most),
            "{command}: {counts:?}"
        );
        std::fs::remove_file(fake.path("counts")).unwrap();
    }
    assert!(fake.records().is_empty());
    assert_eq!(cni.free_turns(), 4);
}

#[tokio::test]
async fn a_del_gets_through_while_adds_hang() {
    let fake = Fake::new(&["one"], &["1.0.0"]);
    let config = Config {
        max_plugins: 2,
        ..fake.config()
    };
    let cni = fake.open_with(config).await;
    cni.add(attachment("old")).await.unwrap();
    fake.behave("one", "ADD", "sleep 600");
    for container in ["a", "b", "c"] {
        let cni = cni.clone();
        tokio::spawn(async move { cni.add(attachment(container)).await });
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let del = cni.del(attachment("old"));
    tokio::time::timeout(LONG / 2, del).await.unwrap().unwrap();
    let dels = cni
        .stats()
        .into_iter()
        .find(|(command, _)| *command == Command::Del);
    assert_eq!(dels.unwrap().1.runs, 1);
}

#[tokio::test]
async fn an_add_that_gets_no_turn_in_time_says_so() {
    let fake = Fake::new(&["one"], &["1.0.0"]);
    fake.behave("one", "ADD", "touch $PLACE/adding; sleep 600");
    let config = Config {
        max_plugins: 2,
        add_timeout: Duration::from_secs(3),
        ..fake.config()
    };
    let cni = fake.open_with(config).await;
    let first = tokio::spawn({
        let cni = cni.clone();
        async move { cni.add(attachment("a")).await }
    });
    fake.eventually("ADD runs", || fake.path("adding").exists())
        .await;
    // The same container: it waits for the first, whose undoing comes first too.
    fake.behave("one", "DEL", "sleep 30");
    let error = cni.add(attachment("a")).await.unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{}", words(&error));
    first.abort();
}

const TEMPLATE: &str = r#"{"name": "podnet", "cniVersion": "1.0.0", "plugins": [{"type": "one",
    "ranges": [{{range $i, $r := .PodCIDRRanges}}{{if $i}}, {{end}}[{"subnet": "{{$r}}"}]{{end}}]}]}"#;

#[tokio::test]
async fn the_pod_cidr_becomes_a_network() {
    let fake = Fake::empty();
    fake.install("one", &["1.0.0"]);
    std::fs::write(fake.path("template"), TEMPLATE).unwrap();
    let config = Config {
        conf_template: Some(fake.path("template")),
        ..fake.config()
    };
    let cni = Cni::open(config).await.unwrap();
    let file = fake.path("net.d/10-test.conflist");
    assert_eq!(cni.set_pod_cidr("").await.unwrap(), PodCidrOutcome::NoCidr);
    let dual = "10.1.0.0/24, fd00::/64";
    let written = PodCidrOutcome::Written(file.clone());
    assert_eq!(cni.set_pod_cidr(dual).await.unwrap(), written);
    let unchanged = PodCidrOutcome::Unchanged(file.clone());
    assert_eq!(cni.set_pod_cidr(dual).await.unwrap(), unchanged);
    tokio::time::timeout(LONG, cni.ready()).await.unwrap();
    cni.add(attachment("a")).await.unwrap();
    assert_eq!(
        fake.request("one", "ADD")["ranges"][1][0]["subnet"],
        "fd00::/64"
    );

    assert!(cni.set_pod_cidr("10.1.0.0/24\", \"x\": \"").await.is_err());
    std::fs::write(fake.path("template"), "{{.PodCIDR}}").unwrap();
    let error = cni.set_pod_cidr("10.2.0.0/24").await.unwrap_err();
    assert!(
        words(&error).contains("parse it as JSON"),
        "{}",
        words(&error)
    );
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept.contains("10.1.0.0/24"), "what was there stays");
}

#[tokio::test]
async fn a_network_of_others_is_not_overruled_by_the_template() {
    let fake = Fake::new(&["one"], &["1.0.0"]);
    let none = fake.open().await;
    assert_eq!(
        none.set_pod_cidr("10.1.0.0/24").await.unwrap(),
        PodCidrOutcome::NoTemplate
    );
    std::fs::write(fake.path("template"), TEMPLATE).unwrap();
    let config = Config {
        conf_template: Some(fake.path("template")),
        ..fake.config()
    };
    let cni = fake.open_with(config).await;
    let other = PodCidrOutcome::OtherNetwork(fake.path("net.d/10-net.conflist"));
    assert_eq!(cni.set_pod_cidr("10.1.0.0/24").await.unwrap(), other);
}

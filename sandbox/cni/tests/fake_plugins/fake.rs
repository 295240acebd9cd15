//! A node in a temporary directory, with plugins that note what they are told.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cni::{Attachment, AttachmentId, Cni, Config, Error};
use serde_json::{Value, json};

/// A network namespace that lives as long as the test.
pub(crate) const NETNS: &str = "/proc/self/ns/net";

/// Generous, because tests run on machines that are busy.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) struct Fake {
    place: PathBuf,
    /// Gone with this; of another process in which it is used, too.
    _dir: Option<tempfile::TempDir>,
}

impl Fake {
    /// A node with these plugins, which speak these versions, and a network of them.
    pub(crate) fn new(plugins: &[&str], versions: &[&str]) -> Self {
        let fake = Self::empty();
        for plugin in plugins {
            fake.install(plugin, versions);
        }
        fake.configure("10-net.conflist", "net", plugins, versions);
        fake
    }

    /// A node with neither plugins nor a network.
    pub(crate) fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fake = Self {
            place: dir.path().to_owned(),
            _dir: Some(dir),
        };
        fs::create_dir(fake.path("bin")).unwrap();
        fs::create_dir(fake.path("net.d")).unwrap();
        fake
    }

    /// The one that another process has made.
    pub(crate) fn of_another_process(place: PathBuf) -> Self {
        Self { place, _dir: None }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.join(name)
    }

    pub(crate) fn config(&self) -> Config {
        Config {
            conf_dir: self.path("net.d"),
            plugin_dirs: vec![self.path("nowhere"), self.path("bin")],
            cache_dir: self.path("cache"),
            owner: "test".into(),
            network: None,
            max_plugins: 8,
            add_timeout: LONG,
            del_timeout: LONG,
            query_timeout: LONG,
            conf_template: None,
        }
    }

    /// Opens the node and waits until its network is ready.
    pub(crate) async fn open(&self) -> Cni {
        self.open_with(self.config()).await
    }

    pub(crate) async fn open_with(&self, config: Config) -> Cni {
        assert_eq!(config.validate(), Vec::<String>::new());
        let cni = Cni::open(config).await.unwrap();
        let ready = tokio::time::timeout(LONG, cni.ready()).await;
        ready.unwrap_or_else(|_| panic!("{}", cni.readiness()));
        cni
    }

    /// A plugin that notes its calls. What `behave` sets for it and a command is done before success.
    pub(crate) fn install(&self, plugin: &str, versions: &[&str]) {
        let place = self.place.display();
        let versions = json!({"cniVersion": "1.1.0", "supportedVersions": versions});
        let script = format!(
            r#"#!/bin/sh
NAME=${{0##*/}} PLACE={place}
REQUEST=$(cat)
if [ "$CNI_COMMAND" = VERSION ]; then echo '{versions}'; exit; fi
echo "$CNI_COMMAND $NAME $CNI_CONTAINERID $CNI_IFNAME $CNI_NETNS $CNI_ARGS" >> $PLACE/log
echo "$REQUEST" > $PLACE/$NAME-$CNI_COMMAND.json
if [ -e $PLACE/$NAME-$CNI_COMMAND.sh ]; then . $PLACE/$NAME-$CNI_COMMAND.sh; fi
if [ "$CNI_COMMAND" = ADD ]; then
  echo '{{"by": "'$NAME'", "interfaces": [{{"name": "eth0", "sandbox": "'$CNI_NETNS'"}}],
         "ips": [{{"address": "10.0.0.2/24", "interface": 0}}]}}'
fi
"#
        );
        let path = self.path("bin").join(plugin);
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Has a plugin do this for a command, as a shell script; nothing for an empty one.
    pub(crate) fn behave(&self, plugin: &str, command: &str, script: &str) {
        fs::write(self.path(&format!("{plugin}-{command}.sh")), script).unwrap();
    }

    pub(crate) fn configure(&self, file: &str, name: &str, plugins: &[&str], versions: &[&str]) {
        let capabilities = json!({"mac": true, "bandwidth": false});
        let plugin =
            |plugin: &&str| json!({"type": plugin, "own": 1, "capabilities": capabilities});
        let plugins: Vec<Value> = plugins.iter().map(plugin).collect();
        let network = json!({"name": name, "cniVersions": versions, "plugins": plugins});
        self.write_conf(file, &network.to_string());
    }

    pub(crate) fn write_conf(&self, file: &str, text: &str) {
        fs::write(self.path("net.d").join(file), text).unwrap();
    }

    /// What plugins were told so far: command and plugin, in order.
    pub(crate) fn calls(&self) -> Vec<String> {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        let two = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
        log.lines().map(two).collect()
    }

    /// The whole of the last call.
    pub(crate) fn last_call(&self) -> String {
        let log = fs::read_to_string(self.path("log")).unwrap();
        log.lines().last().unwrap().to_owned()
    }

    pub(crate) fn forget_calls(&self) {
        fs::remove_file(self.path("log")).ok();
    }

    /// What a plugin read last for a command.
    pub(crate) fn request(&self, plugin: &str, command: &str) -> Value {
        let path = self.path(&format!("{plugin}-{command}.json"));
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    /// Names and contents of the records.
    pub(crate) fn records(&self) -> BTreeMap<String, Value> {
        let entries = fs::read_dir(self.path("cache/results")).unwrap();
        let record = |path: &Path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        entries
            .map(|entry| entry.unwrap())
            .map(|entry| {
                (
                    entry.file_name().into_string().unwrap(),
                    record(&entry.path()),
                )
            })
            .collect()
    }

    /// Whether the process lives whose id is in this file.
    pub(crate) fn lives(&self, file: &str) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid(file)));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }

    pub(crate) fn kill(&self, file: &str) {
        let pid = rustix::process::Pid::from_raw(self.pid(file)).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }

    fn pid(&self, file: &str) -> i32 {
        let text = fs::read_to_string(self.path(file)).unwrap();
        text.trim().parse().unwrap()
    }

    /// Waits for something that comes about by itself.
    pub(crate) async fn eventually(&self, what: &str, holds: impl Fn() -> bool) {
        let begun = std::time::Instant::now();
        while !holds() {
            assert!(begun.elapsed() < LONG, "{what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

pub(crate) fn id(container: &str) -> AttachmentId {
    AttachmentId::new(container, "eth0").unwrap()
}

pub(crate) fn attachment(container: &str) -> Attachment {
    Attachment::new(id(container), NETNS)
}

/// As an operator reads it.
pub(crate) fn words(error: &Error) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |e| e.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

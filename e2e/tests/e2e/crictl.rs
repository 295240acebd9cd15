//! What an operator does by hand, with crictl: the life of a pod, and what is said where it makes no sense.

mod command;
mod configs;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use command::{Following, crictl, json, refused};
use configs::Configs;
use e2e::images::BUSYBOX;
use e2e::runtime::Runtime;

/// For the server to listen.
const PATIENCE: Duration = Duration::from_secs(30);

/// An image that no other test needs.
const SPARE_IMAGE: &str = "gcr.io/k8s-staging-cri-tools/test-image-1";

/// Ends with code 3 once it is told to.
const TALE: &str = "echo begun; until [ -e /tmp/end ]; do sleep 0.2; done; echo ended; exit 3";

under_every_handler!(a_pod_is_made_looked_at_and_removed_by_hand);

async fn a_pod_is_made_looked_at_and_removed_by_hand(handler: &str) -> Result<()> {
    Runtime::connect(PATIENCE).await?;
    let configs = Configs::write(handler)?;
    crictl(&["pull", BUSYBOX])?;
    let pod = crictl(&["runp", "--runtime", handler, &configs.pod()])?;
    let pod = pod.trim_end();
    a_container_tells_a_tale(&configs, pod)?;
    a_container_is_stopped(&configs, pod)?;
    let no_image = configs.container("no-image", "registry.k8s.io/never/pulled:1", "true")?;
    refused(
        &["create", pod, &no_image, &configs.pod()],
        &["registry.k8s.io/never/pulled:1", "pull it first"],
    )?;

    refused(&["rmp", pod], &[pod, "is running", "stop it first"])?;
    crictl(&["stopp", pod])?;
    let late = configs.container("late", BUSYBOX, "true")?;
    refused(
        &["create", pod, &late, &configs.pod()],
        &[pod, "is not ready", "run a new one"],
    )?;
    crictl(&["rmp", pod])?;
    refused(&["inspectp", pod], &[pod, "there is no pod"])
}

/// Who follows its log sees it from the beginning to the end.
fn a_container_tells_a_tale(configs: &Configs, pod: &str) -> Result<()> {
    let tale = create(configs, pod, "tale", TALE)?;
    let tale = tale.as_str();
    refused(
        &["exec", "-s", tale, "true"],
        &[tale, "not running", "created, not started"],
    )?;
    crictl(&["start", tale])?;
    shows(&["ps"], &[&tale[..13], "tale", "Running", &pod[..13]])?;
    let mut log = Following::log_of(tale)?;
    assert_eq!(log.line()?, "begun\n");
    let failing = ["exec", "-s", tale, "sh", "-c", "echo why >&2; exit 7"];
    refused(&failing, &["exited with 7: why"])?;
    let said = crictl(&["exec", "-s", tale, "sh", "-c", "touch /tmp/end; echo done"])?;
    // It prints an empty stderr, too, and ends each with a line.
    assert_eq!(said.trim_end(), "done");
    assert_eq!(log.rest()?, "ended\n");
    let inspected = json(&["inspect", tale])?;
    let status = &inspected["status"];
    assert_eq!(status["state"], "CONTAINER_EXITED", "{inspected}");
    assert_eq!(status["exitCode"], 3, "{inspected}");
    refused(&["start", tale], &[tale, "can't be started", "exited"])
}

fn a_container_is_stopped(configs: &Configs, pod: &str) -> Result<()> {
    let idle = create(configs, pod, "idle", "sleep 1000")?;
    crictl(&["start", &idle])?;
    refused(&["rm", &idle], &[&idle, "is running", "stop it first"])?;
    crictl(&["stop", "--timeout", "0", &idle])?;
    let running = crictl(&["ps"])?;
    ensure!(!running.contains(&idle[..13]), "it runs: {running}");
    shows(&["ps", "-a"], &[&idle[..13], "idle", "Exited"])?;
    crictl(&["rm", &idle])?;
    refused(&["inspect", &idle], &[&idle, "there is no container"])
}

/// Makes a container that runs `script`, and returns its id.
fn create(configs: &Configs, pod: &str, name: &str, script: &str) -> Result<String> {
    let config = configs.container(name, BUSYBOX, script)?;
    let id = crictl(&["create", pod, &config, &configs.pod()])?;
    Ok(id.trim_end().to_owned())
}

/// That one line of what crictl prints has all of `words`.
fn shows(arguments: &[&str], words: &[&str]) -> Result<()> {
    let shown = crictl(arguments)?;
    let mut lines = shown.lines();
    let found = lines.any(|line| words.iter().all(|word| line.contains(word)));
    ensure!(
        found,
        "crictl {arguments:?} has no line with {words:?}: {shown}"
    );
    Ok(())
}

#[tokio::test]
async fn images_come_and_go_by_hand() -> Result<()> {
    Runtime::connect(PATIENCE).await?;
    let name = SPARE_IMAGE.rsplit('/').next().context("a name")?;
    crictl(&["pull", SPARE_IMAGE])?;
    shows(&["images"], &[SPARE_IMAGE, "latest"])?;
    let removed = crictl(&["rmi", SPARE_IMAGE])?;
    ensure!(removed.contains(SPARE_IMAGE), "{removed}");
    let left = crictl(&["images"])?;
    ensure!(!left.contains(name), "{left}");
    refused(&["rmi", SPARE_IMAGE], &["no such image", SPARE_IMAGE])?;

    let image = "localhost:5000/no/such:image";
    refused(&["pull", image], &[image, "404"])?;
    let image = "registry.k8s.io/Upper";
    refused(&["pull", image], &["Upper", "lower-case"])
}

#[tokio::test]
async fn the_runtime_is_looked_at_by_hand() -> Result<()> {
    Runtime::connect(PATIENCE).await?;
    let info = json(&["info"])?;
    let conditions = info["status"]["conditions"].as_array();
    let conditions = conditions.context("conditions")?;
    for wanted in ["RuntimeReady", "NetworkReady"] {
        let of_type = |condition: &&serde_json::Value| condition["type"] == wanted;
        let condition = conditions.iter().find(of_type).context(wanted)?;
        assert_eq!(condition["status"], true, "{condition}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_not_there_is_named() -> Result<()> {
    Runtime::connect(PATIENCE).await?;
    let configs = Configs::write("nowhere")?;
    refused(
        &["runp", "--runtime", "no-such-handler", &configs.pod()],
        &["no-such-handler", "namespaced", "kvm", "RuntimeClass"],
    )?;
    for command in ["start", "inspect", "logs", "rm"] {
        let id = "no-such-container";
        refused(&[command, id], &[id, "there is no container"])?;
    }
    for command in ["inspectp", "rmp"] {
        refused(&[command, "no-such-pod"], &["there is no pod no-such-pod"])?;
    }
    let container = configs.container("c", BUSYBOX, "true")?;
    refused(
        &["create", "no-such-pod", &container, &configs.pod()],
        &["there is no pod no-such-pod"],
    )
}

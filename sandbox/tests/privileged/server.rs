//! A server that is killed: another process makes a sandbox, dies at once, and we adopt it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use sandbox::conformance::{Bench, Outcome};
use sandbox::{Adopted, ContainerId, Mount, SandboxSpec, SavedSandbox};
use serde::{Deserialize, Serialize};

use super::node::Node;
use super::shares;

/// Tells this program to be the server.
pub const COMMAND: &str = "serve";

pub const CHECK: &str = "a_sandbox_outlives_the_kill_of_the_server_that_made_it";

#[derive(Serialize, Deserialize)]
struct Made {
    sandbox: SavedSandbox,
    container: ContainerId,
}

/// Makes a sandbox with a container, tells what it made, and waits to be killed.
pub async fn serve(node: &Node) -> ExitCode {
    let spec = node.sandbox("server");
    let sandbox = node.sandboxer().create(spec.clone()).await.unwrap();
    let script = "while [ ! -e /go ] || [ ! -e /shared/go ]; do sleep 0.1; done; exit 8";
    let mut container = node.container(&spec, "c", script);
    container.mounts.push(shared(node));
    let container = sandbox.create_container(container).await.unwrap();
    container.start().await.unwrap();
    let made = Made {
        sandbox: sandbox.save(),
        container: container.id().clone(),
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(&made).unwrap()).unwrap();
    out.flush().unwrap();
    std::future::pending().await
}

/// A directory of the node's that its containers have.
fn shared(node: &Node) -> Mount {
    let dir = node.dir().join("shared");
    std::fs::create_dir_all(&dir).unwrap();
    shares::mount("/shared", &dir, false)
}

/// Checks the sentence above.
pub async fn check_killed(node: &Node) -> Outcome {
    let start = Instant::now();
    let failure = match tokio::time::timeout(Duration::from_secs(180), try_killed(node)).await {
        Ok(Ok(())) => None,
        Ok(Err(why)) => Some(why),
        Err(_) => Some("it took too long".into()),
    };
    Outcome {
        check: CHECK.into(),
        failure,
        took: start.elapsed(),
    }
}

async fn try_killed(node: &Node) -> Result<(), String> {
    let before = node.traces();
    let made = tokio::task::block_in_place(|| make_and_kill(node)).map_err(|e| e.to_string())?;
    let spec = SandboxSpec {
        id: made.sandbox.id.clone(),
        ..node.sandbox("adopted")
    };
    let tell = |error: sandbox::Error| error.chain();
    let adopted = node.sandboxer().adopt(made.sandbox).await.map_err(tell)?;
    let Adopted::Living(sandbox) = adopted else {
        return Err("it has ended".into());
    };
    let container = sandbox
        .adopt_container(&made.container)
        .await
        .map_err(tell)?;
    let touch = sandbox::ExecSpec {
        args: vec!["/bin/touch".into(), "/go".into()],
        ..sandbox::ExecSpec::default()
    };
    let touched = container.exec(touch).await.map_err(tell)?.exit.await;
    // One that is made now has the same directory as the one from before.
    let mut later = node.container(&spec, "d", "echo > /shared/go");
    later.mounts.push(shared(node));
    let second = sandbox.create_container(later).await.map_err(tell)?;
    second.start().await.map_err(tell)?;
    let ended = container.wait().await;
    sandbox.stop(Duration::ZERO).await.map_err(tell)?;
    sandbox.remove().await.map_err(tell)?;
    if ended.code != 8 {
        return Err(format!("{touched:?}, {ended:?}"));
    }
    let after = node.traces();
    match after.iter().find(|trace| !before.contains(trace)) {
        None => Ok(()),
        Some(left) => Err(format!("left behind: {left}")),
    }
}

fn make_and_kill(node: &Node) -> std::io::Result<Made> {
    let mut server = Command::new(std::env::current_exe()?)
        .arg(COMMAND)
        .arg(node.dir())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let out = server.stdout.take().expect("it is piped");
    BufReader::new(out).read_line(&mut line)?;
    server.kill()?;
    server.wait()?;
    Ok(serde_json::from_str(&line)?)
}

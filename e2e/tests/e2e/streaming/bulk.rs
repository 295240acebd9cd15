//! Much output: it arrives whole, and none of our processes keeps it.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::process::{self, Process};
use e2e::runtime::{Container, Runtime, Streams, container_config};
use e2e::spdy::{Connection, Frame};

use super::PATIENCE;

/// Output in MiB if [`AMOUNT`] does not say: enough to be seen if it were kept.
const MIB: u64 = 32;
const AMOUNT: &str = "BULKHEAD_E2E_MIB";

/// What buffers on the way may take beside what an idle process needs.
const BUFFERS: u64 = 8 << 20;

/// Bytes that are written at once.
const BLOCK: u64 = 64 << 10;

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(100);

under_every_handler!(much_output_arrives_whole_and_nobody_keeps_it);

async fn much_output_arrives_whole_and_nobody_keeps_it(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut pod = runtime.shared_pod(handler).await?;
    let mut container = pod
        .start(&container_config("c", &["sleep", "100000"]))
        .await?;
    // What is needed once, whatever the amount, is not counted.
    stream(&mut container, 1 << 20).await?;
    let mut watched = Watched::new(process::ours()?)?;
    let amount = amount() << 20;
    {
        let streaming = stream(&mut container, amount);
        let watching = watched.watch();
        tokio::select! {
            whole = streaming => whole?,
            failed = watching => failed?,
        }
    }
    watched.check()?;
    pod.clear().await
}

fn amount() -> u64 {
    let asked = std::env::var(AMOUNT).ok().and_then(|mib| mib.parse().ok());
    asked.unwrap_or(MIB)
}

async fn stream(container: &mut Container, amount: u64) -> Result<()> {
    let count = format!("count={}", amount / BLOCK);
    let command = ["dd", "if=/dev/zero", "bs=64k", &count];
    let url = container.exec_url(&command, Streams::Output).await?;
    let mut client = Connection::connect(&url, "v4.channel.k8s.io").await?;
    let ids = client.open_all(Streams::Output.types()).await?;
    let mut received = 0;
    loop {
        match client.next().await?.context("the session goes on")? {
            Frame::Data(id, fin) if id == ids[1] => {
                let payload = client.payload();
                ensure!(*payload == vec![0; payload.len()], "not what was sent");
                received += payload.len() as u64;
                if fin {
                    break;
                }
            }
            _ => {}
        }
    }
    assert_eq!(received, amount);
    Ok(())
}

/// Processes of ours, and the most private memory that each was seen with.
struct Watched {
    processes: Vec<Process>,
    idle: Vec<u64>,
    most: HashMap<usize, u64>,
}

impl Watched {
    fn new(processes: Vec<Process>) -> Result<Self> {
        let mut idle = Vec::new();
        for process in &processes {
            process.forget_peak()?;
            idle.push(match process.peak_memory()? {
                Some(now) => now,
                None => process.private_memory()?,
            });
        }
        Ok(Self {
            processes,
            idle,
            most: HashMap::new(),
        })
    }

    /// Looks again and again; ends only by a failure.
    async fn watch(&mut self) -> Result<()> {
        loop {
            for (index, process) in self.processes.iter().enumerate() {
                let now = match process.peak_memory()? {
                    Some(peak) => peak,
                    None => process.private_memory()?,
                };
                let most = self.most.entry(index).or_default();
                *most = now.max(*most);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn check(&self) -> Result<()> {
        for (index, process) in self.processes.iter().enumerate() {
            let (idle, most) = (self.idle[index], self.most[&index]);
            let kib = |bytes| bytes / 1024;
            eprintln!(
                "{}: {} KiB idle, {} KiB at most",
                process.name,
                kib(idle),
                kib(most)
            );
            let grown = most.saturating_sub(idle);
            ensure!(
                grown <= BUFFERS,
                "{} grew by {} KiB",
                process.name,
                kib(grown)
            );
        }
        Ok(())
    }
}

//! What is done with each: streams by iperf3, and bytes that come back.

use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::ECHOES;
use crate::bench::values::Unit;

/// How long an emulated machine may take to listen.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long each load lasts.
const LASTS: Duration = Duration::from_secs(4);

/// One thing that is done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Into,
    OutOf,
    RoundTrip,
    Requests,
}

impl Step {
    pub(super) const ALL: [Self; 4] = [Self::Into, Self::OutOf, Self::RoundTrip, Self::Requests];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Into => "TCP into it",
            Self::OutOf => "TCP out of it",
            Self::RoundTrip => "round trip",
            Self::Requests => "requests, 4 clients",
        }
    }

    pub(super) fn unit(self) -> Unit {
        match self {
            Self::Into | Self::OutOf => Unit::Megabits,
            Self::RoundTrip => Unit::Milliseconds,
            Self::Requests => Unit::PerSecond,
        }
    }
}

/// Whom it is done with.
pub(super) struct Load {
    ip: IpAddr,
    streams: Vec<TcpStream>,
}

impl Load {
    /// Waits until it serves.
    pub(super) async fn connect(ip: IpAddr) -> Result<Self> {
        let mut streams = Vec::new();
        for port in ECHOES {
            streams.push(connect(ip, port).await?);
        }
        Ok(Self { ip, streams })
    }

    /// Does it, and gives the value.
    pub(super) async fn measure(&mut self, step: Step) -> Result<f64> {
        match step {
            Step::Into => iperf(self.ip, None),
            Step::OutOf => iperf(self.ip, Some("--reverse")),
            Step::RoundTrip => {
                let (count, took) = trips(&mut self.streams[0]).await?;
                ensure!(count > 0, "it answers");
                Ok(took.as_secs_f64() * 1000.0 / f64::from(count))
            }
            Step::Requests => self.requests().await,
        }
    }

    /// Answers a second to all clients together.
    async fn requests(&mut self) -> Result<f64> {
        let begun = Instant::now();
        let counts = futures::future::try_join_all(self.streams.iter_mut().map(trips)).await?;
        let all: u32 = counts.iter().map(|(count, _)| count).sum();
        Ok(f64::from(all) / begun.elapsed().as_secs_f64())
    }
}

async fn connect(ip: IpAddr, port: u16) -> Result<TcpStream> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match tokio::time::timeout(PATIENCE, TcpStream::connect((ip, port))).await? {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("connect to {ip}:{port}"));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// Megabits per second of all streams together.
fn iperf(ip: IpAddr, further: Option<&str>) -> Result<f64> {
    let mut command = Command::new("iperf3");
    command.args(["--json", "--connect-timeout", "30000", "--time"]);
    command.arg(LASTS.as_secs().to_string());
    // More than one, so that waiting for one window does not decide.
    command.args(["--parallel", "4"]);
    command.arg("--client").arg(ip.to_string()).args(further);
    let output = command.output().context("run iperf3")?;
    let told: Value = serde_json::from_slice(&output.stdout).context("read what iperf3 says")?;
    match told["end"]["sum_received"]["bits_per_second"].as_f64() {
        Some(rate) if output.status.success() => Ok(rate / 1e6),
        _ => bail!("iperf3 with {ip}: {}", told["error"]),
    }
}

/// How many small requests are answered, one after another, and in which time.
async fn trips(stream: &mut TcpStream) -> Result<(u32, Duration)> {
    let (mut count, begun) = (0, Instant::now());
    let mut answer = [0; 64];
    while begun.elapsed() < LASTS {
        stream.write_all(&answer).await?;
        stream.read_exact(&mut answer).await?;
        count += 1;
    }
    Ok((count, begun.elapsed()))
}

//! What is done with each: streams by iperf3, and bytes that come back.

use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::ECHOES;
use crate::bench::values::{Unit, tell, tell_time};

/// How long an emulated machine may take to listen.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long each load lasts.
const LASTS: Duration = Duration::from_secs(5);

/// Tells all figures of the one at `ip`.
pub(super) async fn measure(what: &str, side: &str, ip: IpAddr) -> Result<()> {
    let mut streams = Vec::new();
    for port in ECHOES {
        streams.push(connect(ip, port).await?);
    }
    for (direction, argument) in [("into it", None), ("out of it", Some("--reverse"))] {
        let rate = iperf(ip, argument)?;
        tell(
            side,
            &format!("{what}: TCP {direction}"),
            Unit::Megabits,
            rate,
        )?;
    }
    let (alone, took) = trips(&mut streams[0]).await?;
    ensure!(alone > 0, "{side} answers");
    tell_time(side, &format!("{what}: round trip"), took / alone)?;
    let begun = Instant::now();
    let tasks: Vec<_> = streams
        .into_iter()
        .map(|mut stream| tokio::spawn(async move { trips(&mut stream).await }))
        .collect();
    let mut all = 0;
    for task in tasks {
        all += task.await??.0;
    }
    let rate = f64::from(all) / begun.elapsed().as_secs_f64();
    let step = format!("{what}: requests, {} clients", ECHOES.len());
    Ok(tell(side, &step, Unit::PerSecond, rate)?)
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

/// Megabits per second of one stream.
fn iperf(ip: IpAddr, further: Option<&str>) -> Result<f64> {
    let mut command = Command::new("iperf3");
    command.args(["--json", "--connect-timeout", "30000", "--time"]);
    command.arg(LASTS.as_secs().to_string());
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

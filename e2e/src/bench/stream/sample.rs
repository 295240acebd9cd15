//! Each step once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::workload::Workload;
use crate::bench::values::{Unit, mebibytes, tell, tell_time};
use crate::runtime::Streams;
use crate::spdy::{Connection, Frame};

/// Round trips of which the mean is told.
const ROUND_TRIPS: u32 = 50;

/// What the port says when it has taken all.
const TAKEN: &[u8] = b"done\n";

/// Bytes of a frame, as a client's that copies.
const FRAME: usize = 32 << 10;

/// Whether what is measured counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Telling {
    Yes,
    No,
}

/// All steps, in turn.
pub(super) async fn all(workload: &mut Workload, telling: Telling) -> Result<()> {
    let took = exec_true(workload).await?;
    let output = exec_output(workload).await?;
    let exec_trip = exec_round_trip(workload).await?;
    let from_port = from_port(workload).await?;
    let to_port = to_port(workload).await?;
    let port_trip = port_round_trip(workload).await?;
    if telling == Telling::No {
        return Ok(());
    }
    let side = &workload.side;
    tell_time(side, "exec of true", took)?;
    tell(side, "exec, output", Unit::MebibytesPerSecond, output)?;
    tell_time(side, "exec, round trip", exec_trip)?;
    tell(
        side,
        "port-forward, out",
        Unit::MebibytesPerSecond,
        from_port,
    )?;
    tell(side, "port-forward, in", Unit::MebibytesPerSecond, to_port)?;
    tell_time(side, "port-forward, round trip", port_trip)?;
    Ok(())
}

/// From the request for a URL to the end of all streams.
async fn exec_true(workload: &mut Workload) -> Result<Duration> {
    let begin = Instant::now();
    let (mut client, ids) = exec(workload, &["true"], Streams::Output).await?;
    let said = client.collect(&ids).await?;
    let took = begin.elapsed();
    let status = String::from_utf8_lossy(&said[&ids[0]]);
    ensure!(status.contains("Success"), "true ended with {status}");
    Ok(took)
}

async fn exec_output(workload: &mut Workload) -> Result<f64> {
    let count = format!("count={}", workload.mib * 16);
    let command = ["dd", "if=/dev/zero", "bs=64k", &count];
    let (mut client, ids) = exec(workload, &command, Streams::Output).await?;
    rate(&mut client, ids[1], workload.mib << 20).await
}

async fn exec_round_trip(workload: &mut Workload) -> Result<Duration> {
    let (mut client, ids) = exec(workload, &["cat"], Streams::All).await?;
    let took = round_trips(&mut client, ids[1], ids[2]).await?;
    client.finish(ids[1]).await?;
    client.collect(&[ids[0]]).await?;
    Ok(took)
}

async fn from_port(workload: &mut Workload) -> Result<f64> {
    let port = workload.source;
    let mut client = workload.ports().await?;
    let streams = client.open_port(port, 0).await?;
    rate(&mut client, streams.data, workload.mib << 20).await
}

async fn to_port(workload: &mut Workload) -> Result<f64> {
    let port = workload.sink;
    let mut client = workload.ports().await?;
    let streams = client.open_port(port, 0).await?;
    let (amount, frame) = (workload.mib << 20, vec![0; FRAME]);
    let begin = Instant::now();
    for _ in 0..amount / FRAME as u64 {
        client.send(streams.data, &frame).await?;
    }
    let mut said: Vec<u8> = Vec::new();
    while said.len() < TAKEN.len() {
        match client.next().await?.context("the port answers")? {
            Frame::Data(id, false) if id == streams.data => said.extend(client.payload()),
            Frame::Data(id, _) => ensure!(id != streams.data, "the port did not take all"),
            _ => {}
        }
    }
    let took = begin.elapsed();
    ensure!(said == TAKEN, "the port did not take all");
    Ok(mebibytes(amount) / took.as_secs_f64())
}

async fn port_round_trip(workload: &mut Workload) -> Result<Duration> {
    let port = workload.echo;
    let mut client = workload.ports().await?;
    let streams = client.open_port(port, 0).await?;
    round_trips(&mut client, streams.data, streams.data).await
}

async fn exec(
    workload: &mut Workload,
    command: &[&str],
    streams: Streams,
) -> Result<(Connection, Vec<u32>)> {
    let url = workload.container.exec_url(command, streams).await?;
    let mut client = Connection::connect(&url, "v4.channel.k8s.io").await?;
    let ids = client.open_all(streams.types()).await?;
    Ok((client, ids))
}

/// MiB a second from the first bytes on a stream to its end, which must be after `amount`.
async fn rate(client: &mut Connection, stream: u32, amount: u64) -> Result<f64> {
    let mut received = 0;
    let mut begin = None;
    loop {
        match client.next().await?.context("the stream ends first")? {
            Frame::Data(id, fin) if id == stream => {
                received += client.payload().len() as u64;
                begin = begin.or_else(|| Some(Instant::now()));
                if fin {
                    break;
                }
            }
            Frame::Reset(id) if id == stream => break,
            _ => {}
        }
    }
    ensure!(received == amount, "{received} bytes of {amount} have come");
    let begin = begin.context("there are bytes")?;
    Ok(mebibytes(amount) / begin.elapsed().as_secs_f64())
}

/// The mean of some round trips of one byte, after one that is not counted.
async fn round_trips(client: &mut Connection, to: u32, from: u32) -> Result<Duration> {
    let mut begin = Instant::now();
    for trip in 0..=ROUND_TRIPS {
        client.send(to, b"x").await?;
        loop {
            let frame = client.next().await?.context("the session goes on")?;
            if matches!(frame, Frame::Data(id, _) if id == from) {
                break;
            }
        }
        if trip == 0 {
            begin = Instant::now();
        }
    }
    Ok(begin.elapsed() / ROUND_TRIPS)
}

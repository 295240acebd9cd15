//! Limits of a pod's bandwidth, as annotations ask for them.

use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::runtime::{Runtime, pod_config};

use super::node::{self, output};
use super::web::Web;

const PATIENCE: Duration = Duration::from_secs(30);

/// In bits per second; slower than anything in an emulated node.
const RATE: (&str, u64) = ("2M", 2_000_000);
const BYTES: u64 = 1_500_000;

under_every_handler!(annotations_limit_what_a_pod_sends_and_receives);

async fn annotations_limit_what_a_pod_sends_and_receives(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut config = pod_config("limited");
    for direction in ["ingress", "egress"] {
        let annotation = format!("kubernetes.io/{direction}-bandwidth");
        config.annotations.insert(annotation, RATE.0.into());
    }
    let mut limited = Web::run(&mut runtime, handler, &config).await?;
    let free = Web::run(&mut runtime, "namespaced", &pod_config("free")).await?;
    let qdiscs = output("tc qdisc show")?;
    let shapers = qdiscs.lines().filter(|line| line.contains("qdisc tbf"));
    assert_eq!(shapers.count(), 2, "one for each direction: {qdiscs}");

    // The first second's worth passes at once, and a little may be on its way.
    let least = Duration::from_secs((BYTES * 8 / RATE.1) - 2);
    let make = format!("head -c {BYTES} /dev/zero > /tmp/www/bytes");
    for web in [&mut limited.container.clone(), &mut free.container.clone()] {
        web.output(&["sh", "-c", &make]).await?;
    }
    let received = download(&mut limited, &free).await?;
    assert!(received >= least, "received in {received:?}");
    let mut other = free;
    let sent = download(&mut other, &limited).await?;
    assert!(sent >= least, "sent in {sent:?}");

    limited.pod.finish().await?;
    other.pod.finish().await?;
    let qdiscs = output("tc qdisc show")?;
    assert!(!qdiscs.contains("qdisc tbf"), "none is left: {qdiscs}");
    Ok(())
}

/// How long `to` takes to get all bytes of `from`.
async fn download(to: &mut Web, from: &Web) -> Result<Duration> {
    let host = node::host(&from.ip()?);
    let script = format!("wget -q -O - http://{host}/bytes | wc -c");
    let begun = Instant::now();
    let count = to.container.output(&["sh", "-c", &script]).await?;
    assert_eq!(count.trim(), BYTES.to_string());
    Ok(begun.elapsed())
}

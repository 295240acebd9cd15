//! nginx, Redis and PostgreSQL in one pod, really used from another pod and from the node.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::images::NGINX;
use e2e::images::services::{POSTGRESQL, REDIS};
use e2e::runtime::{Container, Pod, Runtime, container_config, pod_config, spec};
use k8s_cri::v1::ContainerConfig;
use tokio::net::TcpStream;

use super::node;
use super::web::ips;

const PATIENCE: Duration = Duration::from_secs(30);
/// In an emulated machine a database takes its time.
const START: Duration = Duration::from_secs(120);

under_every_handler!(servers_are_used_from_another_pod_and_from_the_node);

async fn servers_are_used_from_another_pod_and_from_the_node(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut servers = runtime.run_pod(handler, &pod_config("servers")).await?;
    let mut clients = runtime
        .run_pod("namespaced", &pod_config("clients"))
        .await?;
    let ip = ips(&mut runtime, &servers.id).await?[0];
    for (image, port) in [(NGINX, 80), (REDIS, 6379), (POSTGRESQL, 5432)] {
        // The image says what to run.
        servers.start(&of_image(image, &[])).await?;
        listens(SocketAddr::from((ip, port))).await?;
    }

    assert_eq!(node::get((ip, 80)).await?, "it works\n");
    let mut busybox = client(&mut clients, e2e::images::BUSYBOX).await?;
    let url = format!("http://{ip}/");
    let page = busybox.output(&["wget", "-q", "-O", "-", &url]).await?;
    assert_eq!(page, "it works\n");
    use_redis(&mut clients, ip).await?;
    use_postgresql(&mut clients, ip).await?;

    clients.finish().await?;
    servers.finish().await
}

async fn use_redis(clients: &mut Pod, ip: IpAddr) -> Result<()> {
    let mut client = client(clients, REDIS).await?;
    let host = ip.to_string();
    let cli = ["redis-cli", "-h", &host];
    let set = [&cli[..], &["SET", "colour", "green"]].concat();
    assert_eq!(client.output(&set).await?, "OK\n");
    let get = [&cli[..], &["GET", "colour"]].concat();
    assert_eq!(client.output(&get).await?, "green\n");
    Ok(())
}

async fn use_postgresql(clients: &mut Pod, ip: IpAddr) -> Result<()> {
    let mut client = client(clients, POSTGRESQL).await?;
    let host = ip.to_string();
    let psql = [
        "psql",
        "-h",
        &host,
        "-U",
        "postgres",
        "-v",
        "ON_ERROR_STOP=1",
    ];
    let fill = "CREATE TABLE trees (name text, metres int); \
                INSERT INTO trees SELECT 'oak', m FROM generate_series(1, 1000) m;";
    client.output(&[&psql[..], &["-qc", fill]].concat()).await?;
    let ask = "SELECT name, count(*), sum(metres) FROM trees GROUP BY name";
    let answer = client.output(&[&psql[..], &["-Atc", ask]].concat()).await?;
    assert_eq!(answer, "oak|1000|500500\n");
    Ok(())
}

/// A container of `image` in which clients can be run.
async fn client(clients: &mut Pod, image: &str) -> Result<Container> {
    clients.start(&of_image(image, &["sleep", "1000"])).await
}

fn of_image(image: &str, command: &[&str]) -> ContainerConfig {
    let name = image.rsplit(['/', ':']).nth(1).unwrap_or(image);
    ContainerConfig {
        image: Some(spec(image)),
        ..container_config(name, command)
    }
}

async fn listens(address: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + START;
    while let Err(error) = TcpStream::connect(address).await {
        ensure!(Instant::now() < deadline, "{address}: {error}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

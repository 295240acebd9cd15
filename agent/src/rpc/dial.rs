//! `Dial`: a TCP connection to a port inside the pod.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use agent_api::flow::PIECE;
use agent_api::v1::dial_input::Input;
use agent_api::v1::dial_output::Output;
use agent_api::v1::{DialInput, DialOutput, Empty};
use bytes::Bytes;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::Outgoing;
use super::stream::QUEUE;
use crate::Error;
use crate::agent::Agent;
use crate::sandbox::Sandbox;

/// Loopback answers at once or not at all.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);

pub(super) async fn dial(
    agent: &Agent,
    mut input: Streaming<DialInput>,
) -> Result<Outgoing<DialOutput>, Status> {
    let first = input.message().await?.and_then(|message| message.input);
    let Some(Input::Start(start)) = first else {
        return Err(Error::Missing("start in its first message").into());
    };
    let port = start.port;
    let number = u16::try_from(port).ok().filter(|port| *port > 0);
    let number = number.ok_or_else(|| Error::Invalid(format!("there is no port {port}")))?;
    let stream = connect(agent.sandbox()?, number)
        .await
        .map_err(|source| Error::Dial { port, source })?;
    let (client, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let (reader, writer) = stream.into_split();
        let inward = async {
            pass_in(input, writer).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = pass_out(reader, &client) => {}
            () = inward => unreachable!("it never ends"),
            () = client.closed() => {}
        }
    });
    Ok(Outgoing::new(receiver))
}

/// IPv4 first, then IPv6.
async fn connect(sandbox: &Sandbox, port: u16) -> io::Result<TcpStream> {
    let addresses = [
        SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
    ];
    let mut failed = None;
    for address in addresses {
        let connected = async { socket(sandbox, address)?.connect(address).await };
        match tokio::time::timeout(CONNECTED_WITHIN, connected).await {
            Ok(Ok(stream)) => return Ok(stream),
            // What IPv4 said is what people expect to read.
            Ok(Err(error)) => drop(failed.get_or_insert(error)),
            Err(_) => drop(failed.get_or_insert(io::ErrorKind::TimedOut.into())),
        }
    }
    Err(failed.expect("two addresses were tried"))
}

/// A socket belongs to the network namespace it is made in, wherever it is used.
fn socket(sandbox: &Sandbox, address: SocketAddr) -> io::Result<TcpSocket> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let make = move || -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        Ok(socket_with(family, SocketType::STREAM, flags, None)?)
    };
    let made = match sandbox.network() {
        None => make()?,
        // A thread of its own goes there and ends there: the agent stays where it is.
        Some(network) => std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(network, Some(LinkNameSpaceType::Network))?;
                make()
            });
            inside.join().expect("it does not panic")
        })?,
    };
    Ok(TcpSocket::from_std_stream(made.into()))
}

async fn pass_in(mut input: Streaming<DialInput>, mut writer: OwnedWriteHalf) {
    while let Ok(Some(message)) = input.message().await {
        match message.input {
            Some(Input::Data(bytes)) if writer.write_all(&bytes).await.is_err() => return,
            Some(Input::End(_)) => break,
            _ => {}
        }
    }
    // The other side may be gone already.
    let _ = writer.shutdown().await;
}

async fn pass_out(mut reader: OwnedReadHalf, client: &mpsc::Sender<Result<DialOutput, Status>>) {
    let send = |output| {
        client.send(Ok(DialOutput {
            output: Some(output),
        }))
    };
    if send(Output::Connected(Empty {})).await.is_err() {
        return;
    }
    let mut buffer = vec![0; PIECE];
    while let Ok(length @ 1..) = reader.read(&mut buffer).await {
        if send(Output::Data(Bytes::copy_from_slice(&buffer[..length])))
            .await
            .is_err()
        {
            return;
        }
    }
    // A client that is gone needs no end.
    let _ = send(Output::End(Empty {})).await;
}

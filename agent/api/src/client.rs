//! The host's side of the protocol: one [`Client`] per agent.

mod address;
mod calls;
mod error;
mod session;

use std::time::Duration;

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

pub use address::Address;
pub use error::Error;
pub use session::{DialSession, EXEC_SYNC_CAP, ExecOutput, Session};

use crate::v1::agent_client::AgentClient;
use crate::v1::{HelloReply, HelloRequest};
use crate::{flow, version};

/// Talks to one agent. Cheap to clone; clones share its two connections.
///
/// Short calls and bulk streams travel on connections of their own, so that a client which reads
/// its stream slowly never delays a call. A connection that breaks is made again at the next call;
/// the agent keeps no state per connection.
#[derive(Clone, Debug)]
pub struct Client {
    calls: AgentClient<Channel>,
    streams: AgentClient<Channel>,
    hello: HelloReply,
}

impl Client {
    /// Connects and agrees on a protocol, or gives up after `limit`.
    pub async fn connect(address: &Address, limit: Duration) -> Result<Self, Error> {
        tokio::time::timeout(limit, Self::connect_unlimited(address))
            .await
            .map_err(|_| Error::TimedOut { doing: "connect" })?
    }

    async fn connect_unlimited(address: &Address) -> Result<Self, Error> {
        let connect_error = |source| Error::Connect {
            address: address.clone(),
            source,
        };
        let connector = {
            let address = address.clone();
            service_fn(move |_| {
                let address = address.clone();
                async move { address.open().await.map(TokioIo::new) }
            })
        };
        let channel = endpoint()
            .connect_with_connector(connector.clone())
            .await
            .map_err(connect_error)?;
        let streams = endpoint().connect_with_connector_lazy(connector);
        let mut calls = limited(channel);
        let hello = hello(&mut calls).await?;
        Ok(Self {
            calls,
            streams: limited(streams),
            hello,
        })
    }

    /// What the agent said of itself when we connected. A guest's words: for people only.
    pub const fn hello(&self) -> &HelloReply {
        &self.hello
    }
}

/// The URI is never resolved: the connector knows where the agent is.
fn endpoint() -> Endpoint {
    Endpoint::from_static("http://agent")
        .initial_stream_window_size(flow::STREAM_WINDOW)
        .initial_connection_window_size(flow::CONNECTION_WINDOW)
        .max_frame_size(flow::FRAME)
}

fn limited(channel: Channel) -> AgentClient<Channel> {
    AgentClient::new(channel)
        .max_decoding_message_size(version::MAX_MESSAGE)
        .max_encoding_message_size(version::MAX_MESSAGE)
}

async fn hello(agent: &mut AgentClient<Channel>) -> Result<HelloReply, Error> {
    let request = HelloRequest {
        min: version::OLDEST,
        max: version::PROTOCOL,
    };
    let reply = agent
        .hello(request)
        .await
        .map_err(|status| Error::Refused {
            doing: "greet",
            source: Box::new(status),
        })?
        .into_inner();
    if !(version::OLDEST..=version::PROTOCOL).contains(&reply.protocol) {
        return Err(Error::Incompatible {
            theirs: reply.protocol,
        });
    }
    Ok(reply)
}

#[cfg(test)]
mod tests;

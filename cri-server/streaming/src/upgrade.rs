//! Which protocol a client asks for, and which it gets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Method, StatusCode};
use sha1::{Digest, Sha1};

use crate::request::{Kind, Request};
use crate::spdy_session::Version;
use crate::status::StatusForm;
use crate::websocket::Encoding;
use crate::websocket_session::PORTS_MAX;

const PROTOCOLS: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");
/// What a server adds to the client's key (RFC 6455 §1.3).
const WEBSOCKET_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What is spoken once the upgrade is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Exec or attach over SPDY.
    SpdyCommand(Version),
    /// Port-forward over SPDY.
    SpdyPorts,
    /// Exec or attach over WebSocket.
    WebSocketCommand(Encoding, StatusForm),
    /// Port-forward over WebSocket, with the ports that the request names.
    WebSocketPorts(Encoding),
    /// Port-forward over SPDY inside a WebSocket.
    Tunnel,
}

/// An upgrade that both sides agree on.
#[derive(Debug)]
pub(crate) struct Agreed {
    pub(crate) dialect: Dialect,
    /// Its name, as the client gave it.
    pub(crate) protocol: &'static str,
    /// Headers of the answer.
    pub(crate) headers: HeaderMap,
}

/// An upgrade that can't be.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) why: &'static str,
}

impl Refused {
    fn new(status: StatusCode, why: &'static str) -> Self {
        let headers = HeaderMap::new();
        Self {
            status,
            headers,
            why,
        }
    }
}

/// A protocol by its name.
type Protocol = (&'static str, Dialect);

const SPDY_COMMAND: [Protocol; 4] = [
    ("v4.channel.k8s.io", Dialect::SpdyCommand(Version::V4)),
    ("v3.channel.k8s.io", Dialect::SpdyCommand(Version::V3)),
    ("v2.channel.k8s.io", Dialect::SpdyCommand(Version::V2)),
    ("channel.k8s.io", Dialect::SpdyCommand(Version::V1)),
];

const SPDY_PORTS: [Protocol; 1] = [("portforward.k8s.io", Dialect::SpdyPorts)];

const WEBSOCKET_COMMAND: [Protocol; 5] = {
    use Dialect::WebSocketCommand as Command;
    use {Encoding as E, StatusForm as S};
    [
        ("v5.channel.k8s.io", Command(E::BinaryWithClose, S::Json)),
        ("v4.channel.k8s.io", Command(E::Binary, S::Json)),
        ("v4.base64.channel.k8s.io", Command(E::Base64, S::Json)),
        ("channel.k8s.io", Command(E::Binary, S::Text)),
        ("base64.channel.k8s.io", Command(E::Base64, S::Text)),
    ]
};

const WEBSOCKET_PORTS: [Protocol; 5] = {
    use Dialect::WebSocketPorts as Ports;
    [
        ("SPDY/3.1+portforward.k8s.io", Dialect::Tunnel),
        ("v4.channel.k8s.io", Ports(Encoding::Binary)),
        ("v4.base64.channel.k8s.io", Ports(Encoding::Base64)),
        ("channel.k8s.io", Ports(Encoding::Binary)),
        ("base64.channel.k8s.io", Ports(Encoding::Base64)),
    ]
};

/// Agrees on a protocol with a client that has shown its token.
pub(crate) fn agree(
    request: &Request,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Agreed, Refused> {
    let asks_for =
        |name, value: &str| items(headers, &name).any(|item| item.eq_ignore_ascii_case(value));
    if !asks_for(CONNECTION, "upgrade") {
        return Err(Refused::new(
            StatusCode::BAD_REQUEST,
            "an upgrade is needed",
        ));
    }
    if asks_for(UPGRADE, "websocket") {
        return agree_on_websocket(request, method, headers);
    }
    if asks_for(UPGRADE, "spdy/3.1") {
        return agree_on_spdy(request.kind(), headers);
    }
    let why = "neither SPDY/3.1 nor websocket was asked for";
    Err(Refused::new(StatusCode::BAD_REQUEST, why))
}

fn agree_on_spdy(kind: Kind, headers: &HeaderMap) -> Result<Agreed, Refused> {
    let known: &[Protocol] = match kind {
        Kind::Exec | Kind::Attach => &SPDY_COMMAND,
        Kind::PortForward => &SPDY_PORTS,
    };
    if items(headers, &PROTOCOLS).next().is_none() {
        let why = "X-Stream-Protocol-Version is missing";
        return Err(Refused::new(StatusCode::BAD_REQUEST, why));
    }
    let Some((protocol, dialect)) = first_known(headers, &PROTOCOLS, known) else {
        let mut refused = Refused::new(StatusCode::FORBIDDEN, "no protocol of these is known");
        for (name, _) in known {
            refused
                .headers
                .append(ACCEPTED, HeaderValue::from_static(name));
        }
        return Err(refused);
    };
    let mut headers = upgrade_to("SPDY/3.1");
    headers.insert(PROTOCOLS, HeaderValue::from_static(protocol));
    Ok(Agreed {
        dialect,
        protocol,
        headers,
    })
}

fn agree_on_websocket(
    request: &Request,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Agreed, Refused> {
    let bad = |why| Err(Refused::new(StatusCode::BAD_REQUEST, why));
    if method != Method::GET {
        return Err(Refused::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "WebSocket is for GET",
        ));
    }
    if headers
        .get(SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version != "13")
    {
        let mut refused = Refused::new(
            StatusCode::UPGRADE_REQUIRED,
            "WebSocket version 13 is needed",
        );
        refused
            .headers
            .insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return Err(refused);
    }
    let Some(key) = headers.get(SEC_WEBSOCKET_KEY) else {
        return bad("Sec-WebSocket-Key is missing");
    };
    let known: &[Protocol] = match request.kind() {
        Kind::Exec | Kind::Attach => &WEBSOCKET_COMMAND,
        Kind::PortForward => &WEBSOCKET_PORTS,
    };
    let named = items(headers, &SEC_WEBSOCKET_PROTOCOL).next().is_some();
    // The first clients named no protocol.
    let agreed = if named {
        first_known(headers, &SEC_WEBSOCKET_PROTOCOL, known)
    } else {
        known
            .iter()
            .copied()
            .find(|(name, _)| *name == "channel.k8s.io")
    };
    let Some((protocol, dialect)) = agreed else {
        return Err(Refused::new(
            StatusCode::FORBIDDEN,
            "no protocol of these is known",
        ));
    };
    if let (Request::PortForward(request), Dialect::WebSocketPorts(_)) = (request, dialect)
        && !(1..=PORTS_MAX).contains(&request.port.len())
    {
        return bad("this protocol needs the ports in the request, and not too many");
    }
    let mut answer = upgrade_to("websocket");
    answer.insert(SEC_WEBSOCKET_ACCEPT, accept_key(key));
    if named {
        answer.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    Ok(Agreed {
        dialect,
        protocol,
        headers: answer,
    })
}

fn upgrade_to(protocol: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(protocol));
    headers
}

/// RFC 6455 §4.2.2.
fn accept_key(key: &HeaderValue) -> HeaderValue {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(WEBSOCKET_GUID);
    let text = STANDARD.encode(hash.finalize());
    HeaderValue::from_str(&text).expect("base64 is a header value")
}

/// The client names what it likes best first.
fn first_known(headers: &HeaderMap, name: &HeaderName, known: &[Protocol]) -> Option<Protocol> {
    items(headers, name).find_map(|item| known.iter().copied().find(|(name, _)| *name == item))
}

/// The items of a header that may be there several times, and hold several each time.
fn items<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let texts = headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    let items = texts.flat_map(|text| text.split(','));
    items.map(str::trim).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests;

//! Which protocol clients get.

use cri_api::v1::{ExecRequest, PortForwardRequest};

use super::*;

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::from_static(name);
        headers.append(name, HeaderValue::from_static(value));
    }
    headers
}

fn exec() -> Request {
    Request::Exec(ExecRequest::default())
}

fn ports(port: Vec<i32>) -> Request {
    let pod_sandbox_id = "p1".to_owned();
    Request::PortForward(PortForwardRequest {
        pod_sandbox_id,
        port,
    })
}

const SPDY: [(&str, &str); 2] = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];

#[track_caller]
fn check_spdy(protocols: &[&'static str], expected: Result<&str, StatusCode>) {
    let mut pairs = SPDY.to_vec();
    pairs.extend(
        protocols
            .iter()
            .map(|name| ("x-stream-protocol-version", *name)),
    );
    let agreed = agree(&exec(), &Method::POST, &headers(&pairs));
    let found = agreed.as_ref().map(|agreed| agreed.protocol);
    assert_eq!(found.map_err(|refused| refused.status), expected);
    if let Ok(agreed) = agreed {
        assert_eq!(agreed.headers[PROTOCOLS], agreed.protocol);
    }
}

#[test]
fn the_first_protocol_that_is_known_wins() {
    check_spdy(
        &[
            "v5.channel.k8s.io",
            "v4.channel.k8s.io",
            "v3.channel.k8s.io",
        ],
        Ok("v4.channel.k8s.io"),
    );
    check_spdy(
        &["v2.channel.k8s.io, v4.channel.k8s.io"],
        Ok("v2.channel.k8s.io"),
    );
    check_spdy(&["channel.k8s.io"], Ok("channel.k8s.io"));
    check_spdy(&["v9.channel.k8s.io"], Err(StatusCode::FORBIDDEN));
    check_spdy(&[], Err(StatusCode::BAD_REQUEST));
}

#[test]
fn a_refusal_lists_what_is_known() {
    let mut pairs = SPDY.to_vec();
    pairs.push(("x-stream-protocol-version", "v9.channel.k8s.io"));
    let refused = agree(&exec(), &Method::POST, &headers(&pairs)).unwrap_err();
    assert_eq!(refused.headers.get_all(ACCEPTED).iter().count(), 4);
}

#[test]
fn without_an_upgrade_there_is_nothing() {
    let refused = agree(&exec(), &Method::GET, &headers(&[])).unwrap_err();
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let h2c = [("connection", "upgrade"), ("upgrade", "h2c")];
    let refused = agree(&exec(), &Method::GET, &headers(&h2c)).unwrap_err();
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
}

fn websocket(protocol: Option<&'static str>) -> HeaderMap {
    let mut pairs = vec![
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    pairs.extend(protocol.map(|name| ("sec-websocket-protocol", name)));
    headers(&pairs)
}

#[test]
fn the_answer_to_a_websocket_key_is_that_of_the_rfc() {
    let headers = websocket(Some("v5.channel.k8s.io"));
    let agreed = agree(&exec(), &Method::GET, &headers).unwrap();
    let accept = &agreed.headers[SEC_WEBSOCKET_ACCEPT];
    assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(agreed.headers[SEC_WEBSOCKET_PROTOCOL], "v5.channel.k8s.io");
    let command = Dialect::WebSocketCommand(Encoding::BinaryWithClose, StatusForm::Json);
    assert_eq!(agreed.dialect, command);
}

#[test]
fn a_client_that_names_no_protocol_gets_the_oldest_and_no_name() {
    let agreed = agree(&exec(), &Method::GET, &websocket(None)).unwrap();
    let oldest = Dialect::WebSocketCommand(Encoding::Binary, StatusForm::Text);
    assert_eq!(agreed.dialect, oldest);
    assert!(!agreed.headers.contains_key(SEC_WEBSOCKET_PROTOCOL));
}

#[test]
fn ports_come_through_a_tunnel_or_with_the_request() {
    let tunnel = websocket(Some("SPDY/3.1+portforward.k8s.io"));
    let agreed = agree(&ports(vec![]), &Method::GET, &tunnel).unwrap();
    assert_eq!(agreed.dialect, Dialect::Tunnel);
    let legacy = websocket(Some("v4.channel.k8s.io"));
    let agreed = agree(&ports(vec![80]), &Method::GET, &legacy).unwrap();
    assert_eq!(agreed.dialect, Dialect::WebSocketPorts(Encoding::Binary));
    assert!(agree(&ports(vec![]), &Method::GET, &legacy).is_err());
    assert!(agree(&ports(vec![80; PORTS_MAX + 1]), &Method::GET, &legacy).is_err());
}

#[test]
fn websocket_needs_its_version_and_get() {
    let mut headers = websocket(None);
    assert!(agree(&exec(), &Method::POST, &headers).is_err());
    headers.remove(SEC_WEBSOCKET_VERSION);
    let refused = agree(&exec(), &Method::GET, &headers).unwrap_err();
    assert_eq!(refused.status, StatusCode::UPGRADE_REQUIRED);
}

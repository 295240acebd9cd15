//! `Status`: whether pods can be run, and what each handler can do.

use std::collections::BTreeMap;
use std::sync::Arc;

use cri_api::v1::{
    RuntimeCondition, RuntimeFeatures, RuntimeHandler, RuntimeHandlerFeatures, RuntimeStatus,
    StatusRequest, StatusResponse,
};
use cri_streaming::StreamingServer;
use serde_json::json;

use crate::CriServer;
use crate::error::Result;
use crate::handlers::HandlerStatus;

pub(super) async fn status(
    server: Arc<CriServer>,
    request: StatusRequest,
) -> Result<StatusResponse> {
    let handlers = server.handlers.status();
    Ok(StatusResponse {
        status: Some(RuntimeStatus {
            conditions: vec![runtime_ready(&handlers), network_ready(&server)],
        }),
        info: if request.verbose {
            info(&server, &handlers)
        } else {
            BTreeMap::new()
        },
        runtime_handlers: handlers.iter().map(runtime_handler).collect(),
        features: Some(RuntimeFeatures {
            supplemental_groups_policy: true,
            user_namespaces_host_network: false,
            mount_options: false,
        }),
    })
}

/// Ready if pods that name no handler can be run. Other handlers that can't are named all the same.
fn runtime_ready(handlers: &[HandlerStatus]) -> RuntimeCondition {
    let unavailable = |handler: &HandlerStatus| handler.unavailable.clone();
    let default = handlers
        .iter()
        .find(|handler| handler.name.is_empty())
        .and_then(unavailable);
    let named = handlers.iter().filter(|handler| !handler.name.is_empty());
    let sentences = named.filter_map(|handler| {
        let reason = handler.unavailable.as_ref()?;
        Some(format!(
            "handler {} is not available: {reason}",
            handler.name
        ))
    });
    let reason = if default.is_some() {
        "DefaultHandlerNotAvailable"
    } else {
        ""
    };
    RuntimeCondition {
        r#type: "RuntimeReady".into(),
        status: default.is_none(),
        reason: reason.into(),
        message: sentences.collect::<Vec<_>>().join("; "),
    }
}

fn network_ready(server: &CriServer) -> RuntimeCondition {
    let readiness = server.network.readiness();
    RuntimeCondition {
        r#type: "NetworkReady".into(),
        status: readiness.ready,
        reason: readiness.reason.into(),
        message: readiness.message,
    }
}

fn runtime_handler(handler: &HandlerStatus) -> RuntimeHandler {
    let features = handler.features.as_ref();
    RuntimeHandler {
        name: handler.name.clone(),
        features: Some(RuntimeHandlerFeatures {
            recursive_read_only_mounts: features.is_some_and(|f| f.recursive_read_only_mounts),
            user_namespaces: features.is_some_and(|f| f.user_namespaces),
        }),
    }
}

/// JSON for people and for tools; `stateDir` is where test suites look for it.
fn info(server: &CriServer, handlers: &[HandlerStatus]) -> BTreeMap<String, String> {
    let mut config = json!(server.config.effective);
    config["stateDir"] = json!(server.config.state_dir);
    let states: BTreeMap<_, _> = handlers
        .iter()
        .map(|handler| {
            let state = handler.unavailable.as_deref().unwrap_or("available");
            (handler.name.as_str(), state)
        })
        .collect();
    let streaming = server.streaming.get().map(StreamingServer::counts);
    [
        ("config", config.to_string()),
        ("handlers", json!(states).to_string()),
        (
            "network",
            json!(server.network.readiness().message).to_string(),
        ),
        ("streaming", json!(streaming).to_string()),
    ]
    .map(|(name, value)| (name.to_string(), value))
    .into()
}

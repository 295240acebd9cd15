//! `PullImage`. Unlike other calls it ends when its client leaves: the kubelet sets no deadline, and
//! a download that nobody waits for any more is given up by the image store.

use std::sync::Arc;
use std::time::Instant;

use cri_api::v1::{AuthConfig, PullImageRequest, PullImageResponse};
use image_service::Auth;
use tonic::{Request, Response, Status};
use tracing::{Instrument, info, info_span, warn};

use crate::CriServer;
use crate::error::{Error, Result, chain};
use crate::grpc_status;

pub(super) async fn pull_image(
    server: &Arc<CriServer>,
    request: Request<PullImageRequest>,
) -> Result<Response<PullImageResponse>, Status> {
    let request = request.into_inner();
    let name = super::name(request.image.as_ref());
    let span = info_span!("rpc", name = "PullImage", subject = name);
    let started = Instant::now();
    let work = async {
        let answer = pull(server, &name, request.auth).await;
        let took = started.elapsed();
        match &answer {
            Ok(done) => info!(?took, image_id = done.image_ref, "done"),
            Err(error) => warn!(?took, kind = ?error.kind(), error = chain(error), "failed"),
        }
        answer
    };
    let answer = work.instrument(span).await;
    let answer = answer.map_err(|error| grpc_status::status(&error));
    server.metrics.answered(
        "PullImage",
        grpc_status::code_of(&answer),
        started.elapsed(),
    );
    answer.map(Response::new)
}

async fn pull(
    server: &CriServer,
    name: &str,
    auth: Option<AuthConfig>,
) -> Result<PullImageResponse> {
    if name.is_empty() {
        return Err(Error::invalid("the request names no image"));
    }
    let auth = auth.map(from_cri);
    let id = server.images.pull(name, auth.as_ref()).await?;
    Ok(PullImageResponse {
        image_ref: id.to_string(),
    })
}

fn from_cri(auth: AuthConfig) -> Auth {
    Auth {
        username: auth.username,
        password: auth.password,
        auth: auth.auth,
        server_address: auth.server_address,
        identity_token: auth.identity_token,
        registry_token: auth.registry_token,
    }
}

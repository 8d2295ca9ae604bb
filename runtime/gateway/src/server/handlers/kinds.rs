//! Deploying and listing kinds.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::HeaderName;
use phoenix_core::KindPolicy;
use phoenix_core::control::{Request as Ask, Response};
use phoenix_core::flow::{FlowScope, FlowTarget};

use super::flow;
use crate::server::app::App;
use crate::server::body;
use crate::server::extract::KindPath;
use crate::server::fault::{Code, Fault};
use crate::{api, convert, policy};

/// Carries the policy beside a component: a JSON object of the fields that
/// differ from the defaults.
const POLICY: HeaderName = HeaderName::from_static("phoenix-policy");

pub(in crate::server) async fn list(
    State(app): State<Arc<App>>,
) -> Result<Json<api::KindList>, Fault> {
    let Response::Kinds(kinds) = app.control(Ask::Kinds).await? else {
        return Err(Fault::odd_answer());
    };
    let mut kinds: Vec<api::Kind> = kinds.into_iter().map(convert::kind).collect();
    for info in flow::of_scope(&app, FlowScope::Kind).await {
        let FlowTarget::Kind(name) = &info.target else {
            continue;
        };
        if let Some(kind) = kinds.iter_mut().find(|kind| kind.kind == name.as_str()) {
            kind.gates.push(convert::flow(info));
        }
    }
    Ok(Json(api::KindList { kinds }))
}

pub(in crate::server) async fn deploy(
    State(app): State<Arc<App>>,
    KindPath(kind): KindPath,
    request: Request,
) -> Result<Json<api::Kind>, Fault> {
    let policy = read_policy(&request)?;
    let body = body::read(&app, request, app.limits.max_component, "api-max-component").await?;
    if body.media_type().as_deref() != Some(api::WASM) {
        let fault = Fault::new(
            Code::UnsupportedType,
            "the body is not said to be a component",
        );
        return Err(fault.suggest(format!("send `content-type: {}`", api::WASM)));
    }
    let request = Ask::Deploy {
        kind,
        component: body.bytes.clone(),
        policy: Box::new(policy),
    };
    match app.control(request).await? {
        Response::Deployed(kind) => Ok(Json(convert::kind(kind))),
        _ => Err(Fault::odd_answer()),
    }
}

fn read_policy(request: &Request) -> Result<KindPolicy, Fault> {
    let Some(value) = request.headers().get(POLICY) else {
        return Ok(KindPolicy::default());
    };
    let changes: api::Policy = serde_json::from_slice(value.as_bytes()).map_err(|error| {
        Fault::invalid(format!("the header `{POLICY}` is no policy: {error}"))
            .suggest("write a JSON object such as {\"memory-bytes\": \"16MiB\"}")
    })?;
    policy::changed(&KindPolicy::default(), &changes).map_err(|error| {
        let suggestion = error.suggestion();
        Fault::invalid(error.to_string()).suggest(suggestion)
    })
}

//! Attaching, listing and taking away policies of flow control.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use phoenix_core::control::{Request as Ask, Response};
use phoenix_core::flow::{FlowInfo, FlowScope, FlowTarget};
use serde::Deserialize;

use crate::server::app::App;
use crate::server::body;
use crate::server::extract::{self, Params};
use crate::server::fault::{Code, Fault};
use crate::{api, convert, flow};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct ListParams {
    target: Option<String>,
    node: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct TargetParams {
    target: String,
}

pub(in crate::server) async fn list(
    State(app): State<Arc<App>>,
    Params(params): Params<ListParams>,
) -> Result<Json<api::FlowList>, Fault> {
    let request = Ask::Flows {
        target: params.target.as_deref().map(target).transpose()?,
        scope: None,
        node: params.node.as_deref().map(extract::node).transpose()?,
    };
    match app.control(request).await? {
        Response::Flows(flows) => Ok(Json(api::FlowList {
            flows: flows.into_iter().map(convert::flow).collect(),
        })),
        _ => Err(Fault::odd_answer()),
    }
}

pub(in crate::server) async fn set(
    State(app): State<Arc<App>>,
    Params(params): Params<TargetParams>,
    request: Request,
) -> Result<Json<api::Attached>, Fault> {
    let target = target(&params.target)?;
    let body = body::read(&app, request, app.limits.max_body, "api-max-body").await?;
    if body.media_type().as_deref() != Some(api::JSON) {
        let fault = Fault::new(Code::UnsupportedType, "the body is not said to be JSON");
        return Err(fault.suggest(format!("send `content-type: {}`", api::JSON)));
    }
    let fields: api::Policy = serde_json::from_slice(&body.bytes).map_err(|error| {
        Fault::invalid(format!("the body is no policy: {error}"))
            .suggest("write a JSON object such as {\"rate.amount\": 100, \"rate.per\": \"1s\"}")
    })?;
    let policy = flow::policy(&fields).map_err(|error| {
        let suggestion = error.suggestion();
        Fault::invalid(error.to_string()).suggest(suggestion)
    })?;
    let attached = api::Attached {
        target: target.to_string(),
        policy: flow::shape(&policy),
    };
    let policy = Arc::new(policy);
    match app.control(Ask::SetFlow { target, policy }).await? {
        Response::Done => Ok(Json(attached)),
        _ => Err(Fault::odd_answer()),
    }
}

pub(in crate::server) async fn clear(
    State(app): State<Arc<App>>,
    Params(params): Params<TargetParams>,
) -> Result<StatusCode, Fault> {
    let target = target(&params.target)?;
    match app.control(Ask::ClearFlow { target }).await? {
        Response::Done => Ok(StatusCode::NO_CONTENT),
        _ => Err(Fault::odd_answer()),
    }
}

/// The gates of one scope on all nodes; none if they cannot be had.
pub(super) async fn of_scope(app: &App, scope: FlowScope) -> Vec<FlowInfo> {
    let request = Ask::Flows {
        target: None,
        scope: Some(scope),
        node: None,
    };
    match app.control(request).await {
        Ok(Response::Flows(flows)) => flows,
        _ => Vec::new(),
    }
}

fn target(text: &str) -> Result<FlowTarget, Fault> {
    text.parse::<FlowTarget>()
        .map_err(|error| Fault::invalid(error.to_string()))
}

//! Listing, creating, moving, putting to sleep and ending agents.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use phoenix_core::control::{Request as Ask, Response};
use serde::Deserialize;

use crate::server::app::App;
use crate::server::body;
use crate::server::extract::{self, AgentPath, Params};
use crate::server::fault::Fault;
use crate::{api, convert};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct ListParams {
    kind: Option<String>,
    node: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

pub(in crate::server) async fn list(
    State(app): State<Arc<App>>,
    Params(params): Params<ListParams>,
) -> Result<Json<api::AgentPage>, Fault> {
    let limit = extract::limit(params.limit, &app)?;
    let request = Ask::Agents {
        kind: params.kind.as_deref().map(extract::kind).transpose()?,
        node: params.node.as_deref().map(extract::node).transpose()?,
        after: params.after.as_deref().map(extract::agent).transpose()?,
        limit,
    };
    let Response::Agents(agents) = app.control(request).await? else {
        return Err(Fault::odd_answer());
    };
    let full = agents.len() >= limit as usize;
    let next = agents
        .last()
        .filter(|_| full)
        .map(|agent| agent.agent.to_string());
    Ok(Json(api::AgentPage {
        agents: agents.into_iter().map(convert::agent).collect(),
        next,
    }))
}

pub(in crate::server) async fn inspect(
    State(app): State<Arc<App>>,
    AgentPath(agent): AgentPath,
) -> Result<Json<api::AgentDetail>, Fault> {
    match app.control(Ask::Inspect { agent }).await? {
        Response::Agent(detail) => Ok(Json(convert::agent_detail(*detail))),
        _ => Err(Fault::odd_answer()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct SpawnParams {
    on: Option<String>,
}

pub(in crate::server) async fn spawn(
    State(app): State<Arc<App>>,
    AgentPath(agent): AgentPath,
    Params(params): Params<SpawnParams>,
    request: Request,
) -> Result<Json<api::Spawned>, Fault> {
    let on = params.on.as_deref().map(extract::node).transpose()?;
    let body = body::read(&app, request, app.limits.max_body, "api-max-body").await?;
    let request = Ask::Spawn {
        agent: agent.clone(),
        config: body.payload()?,
        on,
    };
    match app.control(request).await? {
        Response::Spawned { node } => Ok(Json(api::Spawned {
            agent: agent.to_string(),
            node: node.to_string(),
        })),
        _ => Err(Fault::odd_answer()),
    }
}

pub(in crate::server) async fn stop(
    State(app): State<Arc<App>>,
    AgentPath(agent): AgentPath,
) -> Result<StatusCode, Fault> {
    match app.control(Ask::Stop { agent }).await? {
        Response::Done => Ok(StatusCode::NO_CONTENT),
        _ => Err(Fault::odd_answer()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct MigrateParams {
    to: String,
}

pub(in crate::server) async fn migrate(
    State(app): State<Arc<App>>,
    AgentPath(agent): AgentPath,
    Params(params): Params<MigrateParams>,
) -> Result<Json<api::Migrated>, Fault> {
    let to = extract::node(&params.to)?;
    match app.control(Ask::Migrate { agent, to }).await? {
        Response::Migrated {
            migration,
            from,
            to,
            pause_us,
            bytes,
        } => Ok(Json(api::Migrated {
            migration: migration.to_string(),
            from: from.to_string(),
            to: to.to_string(),
            pause_us,
            bytes,
        })),
        _ => Err(Fault::odd_answer()),
    }
}

pub(in crate::server) async fn hibernate(
    State(app): State<Arc<App>>,
    AgentPath(agent): AgentPath,
) -> Result<Json<api::Hibernated>, Fault> {
    match app.control(Ask::Hibernate { agent }).await? {
        Response::Hibernated { bytes } => Ok(Json(api::Hibernated { bytes })),
        _ => Err(Fault::odd_answer()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct ResetParams {
    #[serde(default)]
    force: bool,
}

pub(in crate::server) async fn reset(
    State(app): State<Arc<App>>,
    AgentPath(agent): AgentPath,
    Params(params): Params<ResetParams>,
    request: Request,
) -> Result<Json<api::Reset>, Fault> {
    let body = body::read(&app, request, app.limits.max_body, "api-max-body").await?;
    let request = Ask::Reset {
        agent: agent.clone(),
        config: body.payload()?,
        force: params.force,
    };
    match app.control(request).await? {
        Response::Reset {
            node,
            incarnation,
            dead_letters,
        } => Ok(Json(api::Reset {
            agent: agent.to_string(),
            node: node.to_string(),
            incarnation: convert::incarnation(incarnation),
            dead_letters,
        })),
        _ => Err(Fault::odd_answer()),
    }
}

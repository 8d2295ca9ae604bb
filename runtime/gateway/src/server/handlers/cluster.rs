//! Nodes, logs, counters, and the end of a node.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use phoenix_core::Millis;
use phoenix_core::control::{Request as Ask, Response};
use serde::Deserialize;

use crate::server::app::App;
use crate::server::extract::{self, NodePath, Params};
use crate::server::fault::Fault;
use crate::{api, convert};

pub(in crate::server) async fn health() -> Json<api::Health> {
    Json(api::Health {
        status: "ok".to_owned(),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct LogParams {
    agent: Option<String>,
    node: Option<String>,
    after: Option<u64>,
    limit: Option<u32>,
}

pub(in crate::server) async fn logs(
    State(app): State<Arc<App>>,
    Params(params): Params<LogParams>,
) -> Result<Json<api::LogPage>, Fault> {
    let request = Ask::Logs {
        agent: params.agent.as_deref().map(extract::agent).transpose()?,
        node: params.node.as_deref().map(extract::node).transpose()?,
        after: params.after,
        limit: extract::limit(params.limit, &app)?,
    };
    let Response::Logs(lines) = app.control(request).await? else {
        return Err(Fault::odd_answer());
    };
    Ok(Json(api::LogPage {
        next: lines.last().map(|line| line.number).or(params.after),
        lines: lines.into_iter().map(convert::log_line).collect(),
    }))
}

pub(in crate::server) async fn nodes(
    State(app): State<Arc<App>>,
) -> Result<Json<api::NodeList>, Fault> {
    match app.control(Ask::Nodes).await? {
        Response::Nodes(nodes) => Ok(Json(api::NodeList {
            nodes: nodes.into_iter().map(convert::node).collect(),
        })),
        _ => Err(Fault::odd_answer()),
    }
}

pub(in crate::server) async fn declare_dead(
    State(app): State<Arc<App>>,
    NodePath(node): NodePath,
) -> Result<Json<api::DeclaredDead>, Fault> {
    match app.control(Ask::DeclareDead { node }).await? {
        Response::DeclaredDead { node, boot, agents } => Ok(Json(api::DeclaredDead {
            node: node.to_string(),
            boot,
            agents,
        })),
        _ => Err(Fault::odd_answer()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct JoinTokenParams {
    valid_for: Option<String>,
}

pub(in crate::server) async fn join_token(
    State(app): State<Arc<App>>,
    Params(params): Params<JoinTokenParams>,
) -> Result<Json<api::JoinToken>, Fault> {
    /// How long a join token may be used unless the request says otherwise.
    const DEFAULT: Duration = Duration::from_secs(3_600);
    /// The longest a join token may be used.
    const LONGEST: Duration = Duration::from_secs(30 * 24 * 3_600);
    let valid_for = match params.valid_for.as_deref() {
        None => DEFAULT,
        Some(text) => extract::span(text, "valid_for")?,
    };
    if valid_for.is_zero() || valid_for > LONGEST {
        return Err(Fault::invalid(
            "`valid_for` must be above 0 and at most 30d: a join token is a secret",
        ));
    }
    let valid_for = millis(valid_for);
    match app.control(Ask::JoinToken { valid_for }).await? {
        Response::JoinToken(token) => Ok(Json(api::JoinToken {
            token,
            valid_for_ms: valid_for.0,
        })),
        _ => Err(Fault::odd_answer()),
    }
}

/// A span in core's form.
pub(super) fn millis(span: Duration) -> Millis {
    Millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

async fn read_counters(app: &App) -> Result<Vec<(String, u64)>, Fault> {
    match app.control(Ask::Counters).await? {
        Response::Counters(counters) => Ok(counters),
        _ => Err(Fault::odd_answer()),
    }
}

pub(in crate::server) async fn counters(
    State(app): State<Arc<App>>,
) -> Result<Json<api::Counters>, Fault> {
    let counters = read_counters(&app).await?.into_iter().collect();
    Ok(Json(api::Counters { counters }))
}

pub(in crate::server) async fn metrics(
    State(app): State<Arc<App>>,
) -> Result<impl IntoResponse, Fault> {
    let text = prometheus(&read_counters(&app).await?);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text))
}

/// Counters in Prometheus' text format.
fn prometheus(counters: &[(String, u64)]) -> String {
    let mut text = String::new();
    for (name, value) in counters {
        let name: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect();
        let _ = writeln!(
            text,
            "# TYPE phoenix_{name} untyped\nphoenix_{name} {value}"
        );
    }
    text
}

pub(in crate::server) async fn shutdown(State(app): State<Arc<App>>) -> Result<StatusCode, Fault> {
    match app.control(Ask::Shutdown).await? {
        Response::Done => Ok(StatusCode::ACCEPTED),
        _ => Err(Fault::odd_answer()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_become_metrics() {
        let counters = [("turns.committed".to_owned(), 7), ("a-b".to_owned(), 0)];
        assert_eq!(
            prometheus(&counters),
            "# TYPE phoenix_turns_committed untyped\nphoenix_turns_committed 7\n\
             # TYPE phoenix_a_b untyped\nphoenix_a_b 0\n"
        );
    }
}

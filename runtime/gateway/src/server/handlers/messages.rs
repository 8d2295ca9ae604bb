//! Calls, sends, and batches of messages.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response as HttpResponse};
use bytes::Bytes;
use phoenix_core::control::{ClientMessage, Request as Ask, Response};
use phoenix_core::{ContentType, Failure, Payload, Reply};
use serde::Deserialize;

use super::cluster::millis;
use crate::server::app::App;
use crate::server::body::{self, header as header_text};
use crate::server::extract::{self, MethodPath, Params};
use crate::server::fault::{Code, Fault};
use crate::{api, convert};

mod batch;

/// What the node gets on top of the time an answer may take, so that its own
/// word about the time-out arrives.
pub(super) const GRACE: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct CallParams {
    client: Option<String>,
    timeout: Option<String>,
}

pub(in crate::server) async fn call(
    State(app): State<Arc<App>>,
    MethodPath(agent, method): MethodPath,
    Params(params): Params<CallParams>,
    request: Request,
) -> Result<HttpResponse, Fault> {
    let client = extract::client(params.client.as_deref())?;
    let timeout = extract::timeout(params.timeout.as_deref(), &app)?;
    let body = body::read(&app, request, app.limits.max_body, "api-max-body").await?;
    let payload = body.payload()?;
    let json = wants_json(&body.headers, payload.content_type);
    let request = Ask::Call {
        client,
        agent,
        method,
        payload,
        timeout: millis(timeout),
    };
    match app.submit(request, timeout.saturating_add(GRACE)).await? {
        Response::Called(reply) => answer(reply, timeout, json),
        _ => Err(Fault::odd_answer()),
    }
}

/// Whether the answer should be JSON: what `Accept` says, otherwise what the
/// request itself was written in, and JSON for a request without a body.
fn wants_json(headers: &HeaderMap, asked_in: ContentType) -> bool {
    let accepted = header_text(headers, &header::ACCEPT)
        .into_iter()
        .flat_map(|value| value.split(','))
        .find_map(api::ContentType::of_media_type);
    match accepted {
        Some(content_type) => content_type == api::ContentType::Json,
        None => matches!(asked_in, ContentType::Json | ContentType::None),
    }
}

fn answer(reply: Reply, timeout: Duration, json: bool) -> Result<HttpResponse, Fault> {
    match reply {
        Reply::Ok(payload) => Ok(body_of(payload, json)),
        Reply::Failed(failure) => Err(Fault::agent_failed(agent_failure(&failure))),
        Reply::Timeout => Err(Fault::new(
            Code::Unknown,
            format!("no answer within {timeout:?}; the agent may have acted, or may yet"),
        )
        .suggest("wait longer with `timeout`, and ask the agent what it did before repeating")),
        Reply::Bounced(why) => Err(Fault::new(
            Code::Bounced,
            format!("the message never reached the agent: {why}"),
        )),
        Reply::Deadlock => Err(Fault::new(
            Code::Deadlock,
            "the agents ask one another in a circle",
        )),
        Reply::Unavailable(why) => Err(Fault::new(Code::Unavailable, &*why)),
    }
}

fn agent_failure(failure: &Failure) -> api::AgentFailure {
    api::AgentFailure {
        code: failure.code.to_string(),
        message: failure.message.to_string(),
        details: convert::payload(&failure.details),
    }
}

/// The answer's bytes as they are, or as JSON where that is wanted and possible.
fn body_of(payload: Payload, json: bool) -> HttpResponse {
    let translated = (json && payload.content_type == ContentType::MessagePack)
        .then(|| convert::message_pack_as_json(&payload.bytes))
        .flatten()
        .and_then(|value| serde_json::to_vec(&value).ok());
    let (media_type, bytes) = match translated {
        Some(text) => (Some(api::JSON), Bytes::from(text)),
        None => (
            convert::content_type(payload.content_type).media_type(),
            payload.bytes.to_bytes(),
        ),
    };
    match media_type {
        Some(media_type) => ([(header::CONTENT_TYPE, media_type)], bytes).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct SendParams {
    client: Option<String>,
    sequence: Option<u64>,
    timeout: Option<String>,
}

pub(in crate::server) async fn send(
    State(app): State<Arc<App>>,
    MethodPath(agent, method): MethodPath,
    Params(params): Params<SendParams>,
    request: Request,
) -> Result<Json<api::Verdict>, Fault> {
    if params.sequence.is_some() && params.client.is_none() {
        let fault = Fault::invalid("a sequence without a `client` counts for nobody");
        return Err(fault.suggest("give `client`, the same for all messages of the sequence"));
    }
    let client = extract::client(params.client.as_deref())?;
    let timeout = extract::timeout(params.timeout.as_deref(), &app)?;
    let body = body::read(&app, request, app.limits.max_body, "api-max-body").await?;
    let message = ClientMessage {
        agent,
        method,
        payload: body.payload()?,
        sequence: batch::sequence(params.sequence)?,
    };
    let request = Ask::Send {
        client,
        messages: vec![message],
        timeout: millis(timeout),
    };
    let Response::Sent(verdicts) = app.submit(request, timeout.saturating_add(GRACE)).await? else {
        return Err(Fault::odd_answer());
    };
    let verdict = verdicts.into_iter().next().ok_or_else(Fault::odd_answer)?;
    Ok(Json(convert::verdict(verdict)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct BatchParams {
    client: String,
    timeout: Option<String>,
}

pub(in crate::server) async fn batch(
    State(app): State<Arc<App>>,
    Params(params): Params<BatchParams>,
    request: Request,
) -> Result<HttpResponse, Fault> {
    let client = extract::client(Some(&params.client))?;
    let timeout = extract::timeout(params.timeout.as_deref(), &app)?;
    let body = body::read(&app, request, app.limits.max_body, "api-max-body").await?;
    let format = batch::Format::of(body.media_type().as_deref())?;
    let messages = batch::read(format, &body.bytes, app.limits.max_batch)?;
    let count = messages.len();
    let request = Ask::Send {
        client,
        messages,
        timeout: millis(timeout),
    };
    match app.submit(request, timeout.saturating_add(GRACE)).await? {
        Response::Sent(verdicts) if verdicts.len() == count => {
            let verdicts = verdicts.into_iter().map(convert::verdict).collect();
            batch::write(format, &api::Verdicts { verdicts })
        }
        _ => Err(Fault::odd_answer()),
    }
}

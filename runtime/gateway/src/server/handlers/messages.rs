//! Calls, sends, and batches of messages.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response as HttpResponse};
use bytes::Bytes;
use phoenix_core::control::{ClientMessage, Request as Ask, Response};
use phoenix_core::{ClientId, ContentType, Failure, Payload, Reply};
use serde::Deserialize;

use self::events::Carried;
use self::how::Said;
use super::cluster::millis;
use crate::server::app::App;
use crate::server::body::{self, header as header_text};
use crate::server::extract::{self, MethodPath, Params};
use crate::server::fault::{Code, Fault};
use crate::suggest::shown;
use crate::{api, convert};

mod batch;
mod events;
pub(super) mod how;

/// What the node gets on top of the time an answer may take, so that its own
/// word about the time-out arrives.
pub(super) const GRACE: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct CallParams {
    client: Option<String>,
    timeout: Option<String>,
    lane: Option<String>,
}

pub(in crate::server) async fn call(
    State(app): State<Arc<App>>,
    MethodPath(agent, method): MethodPath,
    Params(params): Params<CallParams>,
    request: Request,
) -> Result<HttpResponse, Fault> {
    let client = extract::client(params.client.as_deref())?;
    let timeout = extract::timeout(params.timeout.as_deref(), &app)?;
    let said = Said {
        lane: params.lane.as_deref(),
        ..Said::default()
    };
    let options = said.options()?;
    let body = body::read(&app, request, app.limits.max_body, "api-max-body").await?;
    let payload = body.payload()?;
    let json = wants_json(&body.headers, payload.content_type);
    let request = Ask::Call {
        client,
        agent,
        method,
        payload,
        timeout: millis(timeout),
        options,
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
    answered(reply, timeout).map(|payload| body_of(payload, json))
}

/// What an agent answered, if it did.
pub(super) fn answered(reply: Reply, timeout: Duration) -> Result<Payload, Fault> {
    match reply {
        Reply::Ok(payload) => Ok(payload),
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
        Reply::TurnedDown(why) => Err(Fault::turned_down(&why)),
    }
}

pub(super) fn agent_failure(failure: &Failure) -> api::AgentFailure {
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
    mode: Option<String>,
    lane: Option<String>,
    delivery: Option<String>,
    ttl: Option<String>,
    report_expired: Option<bool>,
    give_up: Option<String>,
    #[serde(rename = "type")]
    message_type: Option<String>,
}

/// The header that gives a message its key.
const KEY: HeaderName = HeaderName::from_static("idempotency-key");

pub(in crate::server) async fn send(
    State(app): State<Arc<App>>,
    MethodPath(agent, method): MethodPath,
    Params(params): Params<SendParams>,
    request: Request,
) -> Result<HttpResponse, Fault> {
    let key = key_of(request.headers())?;
    let mode = Mode::of(params.mode.as_deref())?;
    let timeout = mode.timeout(params.timeout.as_deref(), &app)?;
    let body = body::read(&app, request, app.limits.max_body, "api-max-body").await?;
    let target = Some((&agent, &method));
    let carried = events::read(&body, app.events(), target, app.limits.max_batch)?;
    let message = match carried {
        Carried::None => {
            let said = params.said(key.as_deref())?;
            ClientMessage {
                agent,
                method,
                payload: body.payload()?,
                sequence: batch::sequence(params.sequence)?,
                options: said.options()?,
            }
        }
        Carried::One(message) => {
            params.say_nothing_of_an_event(key.as_deref())?;
            *message
        }
        Carried::Many(_) => {
            let fault = Fault::new(
                Code::UnsupportedType,
                "a batch of events is not one message",
            );
            return Err(
                fault.suggest("send it to /v1/messages, each event with its agent as its subject")
            );
        }
    };
    batch::checked(&message)?;
    let messages = vec![message];
    counted(&messages, params.client.as_deref())?;
    let client = client(params.client.as_deref(), key.as_deref())?;
    let sent = mode.send(&app, client, messages, timeout).await?;
    match sent {
        Sent::HandedOver(accepted) => Ok(accepted),
        Sent::Ended(verdicts) => {
            let verdict = verdicts.into_iter().next().ok_or_else(Fault::odd_answer)?;
            Ok(Json(verdict).into_response())
        }
    }
}

impl SendParams {
    fn said<'a>(&'a self, key: Option<&'a str>) -> Result<Said<'a>, Fault> {
        let span = |name: &str, text: Option<&str>| {
            let span = text.map(|text| extract::span(text, name)).transpose();
            span.map(|span| span.map(millis))
        };
        Ok(Said {
            key,
            lane: self.lane.as_deref(),
            delivery: self.delivery.as_deref(),
            ttl: span("ttl", self.ttl.as_deref())?,
            report_expired: self.report_expired.unwrap_or(false),
            give_up: span("give_up", self.give_up.as_deref())?,
            message_type: self.message_type.as_deref(),
        })
    }

    /// An event says by its attributes what other messages say in the query.
    fn say_nothing_of_an_event(&self, key: Option<&str>) -> Result<(), Fault> {
        let said = [
            ("sequence", "sequence", self.sequence.is_some()),
            ("lane", "priority", self.lane.is_some()),
            ("delivery", "delivery", self.delivery.is_some()),
            ("ttl", "expirytime", self.ttl.is_some()),
            (
                "report_expired",
                "expiryreport",
                self.report_expired.is_some(),
            ),
            ("give_up", "deadline", self.give_up.is_some()),
            ("type", "type", self.message_type.is_some()),
            ("idempotency-key", "id", key.is_some()),
        ];
        match said.into_iter().find(|(_, _, is_said)| *is_said) {
            None => Ok(()),
            Some((name, attribute, _)) => {
                let fault = Fault::invalid(format!("`{name}` is given beside an event"));
                Err(fault.suggest(format!(
                    "say it in the event, as its attribute `{attribute}`"
                )))
            }
        }
    }
}

/// The message's key, as the header has it: a text in quotes, or as it is.
fn key_of(headers: &HeaderMap) -> Result<Option<String>, Fault> {
    let Some(value) = headers.get(KEY) else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| {
        Fault::invalid("`idempotency-key` must be 1 to 255 bytes of printable ASCII")
    })?;
    let inner = text.trim().strip_prefix('"');
    let inner = inner.and_then(|rest| rest.strip_suffix('"'));
    Ok(Some(inner.unwrap_or(text.trim()).to_owned()))
}

/// Whether whoever numbers messages has a name.
fn counted(messages: &[ClientMessage], client: Option<&str>) -> Result<(), Fault> {
    let is_numbered = messages.iter().any(|message| message.sequence.is_some());
    if !is_numbered || client.is_some() {
        return Ok(());
    }
    let fault = Fault::invalid("a sequence without a `client` counts for nobody");
    Err(fault.suggest("give `client`, the same for all messages of the sequence"))
}

/// Who sends. Whoever repeats a message under its key without a name has to be the
/// same as before.
fn client(text: Option<&str>, key: Option<&str>) -> Result<ClientId, Fault> {
    const ANONYMOUS: &str = "anonymous";
    extract::client(text.or(key.map(|_| ANONYMOUS)))
}

/// Whether what becomes of messages is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Sync,
    Async,
}

/// What came of a send.
enum Sent {
    /// Nobody waits.
    HandedOver(HttpResponse),
    /// A verdict for each message.
    Ended(Vec<api::Verdict>),
}

impl Mode {
    pub(super) fn of(text: Option<&str>) -> Result<Self, Fault> {
        match text {
            None | Some("sync") => Ok(Self::Sync),
            Some("async") => Ok(Self::Async),
            Some(other) => Err(Fault::invalid(format!(
                "`mode` is `{}`: it must be sync or async",
                shown(other)
            ))),
        }
    }

    /// How long verdicts are waited for; and a message that is sent at most once for
    /// its turn.
    pub(super) fn timeout(self, text: Option<&str>, app: &App) -> Result<Duration, Fault> {
        /// Where nobody waits, a message need not be applied soon.
        const PATIENT: Duration = Duration::from_secs(60);
        match (self, text) {
            (Self::Async, None) => Ok(PATIENT.min(app.limits.max_timeout)),
            (_, text) => extract::timeout(text, app),
        }
    }

    async fn send(
        self,
        app: &App,
        client: ClientId,
        messages: Vec<ClientMessage>,
        timeout: Duration,
    ) -> Result<Sent, Fault> {
        let count = messages.len();
        let request = Ask::Send {
            client,
            messages,
            timeout: millis(timeout),
        };
        if self == Self::Async {
            return hand_over(app, request, count).map(Sent::HandedOver);
        }
        match app.submit(request, timeout.saturating_add(GRACE)).await? {
            Response::Sent(verdicts) if verdicts.len() == count => Ok(Sent::Ended(
                verdicts.into_iter().map(convert::verdict).collect(),
            )),
            _ => Err(Fault::odd_answer()),
        }
    }
}

/// Hands messages over, and waits for nothing.
pub(super) fn hand_over(app: &App, request: Ask, count: usize) -> Result<HttpResponse, Fault> {
    app.hand_over(request)?;
    let accepted = api::Accepted {
        accepted: count as u64,
    };
    Ok((StatusCode::ACCEPTED, Json(accepted)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct BatchParams {
    client: Option<String>,
    timeout: Option<String>,
    mode: Option<String>,
}

pub(in crate::server) async fn batch(
    State(app): State<Arc<App>>,
    Params(params): Params<BatchParams>,
    request: Request,
) -> Result<HttpResponse, Fault> {
    let mode = Mode::of(params.mode.as_deref())?;
    let timeout = mode.timeout(params.timeout.as_deref(), &app)?;
    if !events::is_in(request.headers()) && params.client.is_none() {
        let fault = Fault::invalid("the query: missing field `client`");
        return Err(fault.suggest("say who sends; events alone may do without"));
    }
    let client = extract::client(params.client.as_deref())?;
    let body = body::read(&app, request, app.limits.max_body, "api-max-body").await?;
    let most = app.limits.max_batch;
    let (format, messages) = match events::read(&body, app.events(), None, most)? {
        Carried::None => {
            let format = batch::Format::of(body.media_type().as_deref())?;
            (format, batch::read(format, &body.bytes, most)?)
        }
        Carried::Many(messages) => (batch::Format::Lines, messages),
        Carried::One(message) => {
            let messages = vec![*message];
            counted(&messages, params.client.as_deref())?;
            let sent = mode.send(&app, client, messages, timeout).await?;
            return match sent {
                Sent::HandedOver(accepted) => Ok(accepted),
                Sent::Ended(verdicts) => {
                    let verdict = verdicts.into_iter().next().ok_or_else(Fault::odd_answer)?;
                    Ok(Json(verdict).into_response())
                }
            };
        }
    };
    counted(&messages, params.client.as_deref())?;
    match mode.send(&app, client, messages, timeout).await? {
        Sent::HandedOver(accepted) => Ok(accepted),
        Sent::Ended(verdicts) => batch::write(format, &api::Verdicts { verdicts }),
    }
}

//! One message to many agents.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response as HttpResponse};
use bytes::Bytes;
use phoenix_core::control::{ClientMessage, ControlError, Request as Ask, Response};
use phoenix_core::{AgentId, ClientId, ClientOptions, ContentType, Millis, Payload, Reply};
use serde::Deserialize;

use super::cluster::millis;
use super::messages::how::Said;
use super::messages::{GRACE, Mode, agent_failure, hand_over};
use crate::api::{self, AgentAnswer, Answers, Outcome};
use crate::convert;
use crate::server::app::App;
use crate::server::body::{self, Arrived};
use crate::server::extract::{self, Params};
use crate::server::fault::{Code, Fault};
use crate::suggest::shown;

/// Bytes of answers' payloads that one broadcast gives back; of those beyond, only
/// the sizes are told.
const MAX_ANSWERS: u64 = 8 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct BroadcastParams {
    client: Option<String>,
    timeout: Option<String>,
    mode: Option<String>,
}

/// What is said to whom.
struct Broadcast {
    agents: Vec<AgentId>,
    method: Arc<str>,
    payload: Payload,
    options: Option<Box<ClientOptions>>,
}

pub(in crate::server) async fn broadcast(
    State(app): State<Arc<App>>,
    Params(params): Params<BroadcastParams>,
    request: Request,
) -> Result<HttpResponse, Fault> {
    let mode = Mode::of(params.mode.as_deref())?;
    let timeout = mode.timeout(params.timeout.as_deref(), &app)?;
    let client = extract::client(params.client.as_deref())?;
    let body = body::read(&app, request, app.limits.max_body, "api-max-body").await?;
    let broadcast = read(&body, app.limits.max_batch)?;
    match mode {
        Mode::Async => broadcast.tell(&app, client, timeout),
        Mode::Sync => Ok(Json(broadcast.ask(&app, &client, timeout).await).into_response()),
    }
}

impl Broadcast {
    /// Sends it to all and waits for none.
    fn tell(self, app: &App, client: ClientId, timeout: Duration) -> Result<HttpResponse, Fault> {
        let count = self.agents.len();
        let messages = self.agents.into_iter().map(|agent| ClientMessage {
            agent,
            method: self.method.clone(),
            payload: self.payload.clone(),
            sequence: None,
            options: self.options.clone(),
        });
        let request = Ask::Send {
            client,
            messages: messages.collect(),
            timeout: millis(timeout),
        };
        hand_over(app, request, count)
    }

    /// Asks all, and waits for all or until the time is over.
    async fn ask(self, app: &App, client: &ClientId, timeout: Duration) -> Answers {
        let requests = self.agents.iter().map(|agent| Ask::Call {
            client: client.clone(),
            agent: agent.clone(),
            method: self.method.clone(),
            payload: self.payload.clone(),
            timeout: millis(timeout),
            options: self.options.clone(),
        });
        let mut left = MAX_ANSWERS;
        let mut outcomes: Vec<Option<Outcome>> = self.agents.iter().map(|_| None).collect();
        app.submit_many(requests, timeout.saturating_add(GRACE), |at, end| {
            if let Some(outcome) = outcomes.get_mut(at) {
                *outcome = Some(outcome_of(end, &mut left));
            }
        })
        .await;
        let mut complete = true;
        let answers = self.agents.iter().zip(outcomes).map(|(agent, outcome)| {
            let outcome = outcome.unwrap_or(Outcome::Unknown);
            complete &= matches!(outcome, Outcome::Ok { .. } | Outcome::Failed { .. });
            AgentAnswer {
                agent: agent.to_string(),
                outcome,
            }
        });
        let answers = answers.collect();
        Answers { answers, complete }
    }
}

fn outcome_of(end: Result<Response, ControlError>, left: &mut u64) -> Outcome {
    match end {
        Ok(Response::Called(Reply::Ok(payload))) => {
            let bytes = payload.bytes.len() as u64;
            let payload = match left.checked_sub(bytes) {
                Some(rest) => {
                    *left = rest;
                    convert::whole_payload(&payload)
                }
                None => api::Payload {
                    content_type: convert::content_type(payload.content_type),
                    bytes,
                    json: None,
                    base64: None,
                },
            };
            Outcome::Ok { payload }
        }
        Ok(Response::Called(Reply::Failed(failure))) => Outcome::Failed {
            failure: agent_failure(&failure),
        },
        Ok(Response::Called(Reply::Bounced(reason))) => Outcome::Bounced {
            reason: reason.to_string(),
        },
        Ok(Response::Called(Reply::Deadlock)) => Outcome::Deadlock,
        Ok(Response::Called(Reply::Unavailable(reason))) => Outcome::Unavailable {
            reason: reason.to_string(),
        },
        Ok(Response::Called(Reply::TurnedDown(why))) => Outcome::Unavailable {
            reason: why.text.to_string(),
        },
        Err(ControlError::Unavailable(reason)) => Outcome::Unavailable { reason },
        Err(
            ControlError::Invalid(reason)
            | ControlError::NotFound(reason)
            | ControlError::Conflict(reason),
        ) => Outcome::Bounced { reason },
        Ok(_) | Err(ControlError::Unknown(_) | ControlError::Internal(_)) => Outcome::Unknown,
    }
}

fn read(body: &Arrived, most: usize) -> Result<Broadcast, Fault> {
    let media_type = body.media_type();
    let content_type = media_type
        .as_deref()
        .and_then(api::ContentType::of_media_type);
    match content_type {
        Some(api::ContentType::Json) => read_json(&body.bytes, most),
        Some(api::ContentType::MessagePack) => read_message_pack(&body.bytes, most),
        _ => {
            let found = shown(media_type.as_deref().unwrap_or("nothing"));
            let fault = Fault::new(
                Code::UnsupportedType,
                format!("a broadcast cannot be `{found}`"),
            );
            Err(fault.suggest(format!(
                "send `content-type: {}` or `{}` with a map of `agents`, `method` and `payload`",
                api::JSON,
                api::MESSAGE_PACK
            )))
        }
    }
}

fn read_json(body: &Bytes, most: usize) -> Result<Broadcast, Fault> {
    let broadcast: api::JsonBroadcast<'_> = serde_json::from_slice(body)
        .map_err(|error| Fault::invalid(format!("the broadcast: {error}")))?;
    let payload = match broadcast.payload {
        None => Payload::default(),
        Some(value) => Payload {
            content_type: ContentType::Json,
            bytes: value.get().as_bytes().into(),
        },
    };
    let said = Said {
        lane: broadcast.lane.as_deref(),
        ttl: broadcast.ttl.map(Millis),
        message_type: broadcast.message_type.as_deref(),
        ..Said::default()
    };
    checked(&broadcast.agents, &broadcast.method, payload, &said, most)
}

fn read_message_pack(body: &Bytes, most: usize) -> Result<Broadcast, Fault> {
    let broadcast: api::Broadcast<'_> = rmp_serde::from_slice(body)
        .map_err(|error| Fault::invalid(format!("the broadcast: {error}")))?;
    let content_type = if broadcast.payload.is_empty() {
        ContentType::None
    } else {
        convert::core_content_type(broadcast.content_type)
    };
    let payload = Payload {
        content_type,
        bytes: (*broadcast.payload).into(),
    };
    let said = Said {
        lane: broadcast.lane.as_deref(),
        ttl: broadcast.ttl.map(Millis),
        message_type: broadcast.message_type.as_deref(),
        ..Said::default()
    };
    checked(&broadcast.agents, &broadcast.method, payload, &said, most)
}

fn checked(
    agents: &[Cow<'_, str>],
    method: &str,
    payload: Payload,
    said: &Said<'_>,
    most: usize,
) -> Result<Broadcast, Fault> {
    if agents.is_empty() || agents.len() > most {
        let code = if agents.is_empty() {
            Code::Invalid
        } else {
            Code::TooLarge
        };
        return Err(Fault::new(
            code,
            format!(
                "`agents` has {} entries: it must have 1 to {most} (api-max-batch)",
                agents.len()
            ),
        ));
    }
    let mut seen = HashSet::new();
    let agents = agents.iter().enumerate().map(|(at, text)| {
        let located = |fault: Fault| fault.located(&format!("agents[{at}]"));
        let agent = extract::agent(text).map_err(located)?;
        if !seen.insert(agent.clone()) {
            return Err(located(Fault::invalid(format!("{agent} is there twice"))));
        }
        Ok(agent)
    });
    Ok(Broadcast {
        agents: agents.collect::<Result<_, _>>()?,
        method: extract::method(method)?,
        payload,
        options: said.options()?,
    })
}

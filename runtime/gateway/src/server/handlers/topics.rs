//! Topics: publishing and reading events, what is kept of them, and who subscribes.
//!
//! Each is one call of the agent that owns the topic, or of every owner for the list.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response as HttpResponse};
use bytes::Bytes;
use phoenix_core::control::{ControlError, Request as Ask, Response};
use phoenix_core::topics::TopicName;
use phoenix_core::topics::wire::{
    self, BadRequest, EventAttributes, List, ListSubscriptions, Listing, MAX_READ_WAIT_MS, Publish,
    Published, Read, Subscribe, method,
};
use phoenix_core::{AgentId, ContentType, Payload, Reply};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::cluster::millis;
use super::messages::{GRACE, answered};
use crate::api;
use crate::server::app::App;
use crate::server::body;
use crate::server::extract::{self, Params, PatternPath, TopicPath};
use crate::server::fault::{Code, Fault};

/// Who asks for operators. It is the same for all of them, so that one can end what
/// another began.
const OPERATOR: &str = "operator";

/// How an owner is asked.
struct Owner<'a> {
    app: &'a App,
    agent: AgentId,
    client: Option<&'a str>,
    timeout: Duration,
}

impl Owner<'_> {
    fn request(&self, method: &str, payload: Payload) -> Result<Ask, Fault> {
        Ok(Ask::Call {
            client: extract::client(Some(self.client.unwrap_or(OPERATOR)))?,
            agent: self.agent.clone(),
            method: method.into(),
            payload,
            timeout: millis(self.timeout),
            options: None,
        })
    }

    /// What the owner answers.
    async fn ask(&self, method: &str, payload: Payload) -> Result<Payload, Fault> {
        let request = self.request(method, payload)?;
        let wait = self.timeout.saturating_add(GRACE);
        match self.app.submit(request, wait).await? {
            Response::Called(reply) => said(reply, self.timeout),
            _ => Err(Fault::odd_answer()),
        }
    }

    /// The same of a question in JSON, whose answer is in JSON too and goes on as it is.
    async fn ask_json(
        &self,
        method: &str,
        question: &impl Serialize,
    ) -> Result<HttpResponse, Fault> {
        let answer = self.ask(method, json(question)?).await?;
        match answer.content_type {
            ContentType::Json => {
                let head = [(axum::http::header::CONTENT_TYPE, api::JSON)];
                Ok((head, answer.bytes.to_bytes()).into_response())
            }
            ContentType::None => Ok(StatusCode::NO_CONTENT.into_response()),
            _ => Err(Fault::odd_answer()),
        }
    }
}

/// What an owner does not take is the request's own fault.
fn said(reply: Reply, timeout: Duration) -> Result<Payload, Fault> {
    match reply {
        Reply::Failed(failure) if &*failure.code == BadRequest::CODE => {
            Err(Fault::invalid(&*failure.message))
        }
        reply => answered(reply, timeout),
    }
}

fn json(value: &impl Serialize) -> Result<Payload, Fault> {
    let bytes = serde_json::to_vec(value).map_err(|error| Fault::invalid(error.to_string()))?;
    Ok(Payload {
        content_type: ContentType::Json,
        bytes: bytes.into(),
    })
}

fn decode<T: DeserializeOwned>(payload: &Payload) -> Result<T, Fault> {
    let read = match payload.content_type {
        ContentType::Json => serde_json::from_slice(&payload.bytes).ok(),
        ContentType::MessagePack => rmp_serde::from_slice(&payload.bytes).ok(),
        ContentType::None | ContentType::Binary => None,
    };
    read.ok_or_else(Fault::odd_answer)
}

fn bad(error: &BadRequest) -> Fault {
    Fault::invalid(error.to_string())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct PublishParams {
    client: Option<String>,
    timeout: Option<String>,
    #[serde(rename = "type")]
    event_type: Option<String>,
    key: Option<String>,
    attributes: Option<String>,
    retain: Option<bool>,
    ttl: Option<String>,
}

pub(in crate::server) async fn publish(
    State(app): State<Arc<App>>,
    TopicPath(topic): TopicPath,
    Params(params): Params<PublishParams>,
    request: Request,
) -> Result<Json<Published>, Fault> {
    let timeout = extract::timeout(params.timeout.as_deref(), &app)?;
    let body = body::read(&app, request, app.limits.max_body, "api-max-body").await?;
    let data = body.payload()?;
    let ttl = params.ttl.as_deref().map(|text| extract::span(text, "ttl"));
    let event = Publish {
        event_type: params.event_type.map(Into::into),
        key: params.key.map(Into::into),
        attributes: attributes(params.attributes.as_deref())?,
        retain: params.retain.unwrap_or(false),
        ttl_ms: ttl.transpose()?.map(|ttl| millis(ttl).0),
        ..Publish::new(&topic, data.as_wit())
    };
    event.check().map_err(|error| bad(&error))?;
    let mut bytes = Vec::new();
    event.write(&mut bytes);
    let payload = Payload {
        content_type: ContentType::MessagePack,
        bytes: bytes.into(),
    };
    let client = params.client.as_deref();
    let owner = Owner {
        app: &app,
        agent: wire::owner_of_topic(&topic),
        client,
        timeout,
    };
    decode(&owner.ask(method::PUBLISH, payload).await?).map(Json)
}

fn attributes(text: Option<&str>) -> Result<EventAttributes, Fault> {
    let Some(text) = text else {
        return Ok(EventAttributes::new());
    };
    serde_json::from_str(text).map_err(|error| {
        Fault::invalid(format!("`attributes` cannot be read: {error}")).suggest(
            "write a JSON object of texts, numbers, true and false, such as {\"region\": \"eu\"}",
        )
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct ReadParams {
    client: Option<String>,
    after: Option<u64>,
    epoch: Option<u64>,
    max: Option<u32>,
    wait: Option<String>,
}

pub(in crate::server) async fn read(
    State(app): State<Arc<App>>,
    PatternPath(pattern): PatternPath,
    Params(params): Params<ReadParams>,
) -> Result<HttpResponse, Fault> {
    let wait = match params.wait.as_deref() {
        Some(text) => extract::span(text, "wait")?,
        None => Duration::ZERO,
    };
    let question = Read {
        pattern: pattern.to_string(),
        after: params.after,
        epoch: params.epoch,
        max: params.max.unwrap_or(DEFAULT_READ),
        wait_ms: millis(wait).0,
    };
    let most = Duration::from_millis(MAX_READ_WAIT_MS);
    let owner = Owner {
        app: &app,
        agent: wire::owner_of_pattern(&pattern),
        client: params.client.as_deref(),
        // The owner's word comes first.
        timeout: app.limits.default_timeout.max(wait.min(most) + GRACE),
    };
    owner.ask_json(method::READ, &question).await
}

/// Events of one answer unless the request says how many.
const DEFAULT_READ: u32 = 100;

pub(in crate::server) async fn configure(
    State(app): State<Arc<App>>,
    PatternPath(pattern): PatternPath,
    request: Request,
) -> Result<HttpResponse, Fault> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Kept {
        #[serde(default)]
        log: Option<wire::LogBounds>,
        #[serde(default)]
        retain: bool,
    }
    let body = json_body(&app, request).await?;
    let kept: Kept = serde_json::from_slice(&body).map_err(|error| {
        Fault::invalid(format!("the body cannot be read: {error}")).suggest(
            "write a JSON object such as {\"log\": {\"count\": 1000, \"age_ms\": 3600000}, \
             \"retain\": true}; without `log` there is none",
        )
    })?;
    let question = wire::Configure {
        pattern: pattern.to_string(),
        log: kept.log,
        retain: kept.retain,
    };
    let owner = operators(&app, wire::owner_of_pattern(&pattern));
    owner.ask_json(method::CONFIGURE, &question).await
}

fn operators(app: &App, agent: AgentId) -> Owner<'_> {
    Owner {
        app,
        agent,
        client: None,
        timeout: app.limits.default_timeout,
    }
}

async fn json_body(app: &App, request: Request) -> Result<Bytes, Fault> {
    let body = body::read(app, request, app.limits.max_body, "api-max-body").await?;
    if body.media_type().as_deref() != Some(api::JSON) {
        let fault = Fault::new(Code::UnsupportedType, "the body is not said to be JSON");
        return Err(fault.suggest(format!("send `content-type: {}`", api::JSON)));
    }
    Ok(body.bytes.clone())
}

fn decode_subscribe(body: &Bytes) -> Result<Subscribe, BadRequest> {
    let payload = Payload {
        content_type: ContentType::Json,
        bytes: body.clone().into(),
    };
    Subscribe::decode(payload.as_wit())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct SubscribeParams {
    client: Option<String>,
}

pub(in crate::server) async fn subscribe(
    State(app): State<Arc<App>>,
    Params(params): Params<SubscribeParams>,
    request: Request,
) -> Result<HttpResponse, Fault> {
    let body = json_body(&app, request).await?;
    let question = decode_subscribe(&body).map_err(|error| bad(&error))?;
    if question.to.is_none() {
        let fault = Fault::invalid("field `to` is missing");
        return Err(
            fault.suggest("say which agent gets the events, `kind/key` or as in visitor/{data.ip}")
        );
    }
    let pattern = question.check().map_err(|error| bad(&error))?;
    let owner = Owner {
        client: params.client.as_deref(),
        ..operators(&app, wire::owner_of_pattern(&pattern))
    };
    owner.ask_json(method::SUBSCRIBE, &question).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct UnsubscribeParams {
    client: Option<String>,
    pattern: String,
    name: Option<String>,
}

pub(in crate::server) async fn unsubscribe(
    State(app): State<Arc<App>>,
    Params(params): Params<UnsubscribeParams>,
) -> Result<HttpResponse, Fault> {
    let pattern = extract::pattern(&params.pattern)?;
    let question = wire::Unsubscribe {
        name: params.name.unwrap_or(params.pattern),
    };
    let owner = Owner {
        client: params.client.as_deref(),
        ..operators(&app, wire::owner_of_pattern(&pattern))
    };
    owner.ask_json(method::UNSUBSCRIBE, &question).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct SubscriptionsParams {
    space: Option<String>,
    after: Option<u64>,
    max: Option<u32>,
}

pub(in crate::server) async fn subscriptions(
    State(app): State<Arc<App>>,
    Params(params): Params<SubscriptionsParams>,
) -> Result<HttpResponse, Fault> {
    let space = params.space.as_deref().map(extract::topic).transpose()?;
    let usual = ListSubscriptions::default();
    let question = ListSubscriptions {
        after: params.after,
        max: params.max.unwrap_or(usual.max),
    };
    let agent = space.as_ref().map_or_else(wire::root, wire::owner_of_topic);
    operators(&app, agent)
        .ask_json(method::SUBSCRIPTIONS, &question)
        .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct ListParams {
    space: Option<String>,
    after: Option<String>,
}

/// Spaces of one answer.
const SPACES: u32 = 1_000;

pub(in crate::server) async fn list(
    State(app): State<Arc<App>>,
    Params(params): Params<ListParams>,
) -> Result<HttpResponse, Fault> {
    if let Some(space) = &params.space {
        let owner = operators(&app, wire::owner_of_topic(&extract::topic(space)?));
        let question = List {
            after: params.after,
        };
        return owner.ask_json(method::LIST, &question).await;
    }
    let after = params.after.as_deref().map(extract::topic).transpose()?;
    let request = Ask::Agents {
        kind: Some(extract::kind(wire::KIND)?),
        node: None,
        after: after.map(|space| wire::owner_of_topic(&space)),
        limit: SPACES,
    };
    let owners = match app.control(request).await? {
        Response::Agents(owners) => owners,
        _ => return Err(Fault::odd_answer()),
    };
    let more = owners.len() >= SPACES as usize;
    // The root owns no space.
    let keys = owners.iter().map(|owner| owner.agent.key());
    let spaces: Vec<TopicName> = keys.filter_map(|key| TopicName::new(key).ok()).collect();
    let requests = spaces
        .iter()
        .map(|space| {
            let owner = operators(&app, wire::owner_of_topic(space));
            owner.request(method::LIST, json(&List::default())?)
        })
        .collect::<Result<Vec<_>, Fault>>()?;
    let mut said: Vec<Option<Listing>> = spaces.iter().map(|_| None).collect();
    let wait = app.limits.default_timeout.saturating_add(GRACE);
    let each = |at: usize, end: Result<Response, ControlError>| {
        if let (Ok(Response::Called(Reply::Ok(payload))), Some(place)) = (end, said.get_mut(at)) {
            *place = decode(&payload).ok();
        }
    };
    app.submit_many(requests.into_iter(), wait, each).await;
    let mut list = api::TopicList {
        more,
        ..api::TopicList::default()
    };
    for (space, listing) in spaces.iter().zip(said) {
        match listing {
            Some(listing) => list.spaces.push(listing),
            None => list.silent.push(space.to_string()),
        }
    }
    Ok(Json(list).into_response())
}

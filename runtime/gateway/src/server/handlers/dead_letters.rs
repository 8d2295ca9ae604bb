//! Dead letters: reading them, sending them again, throwing them away.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response as HttpResponse};
use phoenix_core::DeadReason;
use phoenix_core::attributes::{CloudEvent, Format, Nonce};
use phoenix_core::control::{
    DeadLetter, LetterFilter, LetterId, Letters, Request as Ask, Response,
};
use serde::Deserialize;

use super::cluster::millis;
use super::messages::GRACE;
use crate::server::app::App;
use crate::server::body::header as header_text;
use crate::server::extract::{self, LetterPath, Params};
use crate::server::fault::Fault;
use crate::suggest::{did_you_mean, shown};
use crate::{api, convert};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct ListParams {
    node: Option<String>,
    kind: Option<String>,
    agent: Option<String>,
    reason: Option<String>,
    limit: Option<u32>,
}

pub(in crate::server) async fn list(
    State(app): State<Arc<App>>,
    Params(params): Params<ListParams>,
    headers: HeaderMap,
) -> Result<HttpResponse, Fault> {
    let ListParams {
        node,
        kind,
        agent,
        reason,
        limit,
    } = params;
    let request = Ask::DeadLetters {
        filter: filter([node, kind, agent, reason])?,
        limit: extract::limit(limit, &app)?,
    };
    match app.control(request).await? {
        Response::DeadLetters { letters, more } => {
            if let Some(format) = wanted(&headers, Format::batch_media_type) {
                let events: Vec<CloudEvent> = letters.iter().map(event).collect();
                let body = app.events().encode_batch(format, &events);
                let media_type = format.batch_media_type();
                return Ok(([(header::CONTENT_TYPE, media_type)], body).into_response());
            }
            let dead_letters = letters
                .iter()
                .map(|letter| convert::dead_letter(letter, convert::payload))
                .collect();
            Ok(Json(api::DeadLetterList { dead_letters, more }).into_response())
        }
        _ => Err(Fault::odd_answer()),
    }
}

pub(in crate::server) async fn show(
    State(app): State<Arc<App>>,
    LetterPath(letter): LetterPath,
    headers: HeaderMap,
) -> Result<HttpResponse, Fault> {
    match app.control(Ask::DeadLetter { letter }).await? {
        Response::DeadLetter(letter) => {
            let event = event(&letter);
            if let Some(format) = wanted(&headers, Format::media_type) {
                let body = app.events().encode(format, &event);
                return Ok(([(header::CONTENT_TYPE, format.media_type())], body).into_response());
            }
            let json = app.events().encode(Format::Json, &event);
            let shown = api::DeadLetter {
                event: serde_json::from_slice(&json).ok(),
                ..convert::dead_letter(&letter, convert::whole_payload)
            };
            Ok(Json(shown).into_response())
        }
        _ => Err(Fault::odd_answer()),
    }
}

/// The letter's message as it came.
fn event(letter: &DeadLetter) -> CloudEvent {
    let LetterId { node, boot, number } = letter.id;
    let nonce = Nonce {
        node,
        boot,
        serial: number,
    };
    CloudEvent::of(&letter.envelope, nonce)
}

/// The format of events that `Accept` asks for, if it asks for one.
fn wanted(headers: &HeaderMap, media_type: fn(Format) -> &'static str) -> Option<Format> {
    let accepted = header_text(headers, &header::ACCEPT)?;
    accepted.split(',').find_map(|one| {
        let essence = one.split(';').next().unwrap_or_default().trim();
        Format::ALL
            .into_iter()
            .find(|format| essence.eq_ignore_ascii_case(media_type(*format)))
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct ReplayOneParams {
    timeout: Option<String>,
}

pub(in crate::server) async fn replay_one(
    State(app): State<Arc<App>>,
    LetterPath(letter): LetterPath,
    Params(params): Params<ReplayOneParams>,
) -> Result<Json<api::Replayed>, Fault> {
    let letters = Letters::One(letter);
    let replayed = replay(&app, letters, 1, params.timeout.as_deref()).await?;
    let one = replayed.into_iter().next().ok_or_else(Fault::odd_answer)?;
    Ok(Json(one))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct ReplayParams {
    node: Option<String>,
    kind: Option<String>,
    agent: Option<String>,
    reason: Option<String>,
    all: Option<bool>,
    limit: Option<u32>,
    timeout: Option<String>,
}

pub(in crate::server) async fn replay_some(
    State(app): State<Arc<App>>,
    Params(params): Params<ReplayParams>,
) -> Result<Json<api::ReplayList>, Fault> {
    let ReplayParams {
        node,
        kind,
        agent,
        reason,
        all,
        limit,
        timeout,
    } = params;
    let letters = chosen(filter([node, kind, agent, reason])?, all)?;
    let limit = extract::limit(limit, &app)?;
    let replayed = replay(&app, letters, limit, timeout.as_deref()).await?;
    Ok(Json(api::ReplayList { replayed }))
}

async fn replay(
    app: &App,
    letters: Letters,
    limit: u32,
    timeout: Option<&str>,
) -> Result<Vec<api::Replayed>, Fault> {
    let timeout = extract::timeout(timeout, app)?;
    let request = Ask::ReplayDeadLetters {
        letters,
        limit,
        timeout: millis(timeout),
    };
    match app.submit(request, timeout.saturating_add(GRACE)).await? {
        Response::Replayed(replayed) => Ok(replayed.into_iter().map(convert::replayed).collect()),
        _ => Err(Fault::odd_answer()),
    }
}

pub(in crate::server) async fn purge_one(
    State(app): State<Arc<App>>,
    LetterPath(letter): LetterPath,
) -> Result<StatusCode, Fault> {
    let letters = Letters::One(letter);
    purge(&app, letters).await.map(|_| StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct PurgeParams {
    node: Option<String>,
    kind: Option<String>,
    agent: Option<String>,
    reason: Option<String>,
    all: Option<bool>,
}

pub(in crate::server) async fn purge_some(
    State(app): State<Arc<App>>,
    Params(params): Params<PurgeParams>,
) -> Result<Json<api::Purged>, Fault> {
    let PurgeParams {
        node,
        kind,
        agent,
        reason,
        all,
    } = params;
    let letters = chosen(filter([node, kind, agent, reason])?, all)?;
    Ok(Json(purge(&app, letters).await?))
}

async fn purge(app: &App, letters: Letters) -> Result<api::Purged, Fault> {
    match app.control(Ask::PurgeDeadLetters { letters }).await? {
        Response::Purged { letters } => Ok(api::Purged { purged: letters }),
        _ => Err(Fault::odd_answer()),
    }
}

/// The filter that `node`, `kind`, `agent` and `reason` make.
fn filter([node, kind, agent, reason]: [Option<String>; 4]) -> Result<LetterFilter, Fault> {
    Ok(LetterFilter {
        node: node.as_deref().map(extract::node).transpose()?,
        kind: kind.as_deref().map(extract::kind).transpose()?,
        agent: agent.as_deref().map(extract::agent).transpose()?,
        reason: reason.as_deref().map(self::reason).transpose()?,
    })
}

/// A word that letters have for a reason.
fn reason(text: &str) -> Result<Arc<str>, Fault> {
    if DeadReason::CODES.contains(&text) {
        return Ok(text.into());
    }
    let help = did_you_mean(text, DeadReason::CODES)
        .unwrap_or_else(|| format!("the reasons are {}", DeadReason::CODES.join(", ")));
    let fault = Fault::invalid(format!("no letter ends for the reason `{}`", shown(text)));
    Err(fault.suggest(help))
}

/// What is changed must be said: nothing stands for all.
fn chosen(filter: LetterFilter, all: Option<bool>) -> Result<Letters, Fault> {
    if filter == LetterFilter::default() && all != Some(true) {
        let fault = Fault::invalid("the request does not say which letters");
        return Err(fault.suggest("give `all=true`, or one of `node`, `kind`, `agent`, `reason`"));
    }
    Ok(Letters::Matching(filter))
}

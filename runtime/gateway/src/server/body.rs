//! Bodies: how large, how slow and of which type they may be.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use phoenix_core::{ContentType, Payload};
use tokio::sync::OwnedSemaphorePermit;

use super::app::App;
use super::fault::{Code, Fault};
use crate::api;
use crate::suggest::shown;
use crate::units::show_size;

/// A body that has arrived, with the room it takes.
pub(super) struct Arrived {
    pub(super) headers: HeaderMap,
    pub(super) bytes: Bytes,
    /// Given back when the request has its answer.
    _room: OwnedSemaphorePermit,
}

/// Reads a request's body of at most `most` bytes. `limit` is that limit's name.
pub(super) async fn read(
    app: &App,
    request: Request,
    most: usize,
    limit: &str,
) -> Result<Arrived, Fault> {
    let (parts, body) = request.into_parts();
    let too_large = || {
        let fault = Fault::new(
            Code::TooLarge,
            format!("the body is over {} ({limit})", show_size(most as u64)),
        );
        fault.suggest(format!("send less at once, or raise `{limit}`"))
    };
    let announced = body.size_hint();
    if announced.lower() > most as u64 {
        return Err(too_large());
    }
    let expected = announced
        .upper()
        .and_then(|bytes| usize::try_from(bytes).ok())
        .unwrap_or(most);
    let room = app.admission.buffer(expected)?;
    let bytes = tokio::time::timeout(app.limits.body_timeout, collect(body, most))
        .await
        .map_err(|_| {
            Fault::new(
                Code::SlowRequest,
                format!(
                    "the body has not arrived within {:?}",
                    app.limits.body_timeout
                ),
            )
        })?
        .map_err(|error| {
            if error.is::<LengthLimitError>() {
                too_large()
            } else {
                Fault::invalid(format!("the body: {error}"))
            }
        })?;
    Ok(Arrived {
        headers: parts.headers,
        bytes,
        _room: room,
    })
}

async fn collect(body: Body, most: usize) -> Result<Bytes, axum::BoxError> {
    Ok(Limited::new(body, most).collect().await?.to_bytes())
}

/// A header's value, as far as it is plain text.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

impl Arrived {
    /// The body's media type without its parameters, in lower case.
    pub(super) fn media_type(&self) -> Option<String> {
        let value = header(&self.headers, &header::CONTENT_TYPE)?;
        let essence = value.split(';').next().unwrap_or_default().trim();
        Some(essence.to_ascii_lowercase())
    }

    /// The body as what an agent is given. JSON is checked here, where whoever
    /// wrote it can still be told.
    pub(super) fn payload(&self) -> Result<Payload, Fault> {
        if self.bytes.is_empty() {
            return Ok(Payload::default());
        }
        let Some(media_type) = self.media_type() else {
            return Err(unsupported("has no content type"));
        };
        let Some(content_type) = api::ContentType::of_media_type(&media_type) else {
            return Err(unsupported(&format!("is `{}`", shown(&media_type))));
        };
        let content_type = crate::convert::core_content_type(content_type);
        if content_type == ContentType::Json {
            serde_json::from_slice::<serde::de::IgnoredAny>(&self.bytes)
                .map_err(|error| Fault::invalid(format!("the body is no JSON: {error}")))?;
        }
        Ok(Payload {
            content_type,
            bytes: self.bytes.clone().into(),
        })
    }
}

fn unsupported(what: &str) -> Fault {
    Fault::new(Code::UnsupportedType, format!("the body {what}")).suggest(
        "send `content-type: application/json`, `application/vnd.msgpack` or \
         `application/octet-stream`",
    )
}

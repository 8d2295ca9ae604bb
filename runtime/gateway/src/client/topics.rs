//! Topics, over the API.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use phoenix_core::topics::{TopicName, TopicPattern};

use super::operations::{Target, millis};
use super::{Client, ClientError, encode};
use crate::api::{self, ContentType};

/// An event to publish.
#[derive(Clone, Debug, Default)]
pub struct NewEvent {
    /// How to read `data`.
    pub content_type: ContentType,
    /// Its data.
    pub data: Bytes,
    /// What kind of event it is.
    pub event_type: Option<String>,
    /// What it is about.
    pub key: Option<String>,
    /// What filters may look at besides the data.
    pub attributes: api::EventAttributes,
    /// Whether the topic keeps it for those that subscribe later.
    pub retain: bool,
    /// How long it is of use.
    pub ttl: Option<Duration>,
}

/// From where to read events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadFrom {
    /// Those above this number; only those from now on if there is none.
    pub after: Option<u64>,
    /// The epoch that `after` is of.
    pub epoch: Option<u64>,
}

impl Client {
    /// Publishes an event, and waits until its topic's owner has committed it.
    pub async fn publish(
        &self,
        topic: &TopicName,
        event: &NewEvent,
        timeout: Duration,
    ) -> Result<api::Published, ClientError> {
        let mut target = Target::new(&format!("/v1/topics/{}/publish", encode(topic.as_str())));
        target.add("timeout", Some(millis(timeout)));
        target.add("type", event.event_type.as_ref());
        target.add("key", event.key.as_ref());
        if !event.attributes.is_empty() {
            let text = serde_json::to_string(&event.attributes).map_err(|error| self.bad(error))?;
            target.add("attributes", Some(text));
        }
        target.add("retain", event.retain.then_some(true));
        target.add("ttl", event.ttl.map(millis));
        let call = self
            .call(Method::POST, target.done())
            .body(event.data.clone(), event.content_type.media_type())
            .waiting(timeout);
        self.json(&self.exchange(call).await?)
    }

    /// Recent events of topics; if there are none, waits for some.
    pub async fn events(
        &self,
        pattern: &TopicPattern,
        from: ReadFrom,
        max: u32,
        wait: Duration,
    ) -> Result<api::Events, ClientError> {
        let mut target = Target::new(&format!("/v1/topics/{}/events", encode(pattern.as_str())));
        target.add("after", from.after);
        target.add("epoch", from.epoch);
        target.add("max", Some(max));
        target.add("wait", Some(millis(wait)));
        let call = self.call(Method::GET, target.done()).waiting(wait);
        self.json(&self.exchange(call).await?)
    }

    /// All spaces, the first token of whose name comes after `after`.
    pub async fn topics(&self, after: Option<&str>) -> Result<api::TopicList, ClientError> {
        let mut target = Target::new("/v1/topics");
        target.add("after", after);
        self.fetch(Method::GET, target.done()).await
    }

    /// The topics of a space, those after `after`.
    pub async fn space(
        &self,
        space: &str,
        after: Option<&str>,
    ) -> Result<api::Listing, ClientError> {
        let mut target = Target::new("/v1/topics");
        target.add("space", Some(space));
        target.add("after", after);
        self.fetch(Method::GET, target.done()).await
    }

    /// The subscriptions at the owner of a space, or to patterns that begin with a
    /// wildcard: at most `max`, from where the [`api::Subscriptions::next`] of the page
    /// before says.
    pub async fn subscriptions(
        &self,
        space: Option<&str>,
        after: Option<u64>,
        max: u32,
    ) -> Result<api::Subscriptions, ClientError> {
        let mut target = Target::new("/v1/subscriptions");
        target.add("space", space);
        target.add("after", after);
        target.add("max", Some(max));
        self.fetch(Method::GET, target.done()).await
    }

    /// Says what is kept of topics.
    pub async fn configure(
        &self,
        pattern: &TopicPattern,
        log: Option<&api::LogBounds>,
        retain: bool,
    ) -> Result<(), ClientError> {
        let body = serde_json::json!({ "log": log, "retain": retain });
        let target = format!("/v1/topics/{}", encode(pattern.as_str()));
        let call = self
            .call(Method::PUT, target)
            .body(body.to_string().into(), Some(api::JSON));
        self.exchange(call).await.map(drop)
    }

    /// Subscribes agents.
    pub async fn subscribe(
        &self,
        subscription: &api::Subscribe,
    ) -> Result<api::Subscribed, ClientError> {
        let body = serde_json::to_vec(subscription).map_err(|error| self.bad(error))?;
        let call = self
            .call(Method::PUT, "/v1/subscriptions".to_owned())
            .body(body.into(), Some(api::JSON));
        self.json(&self.exchange(call).await?)
    }

    /// Ends a subscription to a pattern, of that name if it has one.
    pub async fn unsubscribe(
        &self,
        pattern: &TopicPattern,
        name: &str,
    ) -> Result<api::Unsubscribed, ClientError> {
        let mut target = Target::new("/v1/subscriptions");
        target.add("pattern", Some(pattern));
        target.add("name", Some(name));
        self.fetch(Method::DELETE, target.done()).await
    }
}

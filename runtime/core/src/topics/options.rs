//! What an agent says of a publication or a subscription beside its topic or its pattern.

use phoenix_wit::{Delivery, Payload};
use serde::{Deserialize, Serialize};

use super::wire::{self, BadRequest, EventAttributes, Publish, Reliability, Subscribe, method};
use super::{Filter, TopicName, TopicPattern, Transform};

/// What an agent says of an event: a map by the fields' names, as MessagePack or JSON.
/// See [`Publish`] for what they mean.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PublishOptions {
    /// What kind of event it is (`type`).
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// What it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What filters may look at besides the data.
    #[serde(skip_serializing_if = "EventAttributes::is_empty")]
    pub attributes: EventAttributes,
    /// Whether the topic keeps it for those that subscribe later.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub retain: bool,
    /// Milliseconds after which it is of no use to a subscriber.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// How hard to try to have it published; exactly once if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Reliability>,
}

impl PublishOptions {
    /// Puts together what is said to the topic's owner; checks it, and gives the topic and
    /// how hard to try.
    ///
    /// # Errors
    ///
    /// The field that cannot be, and what is accepted.
    pub fn publication<'a>(
        topic: &'a str,
        data: Payload<'a>,
        options: Payload<'_>,
    ) -> Result<(Publish<'a>, TopicName, Delivery), BadRequest> {
        let said: Self = wire::read(method::PUBLISH, options)?;
        let publish = Publish {
            topic: topic.into(),
            data,
            event_type: said.event_type.map(Into::into),
            key: said.key.map(Into::into),
            attributes: said.attributes,
            retain: said.retain,
            ttl_ms: said.ttl_ms,
        };
        let topic = publish.check()?;
        let delivery = said
            .delivery
            .map_or(Delivery::ExactlyOnce, Reliability::as_delivery);
        Ok((publish, topic, delivery))
    }
}

/// Puts together what an agent that subscribes itself says to the owner of a pattern's
/// topics; `options` are the fields of [`Subscribe`] but for `pattern` and `to`. Checks it,
/// a filter and a transformation too, and gives the pattern.
///
/// # Errors
///
/// The field that cannot be, and what is accepted.
pub fn subscription(
    pattern: &str,
    options: Payload<'_>,
) -> Result<(Subscribe, TopicPattern), BadRequest> {
    let mut subscribe: Subscribe = wire::read(method::SUBSCRIBE, options)?;
    if !subscribe.pattern.is_empty() {
        let why = "the pattern is given beside the options: leave it out of them";
        return Err(BadRequest::field("pattern", why));
    }
    if subscribe.to.is_some() {
        let why = "an agent subscribes itself: leave it out, or have a client or the kind's \
                   deployment subscribe others";
        return Err(BadRequest::field("to", why));
    }
    pattern.clone_into(&mut subscribe.pattern);
    let checked = subscribe.check()?;
    if let Some(filter) = &subscribe.filter {
        Filter::new(filter).map_err(|bad| BadRequest::field("filter", bad.to_string()))?;
    }
    if let Some(transform) = &subscribe.transform {
        Transform::new(transform).map_err(|bad| BadRequest::field("transform", bad.to_string()))?;
    }
    Ok((subscribe, checked))
}

#[cfg(test)]
mod tests {
    use phoenix_wit::ContentType;

    use super::*;
    use crate::topics::wire::Attribute;

    fn json(text: &str) -> Payload<'_> {
        Payload {
            content_type: ContentType::Json,
            bytes: text.as_bytes(),
        }
    }

    #[test]
    fn what_is_said_of_an_event_is_in_what_its_owner_gets() {
        let options = r#"{"type":"order.created","key":"k","attributes":{"n":3},"retain":true,
            "ttl_ms":5,"delivery":"at-most-once"}"#;
        let data = json("[1]");
        let (publish, topic, delivery) =
            PublishOptions::publication("orders.eu", data, json(options)).unwrap();
        assert_eq!(
            (topic.as_str(), delivery),
            ("orders.eu", Delivery::AtMostOnce)
        );
        let mut bytes = Vec::new();
        publish.write(&mut bytes);
        let (read, _) = Publish::decode(Payload::message_pack(&bytes)).unwrap();
        assert_eq!(read, publish);
        assert_eq!(read.data, data);
        assert_eq!(read.event_type.as_deref(), Some("order.created"));
        assert_eq!(read.attributes["n"], Attribute::Int(3));
        assert_eq!((read.retain, read.ttl_ms), (true, Some(5)));
        let (plain, _, delivery) =
            PublishOptions::publication("orders", data, Payload::NONE).unwrap();
        assert_eq!(
            plain,
            Publish::new(&TopicName::new("orders").unwrap(), data)
        );
        assert_eq!(delivery, Delivery::ExactlyOnce);
    }

    #[test]
    fn a_subscription_is_what_its_options_say() {
        let options = r#"{"name":"n","filter":"data.n > 3","in_flight":7}"#;
        let (subscribe, pattern) = subscription("orders.*", json(options)).unwrap();
        assert_eq!(pattern.as_str(), "orders.*");
        let expected = Subscribe {
            name: Some("n".to_owned()),
            filter: Some("data.n > 3".to_owned()),
            in_flight: Some(7),
            ..Subscribe::to_pattern("orders.*")
        };
        assert_eq!(subscribe, expected);
        let bytes = rmp_serde::to_vec_named(&subscribe).unwrap();
        let read = Subscribe::decode(Payload::message_pack(&bytes));
        assert_eq!(read, Ok(expected));
        let (plain, _) = subscription("orders.>", Payload::NONE).unwrap();
        assert_eq!(plain, Subscribe::to_pattern("orders.>"));
    }

    #[test]
    fn what_cannot_be_is_named_with_what_is_accepted() {
        let publish = |topic, options| {
            let bad = PublishOptions::publication(topic, json("1"), json(options));
            bad.unwrap_err().to_string()
        };
        let subscribe = |pattern, options| subscription(pattern, json(options)).unwrap_err();
        let all = [
            (publish("a..b", "{}"), "field `topic`: "),
            (publish("a.*", "{}"), "field `topic`: "),
            (
                publish("a", r#"{"ttl_ms":0}"#),
                "field `ttl_ms`: 0: it must be 1 to",
            ),
            (
                publish("a", r#"{"tpye":"x"}"#),
                "unknown field `tpye`, expected one of `type`, `key`",
            ),
            (
                publish("a", r#"{"delivery":"twice"}"#),
                "`twice` is no delivery: write at-most-once",
            ),
            (subscribe("a.>.b", "{}").to_string(), "field `pattern`: "),
            (
                subscribe("a", r#"{"pattern":"b"}"#).to_string(),
                "leave it out of them",
            ),
            (
                subscribe("a", r#"{"to":"b/c"}"#).to_string(),
                "an agent subscribes itself",
            ),
            (
                subscribe("a", r#"{"replay":"last"}"#).to_string(),
                "`last` is no replay",
            ),
            (
                subscribe("a", r#"{"filter":"data.n >"}"#).to_string(),
                "field `filter`: ",
            ),
            (
                subscribe("a", r#"{"transform":{"project":["a..b"]}}"#).to_string(),
                "field `transform`: ",
            ),
            (
                subscribe("a", "3").to_string(),
                "`subscribe` cannot be read",
            ),
        ];
        for (said, expected) in all {
            assert!(said.contains(expected), "{said} has no {expected}");
        }
        let binary = Payload {
            content_type: ContentType::Binary,
            bytes: b"x",
        };
        let bad = subscription("a", binary).unwrap_err().to_string();
        assert!(bad.contains("send a map as MessagePack or JSON"), "{bad}");
    }
}

//! Events come to handlers, and what is said of publications and subscriptions leaves as
//! owners of topics read it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use phoenix_sdk::prelude::*;
use phoenix_sdk::testing::TestContext;
use phoenix_sdk::{Attribute, Gap, Mark, Transform};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    total: u64,
}

#[derive(Default)]
pub struct Audit {
    orders: Vec<Event<Order>>,
    bare: u64,
}

#[agent]
impl Audit {
    async fn on_event(&mut self, _ctx: &mut Context, event: Event<Order>) {
        self.orders.push(event);
    }

    fn maybe(&mut self, event: Event<Option<u64>>) {
        self.bare += event.data.unwrap_or(1_000);
    }

    fn bare(&mut self, total: u64) {
        self.bare += total;
    }

    fn seen(&self) -> (Vec<u64>, u64) {
        let totals = self.orders.iter().map(|it| it.data.total).collect();
        (totals, self.bare)
    }
}

/// An event as the owner of its topic writes it.
const WRITTEN: &str = r#"{"topic":"orders.eu","publisher":"shop/1","epoch":3,"number":41,
    "offset":7,"time":1700000000123,"type":"order.created","key":"k",
    "attributes":{"express":true,"items":2,"weight":1.5,"region":"eu"},
    "mark":{"gap":{"from":38,"to":40},"replayed":true},"later":"more","data":{"total":12}}"#;

#[test]
fn an_event_is_what_its_owner_wrote() {
    let event: Event<Order> = serde_json::from_str(WRITTEN).unwrap();
    let expected = Event {
        publisher: "shop/1".to_owned(),
        epoch: 3,
        number: 41,
        offset: Some(7),
        time: Timestamp::from_millis(1_700_000_000_123),
        event_type: Some("order.created".to_owned()),
        key: Some("k".to_owned()),
        attributes: [
            ("express".to_owned(), Attribute::Bool(true)),
            ("items".to_owned(), Attribute::Int(2)),
            ("weight".to_owned(), Attribute::Float(1.5)),
            ("region".to_owned(), Attribute::Text("eu".to_owned())),
        ]
        .into(),
        mark: Mark {
            gap: Some(Gap { from: 38, to: 40 }),
            replayed: true,
            ..Mark::default()
        },
        ..Event::new("orders.eu", Order { total: 12 })
    };
    assert_eq!(event, expected);
    let again = rmp_serde::to_vec_named(&event).unwrap();
    assert_eq!(
        rmp_serde::from_slice::<Event<Order>>(&again).unwrap(),
        event
    );
}

#[test]
fn a_handler_gets_events_in_either_form_with_data_or_without() {
    let mut test = TestContext::<Audit>::new("audit/a");
    let order = Event::new("orders.eu", Order { total: 12 });
    test.call(AuditRequests::on_event(order)).unwrap();
    let none = r#"{"topic":"a","publisher":"b/c","epoch":1,"number":1,"time":5}"#;
    test.call_json("maybe", none).unwrap();
    test.call_json("on_event", WRITTEN).unwrap();
    test.call(AuditRequests::bare(7)).unwrap();
    assert_eq!(
        test.call(AuditRequests::seen()).unwrap(),
        (vec![12, 12], 1_007)
    );
    let failed = test.call_json("on_event", none).unwrap_err();
    assert!(
        failed.message().contains("missing field `data`"),
        "{failed}"
    );
}

fn map<T: Serialize>(value: &T) -> serde_json::Value {
    serde_json::to_value(value).unwrap()
}

#[test]
fn options_are_written_as_owners_read_them() {
    let all = Subscription::to("orders.*")
        .name("n")
        .handler("bill")
        .filter("data.total > 1")
        .group(
            "g",
            GroupStrategy::ConsistentHash(Some("region".to_owned())),
        )
        .weight(2)
        .delivery(Delivery::AtLeastOnce)
        .overflow(EventOverflow::DropOldest)
        .in_flight(9)
        .replay(Replay::Since(Timestamp::from_millis(5)))
        .data_only()
        .transform(
            Transform::new()
                .project("user.name")
                .rename("user.name", "name")
                .set("topic", "topic"),
        );
    assert_eq!(
        map(&all),
        serde_json::json!({
            "name": "n", "method": "bill", "filter": "data.total > 1", "group": "g",
            "strategy": "consistent-hash:region", "weight": 2, "delivery": "at-least-once",
            "overflow": "drop-oldest", "in_flight": 9, "replay": "since 5", "form": "data",
            "transform": {
                "project": ["user.name"], "rename": {"user.name": "name"},
                "set": {"topic": "topic"},
            },
        })
    );
    assert_eq!(map(&Subscription::to("orders.*")), serde_json::json!({}));
    for (strategy, text) in [
        (GroupStrategy::RoundRobin, "round-robin"),
        (GroupStrategy::Weighted, "weighted-round-robin"),
        (GroupStrategy::LeastOutstanding, "least-outstanding"),
        (GroupStrategy::ResponseTime, "response-time"),
        (GroupStrategy::ConsistentHash(None), "consistent-hash"),
    ] {
        assert_eq!(map(&strategy), text);
    }
    for (replay, text) in [
        (Replay::New, "new"),
        (Replay::All, "all"),
        (Replay::Last(3), "last 3"),
        (Replay::From(4), "from 4"),
    ] {
        assert_eq!(map(&replay), text);
    }
    let options = PublishOptions::new()
        .event_type("order.created")
        .key("k")
        .attribute("region", "eu")
        .retain()
        .ttl(Duration::from_millis(30))
        .delivery(Delivery::AtMostOnce);
    assert_eq!(
        map(&options),
        serde_json::json!({
            "type": "order.created", "key": "k", "attributes": {"region": "eu"},
            "retain": true, "ttl_ms": 30, "delivery": "at-most-once",
        })
    );
}

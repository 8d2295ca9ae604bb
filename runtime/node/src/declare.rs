//! Telling the owners of topics which events a kind's agents get.
//!
//! The node with the directory does it: when a kind is deployed, before that is answered,
//! and for every kind when it starts. What is told is all of a kind's subscriptions of an
//! owner, so that telling it again changes nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use phoenix_core::control::{Request, Response};
use phoenix_core::topics::KindSubscriptions;
use phoenix_core::topics::wire::{Declare, Subscribe, encode, method};
use phoenix_core::{AgentId, ClientId, ContentType, KindName, Level, Millis, Payload, Reply};

use crate::clock;
use crate::shared::Shared;

/// As whom.
const DECLARER: &str = "deploy";
/// How long an owner may take to answer.
const ANSWER_WITHIN: Millis = Millis(5_000);
/// How long after an owner that does not answer it is told again, and how often.
const TELL_AGAIN: Duration = Duration::from_secs(1);
const TRIES: u32 = 60;

/// What one owner is told of a kind.
type Told = (AgentId, Payload);

/// How telling an owner ended.
enum Ended {
    Done,
    /// It does not take them, and says why.
    Refused(String),
    /// It may be told again.
    Silent(String),
}

/// What the owners of a kind's subscriptions are told, of those before as well: what is not
/// told again ends.
fn to_tell(kind: &KindName, before: &KindSubscriptions, now: &KindSubscriptions) -> Vec<Told> {
    let mut by_owner: BTreeMap<AgentId, Vec<Subscribe>> = BTreeMap::new();
    for (owner, _) in before.iter() {
        by_owner.entry(owner.clone()).or_default();
    }
    for (owner, subscription) in now.iter() {
        let theirs = by_owner.entry(owner.clone()).or_default();
        theirs.push(subscription.clone());
    }
    let version = clock::now_ms().0;
    let told = |(owner, subscriptions)| {
        let declared = Declare {
            kind: kind.as_str().to_owned(),
            version,
            subscriptions,
        };
        let (content_type, bytes) = encode(ContentType::MessagePack, &declared);
        let bytes = bytes.into();
        let payload = Payload {
            content_type,
            bytes,
        };
        (owner, payload)
    };
    by_owner.into_iter().map(told).collect()
}

impl Shared {
    /// Tells the owners of all kinds' subscriptions of them, in the background.
    pub(crate) fn declare_all(self: &Arc<Self>) {
        let mut kinds = self.kinds.list();
        kinds.retain(|info| !info.policy.subscriptions.is_empty());
        if kinds.is_empty() {
            return;
        }
        let shared = self.clone();
        self.in_background("declare", move || {
            for info in kinds {
                let (kind, now) = (&info.kind, &info.policy.subscriptions);
                let before = KindSubscriptions::default();
                if let Err(why) = shared.declare(kind, &before, now) {
                    let text = format!("the subscriptions of {kind} are refused: {why}");
                    shared.log(None, Level::Error, &text);
                }
            }
        });
    }

    /// Tells owners which events a kind's agents get. Waits for their answers: not for a
    /// worker's thread. Those that do not answer are told again later.
    ///
    /// # Errors
    ///
    /// What an owner does not take, in its words.
    pub(crate) fn declare(
        self: &Arc<Self>,
        kind: &KindName,
        before: &KindSubscriptions,
        now: &KindSubscriptions,
    ) -> Result<(), String> {
        let (mut silent, mut refused) = (Vec::new(), Ok(()));
        for (owner, payload) in to_tell(kind, before, now) {
            match self.tell(&owner, &payload) {
                Ended::Done => {}
                // The others are told all the same.
                Ended::Refused(why) => refused = refused.and(Err(why)),
                Ended::Silent(why) => {
                    let text = format!("{owner} has not taken the subscriptions of {kind}: {why}");
                    self.log(None, Level::Warn, &text);
                    silent.push((owner, payload));
                }
            }
        }
        if !silent.is_empty() {
            let (shared, kind) = (self.clone(), kind.clone());
            self.in_background("declare", move || shared.tell_again(&kind, silent));
        }
        refused
    }

    /// Tells owners that have not answered again and again.
    fn tell_again(self: &Arc<Self>, kind: &KindName, mut silent: Vec<Told>) {
        for _ in 0..TRIES {
            if self.clients.is_closed() || self.is_fenced() {
                return;
            }
            std::thread::sleep(TELL_AGAIN);
            silent.retain(|(owner, payload)| match self.tell(owner, payload) {
                Ended::Done => false,
                Ended::Silent(_) => true,
                Ended::Refused(why) => {
                    let text = format!("{owner} refuses the subscriptions of {kind}: {why}");
                    self.log(None, Level::Error, &text);
                    false
                }
            });
            if silent.is_empty() {
                return;
            }
        }
        for (owner, _) in silent {
            let text = format!(
                "{owner} has never taken the subscriptions of {kind}: deploy the kind again"
            );
            self.log(None, Level::Error, &text);
        }
    }

    fn tell(self: &Arc<Self>, owner: &AgentId, payload: &Payload) -> Ended {
        let Some(client) = ClientId::new(DECLARER) else {
            return Ended::Refused("nobody to declare it as".to_owned());
        };
        let request = Request::Call {
            client,
            agent: owner.clone(),
            method: method::DECLARE.into(),
            payload: payload.clone(),
            timeout: ANSWER_WITHIN,
            options: None,
        };
        let (send, receive) = mpsc::channel();
        // Nobody listens if the node stops meanwhile.
        self.carry_out(request, None, Box::new(move |end| drop(send.send(end))));
        let silent = |why: &str| Ended::Silent(why.to_owned());
        match receive.recv_timeout(Duration::from_millis(2 * ANSWER_WITHIN.0)) {
            Ok(Ok(Response::Called(reply))) => match reply {
                Reply::Ok(_) => Ended::Done,
                Reply::Failed(failure) => Ended::Refused(failure.message.to_string()),
                Reply::Timeout => silent("it does not answer"),
                Reply::Bounced(why) | Reply::Unavailable(why) => silent(&why),
                Reply::TurnedDown(why) => silent(&why.text),
                Reply::Deadlock => silent("it waits in a circle"),
            },
            Ok(Ok(_)) => silent("it answers something else"),
            Ok(Err(error)) => silent(&error.to_string()),
            Err(_) => silent("the node does not answer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> KindSubscriptions {
        text.parse().unwrap()
    }

    #[test]
    fn owners_are_told_what_they_have_and_had() {
        let kind = KindName::new("visitor").unwrap();
        let before = of(r#"[{"pattern": "a.b", "to": "x/y"}, {"pattern": "c", "to": "x/y"}]"#);
        let now = of(
            r#"[{"pattern": "c", "to": "x/z"}, {"pattern": "c.>", "to": "x/z"},
                {"pattern": "*.e", "to": "x/z"}]"#,
        );
        let told = to_tell(&kind, &before, &now);
        let told: Vec<_> = told
            .iter()
            .map(|(owner, payload)| {
                let declared = Declare::decode(payload.as_wit()).unwrap();
                assert_eq!(declared.kind, "visitor");
                let count = declared.subscriptions.len();
                (owner.as_str().to_owned(), count)
            })
            .collect();
        let expected = [("topic/.root", 1), ("topic/a", 0), ("topic/c", 2)];
        assert_eq!(
            told,
            expected.map(|(owner, count)| (owner.to_owned(), count))
        );
        assert!(to_tell(&kind, &KindSubscriptions::default(), &of("")).is_empty());
    }
}

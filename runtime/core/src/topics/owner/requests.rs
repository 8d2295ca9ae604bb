//! What others want of an owner.

use std::sync::Arc;

use phoenix_wit::{ContentType, Payload};
use smol_str::SmolStr;

use super::event::Event;
use super::queues::QueueName;
use super::root::{ENTER, Entered, MAX_RELAYS, ROOTED};
use super::store::Full;
use super::table::{Behind, Flow, Identity, MAX_SUBSCRIPTIONS, Subscription, Who};
use super::{Out, Owner};
use crate::program::Outcome;
use crate::topics::wire::{
    self, BadRequest, Configure, Declare, Declared, Form, Gap, List, Listing, MAX_LISTED, Publish,
    Published, Replay, Subscribe, Subscribed, Unsubscribe, Unsubscribed, method, space_of,
    space_of_pattern,
};
use crate::topics::{TopicName, TopicPattern};
use crate::{AgentId, KindName};

/// Most kinds that may declare subscriptions at one owner.
pub(super) const MAX_DECLARING: usize = 4_096;

/// A message to an owner.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    /// The turn's number, by which it is answered later.
    pub(super) number: u64,
    /// Milliseconds since 1970-01-01 UTC.
    pub(super) now: u64,
    pub(super) source: &'a str,
    pub(super) method: &'a str,
    pub(super) payload: Payload<'a>,
    pub(super) is_asked: bool,
}

/// Why a request was not done.
pub(super) enum Refused {
    Bad(BadRequest),
    Full(Full),
    /// A word for programs, and a sentence.
    For(&'static str, String),
    /// It is put again later.
    Later,
}

impl From<BadRequest> for Refused {
    fn from(bad: BadRequest) -> Self {
        Self::Bad(bad)
    }
}

impl From<Full> for Refused {
    fn from(full: Full) -> Self {
        Self::Full(full)
    }
}

impl Refused {
    fn outcome(self) -> Outcome {
        match self {
            Self::Bad(bad) => Outcome::failed(BadRequest::CODE, bad.to_string()),
            Self::Full(Full { what, most }) => {
                let text = format!("the owner has {what} up to its bound, {most}");
                Outcome::failed("full", text)
            }
            Self::For(code, text) => Outcome::failed(code, text),
            Self::Later => Outcome::Deferred,
        }
    }
}

impl Request<'_> {
    /// Who it is from as a subscriber: an agent for itself, or an operator for others.
    fn who(&self) -> Result<Who, Refused> {
        if self.is_operator() {
            return Ok(Who::Operator);
        }
        let id = AgentId::new(self.source);
        id.map(Who::Agent)
            .map_err(|bad| Refused::For("bad-request", bad.to_string()))
    }

    /// Whether it is from a client or the node.
    fn is_operator(&self) -> bool {
        self.source.starts_with("client/") || self.source.starts_with("sys/")
    }

    fn of_operator(&self) -> Result<(), Refused> {
        if self.is_operator() {
            return Ok(());
        }
        let text = format!(
            "`{}` is for clients and the node, not for agents such as {}",
            self.method, self.source
        );
        Err(Refused::For("forbidden", text))
    }

    pub(super) fn answer<T: serde::Serialize>(&self, value: &T) -> Outcome {
        if !self.is_asked {
            return Outcome::DONE;
        }
        let (content_type, bytes) = wire::encode(self.payload.content_type, value);
        Outcome::Ok(crate::Payload {
            content_type,
            bytes: bytes.into(),
        })
    }
}

impl Owner {
    /// Does what a message wants.
    pub(super) fn request(&mut self, request: Request<'_>, out: &mut dyn Out) -> Outcome {
        let changes = [method::SUBSCRIBE, method::UNSUBSCRIBE, method::DECLARE];
        let is_busy = self.root.relays.len() >= MAX_RELAYS && changes.contains(&request.method);
        if self.root.state != Entered::Yes || is_busy {
            return Outcome::Deferred;
        }
        let done = match request.method {
            ENTER => self.entered(request),
            ROOTED => self.rooted(request, out),
            method::PUBLISH => self.publish(request, out),
            method::SUBSCRIBE => self.subscribe(request, out),
            method::UNSUBSCRIBE => self.unsubscribe(request, out),
            method::DECLARE => self.declare(request, out),
            method::CONFIGURE => self.configure(request),
            method::READ => self.read(request, out),
            method::LIST => self.list(request),
            method::SUBSCRIPTIONS => self.subscriptions(request, out),
            other => {
                let text = format!(
                    "an owner of topics has no `{}`: it has publish, subscribe, unsubscribe, \
                     declare, configure, read, list and subscriptions",
                    crate::id::shown(other)
                );
                Err(Refused::For("no-such-handler", text))
            }
        };
        done.unwrap_or_else(Refused::outcome)
    }

    fn is_own_topic(&self, topic: &TopicName) -> Result<(), Refused> {
        if space_of(topic) == self.space && !self.is_root() {
            return Ok(());
        }
        let owner = wire::owner_of_topic(topic);
        let text = format!("`{topic}` is not of this space: it belongs to {owner}");
        Err(Refused::For("wrong-owner", text))
    }

    pub(super) fn is_own_pattern(&self, pattern: &TopicPattern) -> Result<(), Refused> {
        let is_own = match space_of_pattern(pattern) {
            Some(space) => space == self.space,
            None => self.is_root(),
        };
        if is_own {
            return Ok(());
        }
        let owner = wire::owner_of_pattern(pattern);
        let text = format!("`{pattern}` is not of this space: it belongs to {owner}");
        Err(Refused::For("wrong-owner", text))
    }

    fn publish(&mut self, request: Request<'_>, out: &mut dyn Out) -> Result<Outcome, Refused> {
        if self.is_behind() {
            return Err(Refused::Later);
        }
        let (said, topic) = Publish::decode(request.payload)?;
        self.is_own_topic(&topic)?;
        let expires = |ttl| self.time.saturating_add(ttl);
        let event = Event {
            number: self.number + 1,
            offset: 0,
            time: self.time,
            expires: said.ttl_ms.map_or(0, expires),
            publisher: request.source.into(),
            event_type: said.event_type.as_deref().map(SmolStr::from),
            key: said.key.as_deref().map(SmolStr::from),
            attributes: said.attributes,
            data: crate::Payload {
                content_type: said.data.content_type,
                bytes: said.data.bytes.into(),
            },
            topic,
        };
        let event = self
            .store
            .push(event, said.retain, self.bounds.log_bytes / 2)?;
        self.number = event.number;
        let matched = self.table.index.matches(&event.topic).len()
            + self.queues.index.matches(&event.topic).len();
        self.wake_reads(&event, out);
        self.pump(request.now, out);
        Ok(request.answer(&Published {
            topic: event.topic.as_str().to_owned(),
            epoch: self.epoch,
            number: event.number,
            offset: event.log_offset(),
            matched: matched as u64,
        }))
    }

    fn subscribe(&mut self, request: Request<'_>, out: &mut dyn Out) -> Result<Outcome, Refused> {
        let said = Subscribe::decode(request.payload)?;
        let who = request.who()?;
        if let (Who::Agent(id), Some(to)) = (&who, &said.to)
            && id.as_str() != to
        {
            let text = format!("{id} subscribes itself, not `{}`", crate::id::shown(to));
            return Err(Refused::For("forbidden", text));
        }
        if who == Who::Operator && said.to.is_none() {
            let why = "say whom the events go to: write an agent or a template such as \
                       visitor/{data.ip}";
            return Err(BadRequest::field("to", why).into());
        }
        let name = said.name();
        let (_, from) = self.set_subscription(false, who, said, request.now)?;
        self.pump(request.now, out);
        let is_root = self.is_root();
        Ok(request.answer(&Subscribed {
            name,
            epoch: (!is_root).then_some(self.epoch),
            from: (!is_root).then_some(from),
        }))
    }

    /// Begins a subscription, or goes on with it on other terms: whether something is other
    /// than before, and the first event it may get.
    pub(super) fn set_subscription(
        &mut self,
        is_rooted: bool,
        who: Who,
        said: Subscribe,
        now: u64,
    ) -> Result<(bool, u64), Refused> {
        let pattern = said.check()?;
        if !is_rooted {
            self.is_own_pattern(&pattern)?;
        }
        let name = said.name();
        let identity = Identity {
            is_rooted,
            who,
            name: (name != said.pattern).then(|| Arc::from(name)),
        };
        let (replay, form) = (said.replay, said.form);
        let mut said = said;
        if form.is_none() && said.to.as_ref().is_some_and(|to| to.contains('{')) {
            said.form = Some(Form::Data);
        }
        let terms = self.table.terms(said)?;
        let known = self.table.find(&identity, pattern.as_str());
        if let Some(group) = &terms.said.group {
            let name = QueueName {
                is_rooted,
                pattern: pattern.clone(),
                group: group.as_str().into(),
            };
            self.check_member(&name, terms.said.filter.as_deref(), known)
                .map_err(|why| BadRequest::field("group", why))?;
        }
        if let Some(slot) = known
            && let Some(it) = self.table.get(slot)
            && it.pattern == pattern
            && it.terms.said.group == terms.said.group
            && replay.is_none()
        {
            let (is_other, since) = (it.terms.said != terms.said, it.since);
            if is_other {
                self.table.set_terms(slot, terms);
                self.join(slot);
                self.relay_set(slot, None);
            }
            return Ok((is_other, since));
        }
        let full = |what, most| Full { what, most };
        if known.is_none() && self.table.len() >= MAX_SUBSCRIPTIONS {
            return Err(full("subscriptions", MAX_SUBSCRIPTIONS).into());
        }
        let most = self.bounds.subscription_bytes;
        if known.is_none() && self.table.bytes() >= most {
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            return Err(full("bytes of subscriptions", most).into());
        }
        let (since, mut flow) = self.place(&pattern, replay.unwrap_or_default(), now)?;
        if self.root.is_anew {
            flow.get_or_insert_default().is_new_life = true;
        }
        if let Some(slot) = known {
            self.end_subscription(slot);
        }
        self.table.serial += 1;
        let serial = self.table.serial;
        let slot = self.table.next_slot();
        self.table.insert(
            slot,
            Subscription {
                identity,
                pattern,
                terms,
                serial,
                since,
                sent: 0,
                filtered: 0,
                flow,
            },
        );
        self.join(slot);
        self.relay_set(slot, replay);
        Ok((true, since))
    }

    /// Where a new subscription begins.
    fn place(
        &mut self,
        pattern: &TopicPattern,
        replay: Replay,
        now: u64,
    ) -> Result<(u64, Option<Box<Flow>>), Refused> {
        let new = self.number + 1;
        if replay != Replay::New {
            let gone = self.store.trim_aged(pattern, now, self.fan.number);
            self.lose(gone);
        }
        let mut gap = None;
        let since = match replay {
            Replay::New => {
                let behind = Some(Behind::Retained(None));
                let flow = self.store.has_retained().then(|| Flow {
                    behind,
                    joined: self.number,
                    ..Flow::default()
                });
                return Ok((new, flow.map(Box::new)));
            }
            Replay::All => 1,
            Replay::Last(count) => self.store.last(pattern, count).unwrap_or(new),
            Replay::Since(time) => {
                let gone = self.store.gone_since(pattern, time);
                gap = gone.map(|to| Gap { from: 1, to });
                self.store.since(time).unwrap_or(new)
            }
            Replay::From(offset) => {
                let topic = pattern.only().ok_or_else(|| {
                    BadRequest::field("replay", "an offset is one topic's, without wildcards")
                })?;
                let at = self.store.at_offset(&topic, offset).map_err(|next| {
                    let why = match next {
                        None => format!("`{topic}` has no log: configure one, or use `new`"),
                        Some(next) => format!(
                            "offset {offset} is beyond the end of `{topic}`: the next is {next}"
                        ),
                    };
                    BadRequest::field("replay", why)
                })?;
                let since = at.0.unwrap_or(new);
                gap = (at.1).then_some(Gap {
                    from: 1,
                    to: since - 1,
                });
                since
            }
        };
        let behind = Some(Behind::At(since));
        let flow = Flow {
            behind,
            gap,
            joined: self.number,
            ..Flow::default()
        };
        Ok((since, Some(Box::new(flow))))
    }

    fn unsubscribe(&mut self, request: Request<'_>, out: &mut dyn Out) -> Result<Outcome, Refused> {
        let said = Unsubscribe::decode(request.payload)?;
        let identity = Identity {
            is_rooted: false,
            who: request.who()?,
            name: Some(said.name.into()),
        };
        let slot = self.table.find(&identity, "");
        let was = slot.is_some_and(|slot| self.end_subscription(slot));
        self.pump(request.now, out);
        Ok(request.answer(&Unsubscribed { was }))
    }

    fn declare(&mut self, request: Request<'_>, out: &mut dyn Out) -> Result<Outcome, Refused> {
        request.of_operator()?;
        let said = Declare::decode(request.payload)?;
        let bad = |bad: crate::BadAgentId| BadRequest::field("kind", bad.to_string());
        let kind = KindName::new(&said.kind).map_err(bad)?;
        let known = self.declared.get(&kind).copied();
        if known.is_some_and(|known| known > said.version) {
            return Ok(request.answer(&Declared { set: 0, ended: 0 }));
        }
        if known.is_none() && self.declared.len() == MAX_DECLARING {
            let (what, most) = ("kinds that declare subscriptions", MAX_DECLARING);
            return Err(Full { what, most }.into());
        }
        // All or none: each is looked at before the first is set.
        for subscription in &said.subscriptions {
            self.is_own_pattern(&subscription.check()?)?;
            self.table.terms(subscription.clone())?;
        }
        let names: Vec<String> = said.subscriptions.iter().map(Subscribe::name).collect();
        let who = Who::Kind(kind.clone());
        let is_over = |it: &Subscription| {
            it.identity.who == who
                && !it.identity.is_rooted
                && !names.iter().any(|name| name == it.name())
        };
        let over: Vec<_> = (self.table.iter())
            .filter(|(_, it)| is_over(it))
            .map(|(slot, _)| slot)
            .collect();
        let ended = over.len() as u64;
        let mut set = 0;
        for mut subscription in said.subscriptions {
            // Deployed once more it goes on where it is.
            let identity = Identity {
                is_rooted: false,
                who: who.clone(),
                name: Some(subscription.name().into()),
            };
            if self.table.find(&identity, "").is_some() {
                subscription.replay = None;
            }
            let (is_other, _) =
                self.set_subscription(false, who.clone(), subscription, request.now)?;
            set += u64::from(is_other);
        }
        for slot in over {
            self.end_subscription(slot);
        }
        self.declared.insert(kind, said.version);
        self.pump(request.now, out);
        Ok(request.answer(&Declared { set, ended }))
    }

    fn configure(&mut self, request: Request<'_>) -> Result<Outcome, Refused> {
        request.of_operator()?;
        let (said, pattern) = Configure::decode(request.payload)?;
        if space_of_pattern(&pattern).is_none() {
            let why = format!("`{pattern}` begins with a wildcard: logs are a space's, so name it");
            return Err(BadRequest::field("pattern", why).into());
        }
        self.is_own_pattern(&pattern)?;
        self.store.configure(&said, pattern)?;
        Ok(Outcome::DONE)
    }

    fn list(&mut self, request: Request<'_>) -> Result<Outcome, Refused> {
        let said = List::decode(request.payload)?;
        let (after, most) = (said.after.as_deref(), MAX_LISTED as usize);
        let (topics, more) = self.store.list(after, most);
        let (spaces, more_spaces) = self.list_spaces(after, most);
        Ok(request.answer(&Listing {
            space: self.space.clone(),
            epoch: self.epoch,
            number: self.number,
            subscriptions: self.table.len() as u64,
            behind: (self.table.behind() + self.queues.behind()) as u64,
            topics,
            spaces,
            more: more || more_spaces,
            counts: self.counts,
        }))
    }
}

/// An answer in the form its question had.
pub(super) fn encoded<T: serde::Serialize>(
    content_type: ContentType,
    value: &T,
) -> (ContentType, Vec<u8>) {
    wire::encode(content_type, value)
}

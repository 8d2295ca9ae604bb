//! Patterns that begin with a wildcard: the root keeps them for the owners of all spaces.
//!
//! ```text
//!   owner of a space                                root
//!     begins ── enter(space, epoch, after) ──────────►  notes the space
//!            ◄── version, so many subscriptions ──────  again until there are no more
//!     takes other messages from here on
//!            ◄── rooted(version, what changed) ───────  to each space it knows
//! ```
//!
//! An owner puts off everything else until it has entered, so nothing is published past a
//! subscription that the root had before. A change is told to the spaces that are known,
//! in order; of those that are part of what it entered with, an owner makes nothing, by
//! their versions, and those that came while it entered change nothing twice.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use phoenix_wit::{ContentType, Payload, Reply, SendOptions};
use serde::{Deserialize, Serialize};

use super::requests::{Refused, Request};
use super::sends::{KEPT_BYTES, KEPT_MESSAGES};
use super::store::Full;
use super::table::{Identity, Slot, Subscription, Who};
use super::{ENTER_AGAIN, Out, Owner};
use crate::program::Outcome;
use crate::topics::wire::{self, BadRequest, KIND, ROOT, Subscribe};
use crate::{AgentId, KindName};

/// Most spaces that the root knows.
pub const MAX_SPACES: usize = 65_536;
/// Most changes that the root has not told all spaces yet. At the bound it takes no more
/// until it has.
pub const MAX_RELAYS: usize = 1_024;

/// How an owner asks to enter, and how it is told of changes.
pub(super) const ENTER: &str = "enter";
pub(super) const ROOTED: &str = "rooted";
/// How long an owner waits for the root's answer before it asks again, milliseconds.
const ENTER_DEADLINE_MS: u32 = 10_000;
/// How long it waits after it could not be asked.
const ENTER_AGAIN_MS: u64 = 500;
/// Most subscriptions of one answer, and most bytes of them; one is always taken.
const PAGE: usize = 500;
const PAGE_BYTES: usize = 256 << 10;

/// What an owner and the root know of each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rooting {
    pub(super) state: Entered,
    /// The last change: at the root the last there was, at an owner the last it knows.
    pub(super) version: u64,
    /// Of an owner: whether its space had one before, of another epoch.
    pub(super) is_anew: bool,
    /// Asks so far.
    pub(super) asks: u64,
    /// Of the root: the spaces it knows, with their owners' epochs.
    pub(super) spaces: BTreeMap<String, u64>,
    /// Of the root: changes that not all spaces have been told.
    pub(super) relays: VecDeque<Relay>,
}

/// Whether an owner has entered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Entered {
    /// It has not asked; or it is to ask again for what follows a slot.
    #[default]
    No,
    /// It has asked for what follows a slot.
    Asking(Option<Slot>),
    /// It has.
    Yes,
}

/// A change on its way to the spaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Relay {
    /// A [`Rooted`].
    pub(super) bytes: Vec<u8>,
    /// The last space that was told.
    pub(super) after: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Enter {
    epoch: u64,
    after: Option<Slot>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    version: u64,
    is_anew: bool,
    subscriptions: Vec<Kept>,
    /// The slot after which there are more.
    more: Option<Slot>,
}

/// A change.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rooted {
    version: u64,
    set: Option<Kept>,
    ended: Option<Ended>,
}

/// A subscription that the root keeps.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    whose: Whose,
    terms: Subscribe,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ended {
    whose: Whose,
    name: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Whose {
    Agent(String),
    Operator,
    Kind(String),
}

impl Whose {
    fn of(who: &Who) -> Self {
        match who {
            Who::Agent(id) => Self::Agent(id.to_string()),
            Who::Operator => Self::Operator,
            Who::Kind(kind) => Self::Kind(kind.to_string()),
        }
    }

    fn who(self) -> Result<Who, BadRequest> {
        let bad = |bad: crate::BadAgentId| BadRequest::field("whose", bad.to_string());
        Ok(match self {
            Self::Agent(id) => Who::Agent(AgentId::new(&id).map_err(bad)?),
            Self::Operator => Who::Operator,
            Self::Kind(kind) => Who::Kind(KindName::new(&kind).map_err(bad)?),
        })
    }
}

impl Rooting {
    pub(super) fn bytes(&self) -> u64 {
        let relays = self.relays.iter().map(|it| it.bytes.len() as u64 + 64);
        128 * self.spaces.len() as u64 + relays.sum::<u64>()
    }
}

impl Owner {
    /// Asks the root, if it has to.
    pub(super) fn enter(&mut self, out: &mut dyn Out) {
        if self.is_root() {
            self.root.state = Entered::Yes;
        }
        if self.root.state == Entered::No {
            self.ask_root(None, out);
        }
    }

    fn ask_root(&mut self, after: Option<Slot>, out: &mut dyn Out) {
        let question = Enter {
            epoch: self.epoch,
            after,
        };
        let (content_type, bytes) = wire::encode(ContentType::MessagePack, &question);
        let payload = Payload {
            content_type,
            bytes: &bytes,
        };
        self.root.asks += 1;
        self.root.state = Entered::Asking(after);
        out.ask(
            self.root.asks,
            &root_id(),
            ENTER,
            payload,
            ENTER_DEADLINE_MS,
        );
    }

    /// An ask has ended.
    pub(super) fn root_answered(&mut self, ask: u64, reply: Reply<'_>, out: &mut dyn Out) {
        let Entered::Asking(_) = self.root.state else {
            return;
        };
        if ask != self.root.asks {
            return;
        }
        let page = match reply {
            Reply::Ok(payload) => wire::read::<Page>(ENTER, payload).ok(),
            _ => None,
        };
        match page {
            Some(page) => self.take_page(page, out),
            None => out.set_timer(ENTER_AGAIN, ENTER_AGAIN_MS),
        }
    }

    /// The time to ask again has come.
    pub(super) fn enter_again(&mut self, out: &mut dyn Out) {
        if let Entered::Asking(after) = self.root.state {
            self.ask_root(after, out);
        }
    }

    fn take_page(&mut self, page: Page, out: &mut dyn Out) {
        if self.root.state == Entered::Asking(None) {
            self.root.version = page.version;
            self.root.is_anew = page.is_anew;
        }
        for kept in page.subscriptions {
            // The root has checked it; what is refused for want of room is counted.
            if self.set_rooted(kept).is_err() {
                self.counts.missed += 1;
            }
        }
        match page.more {
            Some(after) => self.ask_root(Some(after), out),
            None => self.root.state = Entered::Yes,
        }
    }

    fn set_rooted(&mut self, kept: Kept) -> Result<(), Refused> {
        let Kept { whose, mut terms } = kept;
        let who = whose.who()?;
        let identity = Identity {
            is_rooted: true,
            who: who.clone(),
            name: Some(terms.name().into()),
        };
        // One that is known goes on where it is: it may have come twice.
        if self.table.find(&identity, "").is_some() {
            terms.replay = None;
        }
        self.set_subscription(true, who, terms, self.time)?;
        Ok(())
    }

    /// At an owner: what changed at the root.
    pub(super) fn rooted(
        &mut self,
        request: Request<'_>,
        out: &mut dyn Out,
    ) -> Result<Outcome, Refused> {
        if request.source != root_id().as_str() || self.is_root() {
            return Err(forbidden(request));
        }
        let said: Rooted = wire::read(ROOTED, request.payload)?;
        if said.version <= self.root.version {
            return Ok(Outcome::DONE);
        }
        self.root.version = said.version;
        if let Some(ended) = said.ended {
            let identity = Identity {
                is_rooted: true,
                who: ended.whose.who()?,
                name: Some(ended.name.into()),
            };
            if let Some(slot) = self.table.find(&identity, "") {
                self.end_subscription(slot);
            }
        }
        if let Some(kept) = said.set {
            self.set_rooted(kept)?;
            self.pump(request.now, out);
        }
        Ok(Outcome::DONE)
    }

    /// At the root: an owner enters.
    pub(super) fn entered(&mut self, request: Request<'_>) -> Result<Outcome, Refused> {
        let space = request.source.strip_prefix(KIND);
        let space = space.and_then(|rest| rest.strip_prefix('/'));
        let Some(space) = space.filter(|space| self.is_root() && *space != ROOT) else {
            return Err(forbidden(request));
        };
        let said: Enter = wire::read(ENTER, request.payload)?;
        let known = self.root.spaces.get(space).copied();
        if known.is_none() && self.root.spaces.len() >= MAX_SPACES {
            let (what, most) = ("spaces", MAX_SPACES);
            return Err(Full { what, most }.into());
        }
        self.root.spaces.insert(space.to_owned(), said.epoch);
        let from = said.after.map_or(0, |after| after.saturating_add(1));
        let (mut subscriptions, mut more, mut bytes, mut last) = (Vec::new(), None, 0, None);
        for (slot, it) in self.table.from(from) {
            let kept = kept(it);
            bytes += rmp_serde::to_vec_named(&kept).map_or(0, |bytes| bytes.len());
            if subscriptions.len() == PAGE || !subscriptions.is_empty() && bytes > PAGE_BYTES {
                more = last;
                break;
            }
            subscriptions.push(kept);
            last = Some(slot);
        }
        Ok(request.answer(&Page {
            version: self.root.version,
            is_anew: known.is_some_and(|known| known != said.epoch),
            subscriptions,
            more,
        }))
    }

    /// At the root: notes that a subscription is other than before.
    pub(super) fn relay_set(&mut self, slot: Slot, replay: Option<wire::Replay>) {
        if !self.is_root() {
            return;
        }
        let Some(it) = self.table.get(slot) else {
            return;
        };
        let mut kept = kept(it);
        kept.terms.replay = replay;
        self.relay(Some(kept), None);
    }

    /// At the root: notes that a subscription has ended.
    pub(super) fn relay_end(&mut self, it: &Subscription) {
        if !self.is_root() {
            return;
        }
        let ended = Ended {
            whose: Whose::of(&it.identity.who),
            name: it.name().to_owned(),
        };
        self.relay(None, Some(ended));
    }

    fn relay(&mut self, set: Option<Kept>, ended: Option<Ended>) {
        self.root.version += 1;
        let change = Rooted {
            version: self.root.version,
            set,
            ended,
        };
        let (_, bytes) = wire::encode(ContentType::MessagePack, &change);
        self.root.relays.push_back(Relay { bytes, after: None });
    }

    /// Tells spaces what changed; whether all have been told.
    pub(super) fn tell_spaces(&mut self, out: &mut dyn Out) -> bool {
        while let Some(relay) = self.root.relays.front_mut() {
            let left = out
                .bytes_left()
                .saturating_sub(KEPT_BYTES + relay.bytes.len());
            let most = (left / (2 * crate::id::MAX_ID))
                .min(out.messages_left().saturating_sub(KEPT_MESSAGES));
            let after = relay.after.as_ref();
            let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.clone()));
            let mut next = self.root.spaces.range((from, Bound::Unbounded));
            let told: Vec<&String> = next.by_ref().take(most).map(|(space, _)| space).collect();
            let is_done = next.next().is_none();
            let to: Vec<AgentId> = told.iter().filter_map(|it| owner_of(it)).collect();
            if !to.is_empty() {
                let payload = Payload::message_pack(&relay.bytes);
                let options = SendOptions::default().to_bytes();
                out.multicast(&to, ROOTED, payload, &options, None);
            }
            if !is_done {
                if let Some(last) = told.last() {
                    relay.after = Some((*last).clone());
                }
                return false;
            }
            self.root.relays.pop_front();
        }
        true
    }

    /// At the root: spaces after one, and whether there are more.
    pub(super) fn list_spaces(&self, after: Option<&str>, most: usize) -> (Vec<String>, bool) {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.to_owned()));
        let mut spaces = self.root.spaces.range((from, Bound::Unbounded));
        let listed = spaces.by_ref().take(most);
        let listed = listed.map(|(space, _)| space.clone()).collect();
        (listed, spaces.next().is_some())
    }
}

fn kept(it: &Subscription) -> Kept {
    let mut terms = it.terms.said.clone();
    it.pattern.as_str().clone_into(&mut terms.pattern);
    terms.name = Some(it.name().to_owned());
    Kept {
        whose: Whose::of(&it.identity.who),
        terms,
    }
}

fn root_id() -> AgentId {
    owner_of(ROOT).unwrap_or_else(|| unreachable!("the root's key is the key of an agent"))
}

fn owner_of(space: &str) -> Option<AgentId> {
    AgentId::new(&format!("{KIND}/{space}")).ok()
}

fn forbidden(request: Request<'_>) -> Refused {
    let text = format!("`{}` is between owners of topics", request.method);
    Refused::For("forbidden", text)
}

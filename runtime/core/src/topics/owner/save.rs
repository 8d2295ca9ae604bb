//! An owner as bytes.
//!
//! Numbers are LEB128, texts and bytes have their length before them. The same state is
//! the same bytes: everything that has no order of its own is in that of its keys. What
//! follows from the rest is not in it. A reader takes any bytes, checks every length
//! against what is left, and refuses what could not have been written.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use phoenix_wit::ContentType;

use super::event::Event;
use super::fan_out::{Fan, Sent};
use super::queues::{MAX_QUEUES, Queue, QueueId, QueueName, Queues, name_of};
use super::reads::{MAX_WAITING_READS, Reads, Waiting};
use super::requests::MAX_DECLARING;
use super::root::{Entered, MAX_SPACES, Relay, Rooting};
use super::store::Store;
use super::table::{Behind, Flow, Identity, MAX_SUBSCRIPTIONS, Slot, Subscription, Table, Who};
use super::tally::{Tally, load_count};
use super::terms::Terms;
use super::{MAX_BACKLOG, Owner};
use crate::snapshot::SnapshotError;
use crate::snapshot::codec::{Reader, Writer};
use crate::topics::group::Group;
use crate::topics::wire::{Counts, Gap, MAX_READ, ROOT, Subscribe};
use crate::topics::{TopicName, TopicPattern};
use crate::{AgentId, KindName};

/// Of a subscription: the root keeps it.
const ROOTED: u8 = 1;
/// It has a name of its own.
const NAMED: u8 = 1 << 1;
/// It has a flow.
const FLOW: u8 = 1 << 2;
/// Whose it is.
const WHO: u8 = 3 << 3;
const WHO_SHIFT: u32 = 3;

/// Of a flow: where it is behind.
const BEHIND_RETAINED: u8 = 1;
const BEHIND_RETAINED_AFTER: u8 = 2;
const BEHIND_AT: u8 = 3;
const BEHIND: u8 = 3;
const GAP: u8 = 1 << 2;
const NEW_LIFE: u8 = 1 << 3;
const TALLY: u8 = 1 << 4;

const INVALID: fn(&'static str) -> SnapshotError = SnapshotError::Invalid;

impl Owner {
    pub(super) fn save(&self, out: &mut Vec<u8>) {
        let out = &mut Writer(out);
        out.text(&self.space);
        for number in [
            self.epoch,
            self.number,
            self.time,
            self.fan.number,
            self.fan.slot.into(),
            u64::from(self.fan.is_at_queues),
            self.behind_at.into(),
            u64::from(self.is_pump_set),
        ] {
            out.number(number);
        }
        for count in counts(&self.counts) {
            out.number(count);
        }
        self.store.save(out);
        save_table(&self.table, out);
        self.save_queues(out);
        out.number(self.last_token);
        out.number(self.tokens.len() as u64);
        for (token, sent) in &self.tokens {
            out.number(*token);
            let (kind, place, serial, number) = match *sent {
                Sent::One {
                    slot,
                    serial,
                    through,
                } => (0, slot, serial, through),
                Sent::Queue {
                    queue,
                    serial,
                    number,
                } => (1, queue, serial, number),
            };
            out.u8(kind);
            out.number(place.into());
            out.number(serial);
            out.number(number);
        }
        out.number(self.declared.len() as u64);
        for (kind, version) in &self.declared {
            out.text(kind.as_str());
            out.number(*version);
        }
        out.number(self.reads.timer_at);
        out.number(self.reads.waiting.len() as u64);
        for (request, it) in &self.reads.waiting {
            out.number(*request);
            out.text(it.pattern.as_str());
            out.number(it.after);
            out.number(it.max.into());
            out.number(it.until);
            out.u8(it.content_type as u8);
        }
        save_root(&self.root, out);
    }

    /// Reads what [`Owner::save`] wrote.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in a sentence.
    pub(super) fn load(saved: &[u8]) -> Result<Self, String> {
        let whole = Bytes::copy_from_slice(saved);
        let mut from = Reader::new(&whole, whole.len());
        let owner = Self::read_saved(&mut from).map_err(|error| {
            let error = error.to_string().replace("snapshot", "owner's state");
            format!("topics: {error}")
        })?;
        if !from.is_empty() {
            return Err("topics: bytes are left after the owner's state".to_owned());
        }
        // A number can be written in more bytes than it needs, which no owner does.
        let mut again = Vec::with_capacity(saved.len());
        owner.save(&mut again);
        if again != saved {
            return Err("topics: the owner's state is not as it would be written".to_owned());
        }
        Ok(owner)
    }

    fn read_saved(from: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let space = from.text("space")?.to_owned();
        let epoch = from.number("epoch")?;
        let is_space = space == ROOT
            || TopicName::new(&space).is_ok_and(|it| !space.contains('.') && it.as_str() == space);
        if (epoch == 0) != space.is_empty() || epoch != 0 && !is_space {
            return Err(INVALID("space"));
        }
        let number = from.number("number")?;
        let time = from.number("time")?;
        let fan = Fan {
            number: from.number("place")?,
            slot: slot(from)?,
            is_at_queues: flag(from)?,
        };
        // What is before the last is offered, or in the backlog.
        let is_near = number
            .checked_add(1)
            .and_then(|next| next.checked_sub(fan.number));
        if is_near.is_none_or(|it| it > MAX_BACKLOG) || fan.number == 0 || number >> 62 != 0 {
            return Err(INVALID("place"));
        }
        let behind_at = slot(from)?;
        let is_pump_set = flag(from)?;
        let mut counted = Counts::default();
        for count in counts_mut(&mut counted) {
            *count = from.number("counts")?;
        }
        let store = Store::load(from, number)?;
        let table = load_table(from, number)?;
        let (queues, retrying) = load_queues(from, number, &table, &store)?;
        let last_token = from.number("token")?;
        let tokens = load_tokens(from, last_token)?;
        let declared = load_declared(from)?;
        let reads = load_reads(from, number)?;
        let root = load_root(from)?;
        Ok(Self {
            space,
            epoch,
            number,
            time,
            store,
            table,
            queues,
            retrying,
            fan,
            behind_at,
            is_pump_set,
            tokens,
            last_token,
            declared,
            reads,
            root,
            counts: counted,
            ..Self::default()
        })
    }
}

fn counts(it: &Counts) -> [u64; 9] {
    let mut it = *it;
    counts_mut(&mut it).map(|count| *count)
}

fn counts_mut(it: &mut Counts) -> [&mut u64; 9] {
    let Counts {
        sent,
        not_applied,
        filter_failed,
        no_receiver,
        transform_failed,
        dropped,
        missed,
        redelivered,
        given_up,
    } = it;
    [
        sent,
        not_applied,
        filter_failed,
        no_receiver,
        transform_failed,
        dropped,
        missed,
        redelivered,
        given_up,
    ]
}

fn flag(from: &mut Reader<'_>) -> Result<bool, SnapshotError> {
    match from.u8("flag")? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(INVALID("flag")),
    }
}

fn slot(from: &mut Reader<'_>) -> Result<Slot, SnapshotError> {
    Slot::try_from(from.number("slot")?).map_err(|_| INVALID("slot"))
}

fn load_tokens(from: &mut Reader<'_>, last: u64) -> Result<BTreeMap<u64, Sent>, SnapshotError> {
    let mut tokens = BTreeMap::new();
    for _ in 0..from.count(5, "tokens")? {
        let token = from.number("token")?;
        let after = tokens.last_key_value().map_or(0, |(token, _)| *token);
        if token <= after || token > last {
            return Err(INVALID("token"));
        }
        let kind = from.u8("token")?;
        let place = slot(from)?;
        let (serial, number) = (from.number("token")?, from.number("token")?);
        let sent = match kind {
            0 => Sent::One {
                slot: place,
                serial,
                through: number,
            },
            1 => Sent::Queue {
                queue: place,
                serial,
                number,
            },
            _ => return Err(INVALID("token")),
        };
        tokens.insert(token, sent);
    }
    Ok(tokens)
}

fn load_declared(from: &mut Reader<'_>) -> Result<BTreeMap<KindName, u64>, SnapshotError> {
    let mut declared = BTreeMap::new();
    let count = from.count(2, "kinds")?;
    if count > MAX_DECLARING {
        return Err(INVALID("kinds"));
    }
    for _ in 0..count {
        let kind = kind(from)?;
        if declared
            .last_key_value()
            .is_some_and(|(last, _)| *last >= kind)
        {
            return Err(INVALID("kinds"));
        }
        declared.insert(kind, from.number("version")?);
    }
    Ok(declared)
}

fn kind(from: &mut Reader<'_>) -> Result<KindName, SnapshotError> {
    KindName::new(from.text("kind")?).map_err(|_| INVALID("kind"))
}

fn load_reads(from: &mut Reader<'_>, number: u64) -> Result<Reads, SnapshotError> {
    let mut reads = Reads {
        timer_at: from.number("timer")?,
        waiting: BTreeMap::new(),
    };
    let count = from.count(6, "reads")?;
    if count > MAX_WAITING_READS {
        return Err(INVALID("reads"));
    }
    for _ in 0..count {
        let request = from.number("read")?;
        let last = reads.waiting.last_key_value();
        if last.is_some_and(|(last, _)| *last >= request) {
            return Err(INVALID("reads"));
        }
        let waiting = Waiting {
            pattern: pattern(from)?,
            after: from.number("read")?,
            max: u32::try_from(from.number("read")?).map_err(|_| INVALID("read"))?,
            until: from.number("read")?,
            content_type: match from.u8("read")? {
                0 => ContentType::None,
                1 => ContentType::MessagePack,
                2 => ContentType::Json,
                _ => return Err(INVALID("read")),
            },
        };
        if waiting.after > number || waiting.max > MAX_READ {
            return Err(INVALID("read"));
        }
        reads.waiting.insert(request, waiting);
    }
    Ok(reads)
}

fn pattern(from: &mut Reader<'_>) -> Result<TopicPattern, SnapshotError> {
    TopicPattern::new(from.text("pattern")?).map_err(|_| INVALID("pattern"))
}

fn save_table(table: &Table, out: &mut Writer<'_>) {
    out.number(table.serial);
    let all = table.all_terms();
    out.number(all.len() as u64);
    let mut places = BTreeMap::new();
    for (place, said) in (0_u64..).zip(all) {
        out.bytes(said);
        places.insert(said, place);
    }
    out.number(table.len() as u64);
    for (slot, it) in table.iter() {
        out.number(slot.into());
        let who = match &it.identity.who {
            Who::Agent(_) => 0,
            Who::Operator => 1,
            Who::Kind(_) => 2,
        };
        let flow = it.flow.as_deref();
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let flags = flag(it.identity.is_rooted, ROOTED)
            | flag(it.identity.name.is_some(), NAMED)
            | flag(flow.is_some(), FLOW);
        out.u8(flags | (who << WHO_SHIFT));
        match &it.identity.who {
            Who::Agent(id) => out.text(id.as_str()),
            Who::Kind(kind) => out.text(kind.as_str()),
            Who::Operator => {}
        }
        if let Some(name) = &it.identity.name {
            out.text(name);
        }
        out.text(it.pattern.as_str());
        let place = places.get(it.terms.key.as_slice());
        out.number(place.copied().unwrap_or_default());
        out.number(it.serial);
        out.number(it.since);
        out.number(it.sent);
        out.number(it.filtered);
        if let Some(flow) = flow {
            save_flow(flow, out);
        }
    }
}

fn save_flow(flow: &Flow, out: &mut Writer<'_>) {
    let behind = match &flow.behind {
        None => 0,
        Some(Behind::Retained(None)) => BEHIND_RETAINED,
        Some(Behind::Retained(Some(_))) => BEHIND_RETAINED_AFTER,
        Some(Behind::At(_)) => BEHIND_AT,
    };
    let gap = if flow.gap.is_some() { GAP } else { 0 };
    let new = if flow.is_new_life { NEW_LIFE } else { 0 };
    let tally = if flow.tally.is_some() { TALLY } else { 0 };
    out.u8(behind | gap | new | tally);
    out.number(flow.sent);
    out.number(flow.ended);
    out.number(flow.joined);
    match &flow.behind {
        Some(Behind::Retained(Some(topic))) => out.text(topic.as_str()),
        Some(Behind::At(number)) => out.number(*number),
        _ => {}
    }
    if let Some(gap) = flow.gap {
        out.number(gap.from);
        out.number(gap.to);
    }
    if let Some(tally) = &flow.tally {
        tally.save(out);
    }
}

fn load_table(from: &mut Reader<'_>, number: u64) -> Result<Table, SnapshotError> {
    let mut table = Table::default();
    table.serial = from.number("serial")?;
    let mut all: Vec<Arc<Terms>> = Vec::new();
    let mut before: Option<Bytes> = None;
    for _ in 0..from.count(2, "terms")? {
        let said = from.bytes("terms")?;
        if before.is_some_and(|before| before >= said) {
            return Err(INVALID("terms"));
        }
        let mut read: Subscribe =
            crate::topics::wire::unpack(&said).map_err(|_| INVALID("terms"))?;
        // Any pattern will do for the check.
        read.pattern = "a".to_owned();
        read.check().map_err(|_| INVALID("terms"))?;
        let terms = Terms::new(read).map_err(|_| INVALID("terms"))?;
        if terms.key != said {
            return Err(INVALID("terms"));
        }
        all.push(Arc::new(terms));
        before = Some(said);
    }
    let count = from.count(8, "subscriptions")?;
    if count > MAX_SUBSCRIPTIONS {
        return Err(INVALID("subscriptions"));
    }
    let mut next: Slot = 0;
    for left in (0..count).rev() {
        let slot = slot(from)?;
        // Each slot that is free was used by one that ended; so many cannot have.
        if slot < next || slot as usize > MAX_SUBSCRIPTIONS - left - 1 {
            return Err(INVALID("slot"));
        }
        let it = load_subscription(from, &all, number, table.serial)?;
        if table.find(&it.identity, it.pattern.as_str()).is_some() {
            return Err(INVALID("subscriptions"));
        }
        table.insert(slot, it);
        next = slot + 1;
    }
    // Terms that nobody has are not written.
    if table.all_terms().len() != all.len() {
        return Err(INVALID("terms"));
    }
    Ok(table)
}

fn load_subscription(
    from: &mut Reader<'_>,
    all: &[Arc<Terms>],
    number: u64,
    last_serial: u64,
) -> Result<Subscription, SnapshotError> {
    let flags = from.u8("subscription")?;
    if flags & !(ROOTED | NAMED | FLOW | WHO) != 0 {
        return Err(INVALID("subscription"));
    }
    let who = match (flags & WHO) >> WHO_SHIFT {
        0 => Who::Agent(AgentId::new(from.text("subscriber")?).map_err(|_| INVALID("subscriber"))?),
        1 => Who::Operator,
        2 => Who::Kind(kind(from)?),
        _ => return Err(INVALID("subscriber")),
    };
    let name = match flags & NAMED {
        0 => None,
        _ => Some(Arc::<str>::from(from.text("name")?)),
    };
    let pattern = pattern(from)?;
    if name.as_deref() == Some(pattern.as_str()) {
        return Err(INVALID("name"));
    }
    let place = usize::try_from(from.number("terms")?).map_err(|_| INVALID("terms"))?;
    let terms = all.get(place).cloned().ok_or(INVALID("terms"))?;
    let serial = from.number("serial")?;
    let since = from.number("subscription")?;
    if serial == 0 || serial > last_serial || since == 0 || since > number + 1 {
        return Err(INVALID("subscription"));
    }
    let (sent, filtered) = (load_count(from)?, load_count(from)?);
    let flow = match flags & FLOW {
        0 => None,
        _ => Some(Box::new(load_flow(from, number)?)),
    };
    Ok(Subscription {
        identity: Identity {
            is_rooted: flags & ROOTED != 0,
            who,
            name,
        },
        pattern,
        terms,
        serial,
        since,
        sent,
        filtered,
        flow,
    })
}

fn load_flow(from: &mut Reader<'_>, number: u64) -> Result<Flow, SnapshotError> {
    let flags = from.u8("flow")?;
    if flags & !(BEHIND | GAP | NEW_LIFE | TALLY) != 0 {
        return Err(INVALID("flow"));
    }
    let (sent, ended) = (from.number("flow")?, from.number("flow")?);
    let joined = from.number("flow")?;
    if ended > sent || sent >> 62 != 0 || joined > number {
        return Err(INVALID("flow"));
    }
    let behind = match flags & BEHIND {
        0 => None,
        BEHIND_RETAINED => Some(Behind::Retained(None)),
        BEHIND_RETAINED_AFTER => {
            let topic = TopicName::new(from.text("topic")?).map_err(|_| INVALID("topic"))?;
            Some(Behind::Retained(Some(topic)))
        }
        _ => {
            let at = from.number("place")?;
            if at == 0 || at > number + 1 {
                return Err(INVALID("place"));
            }
            Some(Behind::At(at))
        }
    };
    let gap = match flags & GAP {
        0 => None,
        _ => Some(Gap {
            from: from.number("gap")?,
            to: from.number("gap")?,
        }),
    };
    let tally = match flags & TALLY {
        0 => None,
        _ => Some(Box::new(Tally::load(from)?)),
    };
    // It is there once something is counted.
    if tally.as_deref() == Some(&Tally::default()) {
        return Err(INVALID("counts"));
    }
    Ok(Flow {
        tally,
        sent,
        ended,
        behind,
        gap,
        joined,
        is_new_life: flags & NEW_LIFE != 0,
    })
}

/// Of a queue group: it is behind; it may send something; it has missed something.
const QUEUE_BEHIND: u8 = 1;
const QUEUE_READY: u8 = 1 << 1;
const QUEUE_GAP: u8 = 1 << 2;
const QUEUE_ROOTED: u8 = 1 << 3;
const QUEUE_RETRYING: u8 = 1 << 4;

impl Owner {
    fn save_queues(&self, out: &mut Writer<'_>) {
        out.number(self.queues.all.len() as u64);
        for (id, queue) in &self.queues.all {
            out.number((*id).into());
            let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
            out.u8(flag(queue.behind.is_some(), QUEUE_BEHIND)
                | flag(queue.is_ready, QUEUE_READY)
                | flag(queue.gap.is_some(), QUEUE_GAP)
                | flag(queue.name.is_rooted, QUEUE_ROOTED)
                | flag(self.retrying.contains(id), QUEUE_RETRYING));
            out.text(queue.name.pattern.as_str());
            out.text(&queue.name.group);
            out.number(queue.serial);
            out.number(queue.since);
            if let Some(at) = queue.behind {
                out.number(at);
            }
            if let Some(gap) = queue.gap {
                out.number(gap.from);
                out.number(gap.to);
            }
            let mut machine = Vec::new();
            // There is no state of one that cannot be written.
            let _ = queue.machine.save(&mut machine);
            out.bytes(&machine);
            out.number(queue.filtered);
            queue.tally.save(out);
            out.number(queue.kept.len() as u64);
            for (number, event) in &queue.kept {
                let is_stored = self.store.get(*number).is_some();
                out.u8(u8::from(is_stored));
                if is_stored {
                    out.number(*number);
                } else {
                    event.save(out);
                }
            }
        }
    }
}

fn load_queues(
    from: &mut Reader<'_>,
    number: u64,
    table: &Table,
    store: &Store,
) -> Result<(Queues, BTreeSet<QueueId>), SnapshotError> {
    let bad = || INVALID("queue group");
    let mut members: BTreeMap<QueueName, BTreeMap<u64, Slot>> = BTreeMap::new();
    for (slot, it) in table.iter() {
        if let Some(name) = name_of(it) {
            members.entry(name).or_default().insert(it.serial, slot);
        }
    }
    let (mut queues, mut retrying) = (Queues::default(), BTreeSet::new());
    let count = from.count(8, "queue groups")?;
    if count > MAX_QUEUES {
        return Err(bad());
    }
    let mut next = 0;
    for left in (0..count).rev() {
        let id = slot(from)?;
        if id < next || id as usize > MAX_QUEUES - left - 1 {
            return Err(bad());
        }
        next = id + 1;
        let flags = from.u8("queue group")?;
        if flags >= 1 << 5 {
            return Err(bad());
        }
        let queue = load_queue(from, flags, number, &mut members, store, table.serial)?;
        if queues.by_name.contains_key(&queue.name) {
            return Err(bad());
        }
        queues.insert(id, queue);
        if flags & QUEUE_RETRYING != 0 {
            retrying.insert(id);
        }
    }
    // Every member has its group.
    if !members.is_empty() {
        return Err(bad());
    }
    Ok((queues, retrying))
}

fn load_queue(
    from: &mut Reader<'_>,
    flags: u8,
    number: u64,
    members: &mut BTreeMap<QueueName, BTreeMap<u64, Slot>>,
    store: &Store,
    last_serial: u64,
) -> Result<Queue, SnapshotError> {
    let bad = || INVALID("queue group");
    let name = QueueName {
        is_rooted: flags & QUEUE_ROOTED != 0,
        pattern: pattern(from)?,
        group: from.text("queue group")?.into(),
    };
    let serial = from.number("queue group")?;
    let since = from.number("queue group")?;
    if serial == 0 || serial > last_serial || since == 0 || since > number + 1 {
        return Err(bad());
    }
    let behind = match flags & QUEUE_BEHIND {
        0 => None,
        _ => Some(from.number("place")?),
    };
    if behind.is_some_and(|at| at == 0 || at > number + 1) {
        return Err(bad());
    }
    let gap = match flags & QUEUE_GAP {
        0 => None,
        _ => Some(Gap {
            from: from.number("gap")?,
            to: from.number("gap")?,
        }),
    };
    let saved = from.bytes("queue group")?;
    let machine = Group::load(&saved).map_err(|_| bad())?;
    let mut again = Vec::new();
    if machine.save(&mut again).is_err() || again != saved {
        return Err(bad());
    }
    let filtered = load_count(from)?;
    let tally = Tally::load(from)?;
    let mut kept = BTreeMap::new();
    for _ in 0..from.count(2, "events under way")? {
        let event = if flag(from)? {
            let number = from.number("event under way")?;
            store.get(number).cloned().ok_or(bad())?
        } else {
            let event = Event::load(from)?;
            if store.get(event.number).is_some() || event.number == 0 || event.number > number {
                return Err(bad());
            }
            Arc::new(event)
        };
        if kept
            .last_key_value()
            .is_some_and(|(last, _)| *last >= event.number)
        {
            return Err(bad());
        }
        kept.insert(event.number, event);
    }
    let members = members.remove(&name).ok_or(bad())?;
    Ok(Queue {
        name,
        serial,
        since,
        behind,
        is_ready: flags & QUEUE_READY != 0,
        gap,
        machine,
        members,
        kept,
        filtered,
        tally,
    })
}

fn save_root(root: &Rooting, out: &mut Writer<'_>) {
    match root.state {
        Entered::No => out.u8(0),
        Entered::Asking(None) => out.u8(1),
        Entered::Asking(Some(after)) => {
            out.u8(2);
            out.number(after.into());
        }
        Entered::Yes => out.u8(3),
    }
    out.number(root.version);
    out.u8(u8::from(root.is_anew));
    out.number(root.asks);
    out.number(root.spaces.len() as u64);
    for (space, epoch) in &root.spaces {
        out.text(space);
        out.number(*epoch);
    }
    out.number(root.relays.len() as u64);
    for relay in &root.relays {
        out.bytes(&relay.bytes);
        out.text(relay.after.as_deref().unwrap_or_default());
    }
}

fn load_root(from: &mut Reader<'_>) -> Result<Rooting, SnapshotError> {
    let state = match from.u8("root")? {
        0 => Entered::No,
        1 => Entered::Asking(None),
        2 => Entered::Asking(Some(slot(from)?)),
        3 => Entered::Yes,
        _ => return Err(INVALID("root")),
    };
    let version = from.number("root")?;
    let is_anew = flag(from)?;
    let asks = from.number("root")?;
    if version >> 62 != 0 || asks >> 62 != 0 {
        return Err(INVALID("root"));
    }
    let mut spaces = BTreeMap::new();
    let count = from.count(2, "spaces")?;
    if count > MAX_SPACES {
        return Err(INVALID("spaces"));
    }
    for _ in 0..count {
        let space = from.text("space")?.to_owned();
        if spaces
            .last_key_value()
            .is_some_and(|(last, _)| *last >= space)
        {
            return Err(INVALID("spaces"));
        }
        spaces.insert(space, from.number("space")?);
    }
    let mut relays = VecDeque::new();
    for _ in 0..from.count(2, "relays")? {
        let bytes = from.bytes("relay")?.to_vec();
        let after = from.text("relay")?;
        let after = (!after.is_empty()).then(|| after.to_owned());
        relays.push_back(Relay { bytes, after });
    }
    Ok(Rooting {
        state,
        version,
        is_anew,
        asks,
        spaces,
        relays,
    })
}

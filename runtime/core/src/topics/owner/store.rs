//! Events that are kept: those of logs, recent ones of other topics, and retained ones.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use super::event::Event;
use crate::snapshot::SnapshotError;
use crate::snapshot::codec::{Reader, Writer};
use crate::topics::wire::{Configure, ListedTopic, LogBounds};
use crate::topics::{TopicName, TopicPattern};

/// Most events without a log that are kept for readers, and for those that are behind.
pub const RECENT_EVENTS: usize = 1_024;
/// The same, bytes of them.
pub const RECENT_BYTES: u64 = 4 << 20;
/// Most topics of which an owner keeps a log or the last event.
pub const MAX_KEPT_TOPICS: usize = 65_536;
/// Most patterns that say what is kept.
pub const MAX_CONFIGURED: usize = 1_024;
/// What a topic of which something is kept costs, bytes.
const TOPIC_BYTES: u64 = 512;

/// What is kept, by the last pattern that fits.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    pattern: TopicPattern,
    log: Option<LogBounds>,
    retain: bool,
}

/// A topic of which something is kept, or was.
#[derive(Clone, Debug, Default, PartialEq)]
struct Kept {
    log: Option<LogBounds>,
    /// The last event's offset. Offsets are not used again, also where a log has ended.
    offset: u64,
    /// The numbers of the log's events.
    numbers: VecDeque<u64>,
    bytes: u64,
    /// The last event that the log has no more: its number and time.
    gone: Option<(u64, u64)>,
    retained: Option<Arc<Event>>,
}

/// Events that are kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    /// Those of logs, and recent ones, by number.
    events: BTreeMap<u64, Arc<Event>>,
    /// The numbers of recent ones.
    recent: VecDeque<u64>,
    recent_bytes: u64,
    /// The last recent event that is gone.
    recent_gone: u64,
    topics: BTreeMap<TopicName, Kept>,
    /// Topics that have a log with events, by the oldest's number.
    oldest: BTreeSet<(u64, TopicName)>,
    log_bytes: u64,
    retained: usize,
    retained_bytes: u64,
    rules: Vec<Rule>,
}

/// No room for one more of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full {
    /// Of what.
    pub(super) what: &'static str,
    /// How many there may be.
    pub(super) most: usize,
}

impl Store {
    /// Says what is kept of topics that fit.
    pub(super) fn configure(
        &mut self,
        said: &Configure,
        pattern: TopicPattern,
    ) -> Result<(), Full> {
        self.rules.retain(|rule| rule.pattern != pattern);
        if self.rules.len() == MAX_CONFIGURED {
            return Err(Full {
                what: "patterns that say what is kept",
                most: MAX_CONFIGURED,
            });
        }
        self.rules.push(Rule {
            pattern: pattern.clone(),
            log: said.log,
            retain: said.retain,
        });
        let affected: Vec<TopicName> = (self.topics.keys())
            .filter(|topic| pattern.matches(topic))
            .cloned()
            .collect();
        for topic in affected {
            let (log, retain) = self.rule(&topic);
            let Some(kept) = self.topics.get_mut(&topic) else {
                continue;
            };
            kept.log = log;
            if !retain && let Some(event) = kept.retained.take() {
                self.retained -= 1;
                self.retained_bytes -= event.bytes();
            }
        }
        Ok(())
    }

    fn rule(&self, topic: &TopicName) -> (Option<LogBounds>, bool) {
        let mut rules = self.rules.iter().rev();
        rules
            .find(|rule| rule.pattern.matches(topic))
            .map_or((None, false), |rule| (rule.log, rule.retain))
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> u64 {
        self.log_bytes
            + self.recent_bytes
            + self.retained_bytes
            + TOPIC_BYTES * self.topics.len() as u64
            + 256 * self.rules.len() as u64
    }

    /// Bytes of events of this number and above.
    pub(super) fn bytes_from(&self, number: u64) -> u64 {
        let events = self.events.range(number..);
        events.map(|(_, event)| event.bytes()).sum()
    }

    /// Adds an event; its offset is set here. Retained ones may have so many bytes.
    pub(super) fn push(
        &mut self,
        mut event: Event,
        retain: bool,
        most_retained: u64,
    ) -> Result<Arc<Event>, Full> {
        let (log, always) = if self.rules.is_empty() {
            (None, false)
        } else {
            self.rule(&event.topic)
        };
        let retain = retain || always;
        if log.is_none() && !retain {
            let event = Arc::new(event);
            self.recent.push_back(event.number);
            self.recent_bytes += event.bytes();
            self.events.insert(event.number, event.clone());
            return Ok(event);
        }
        if !self.topics.contains_key(&event.topic) && self.topics.len() == MAX_KEPT_TOPICS {
            return Err(Full {
                what: "topics of which something is kept",
                most: MAX_KEPT_TOPICS,
            });
        }
        if retain && self.retained_bytes + event.bytes() > most_retained {
            return Err(Full {
                what: "bytes of retained events",
                most: usize::try_from(most_retained).unwrap_or(usize::MAX),
            });
        }
        let kept = self.topics.entry(event.topic.clone()).or_default();
        kept.log = log;
        if log.is_some() {
            kept.offset += 1;
            event.offset = kept.offset;
        }
        let event = Arc::new(event);
        let bytes = event.bytes();
        if retain {
            // None without data: that ends it.
            let has_data = event.data.content_type != phoenix_wit::ContentType::None;
            let new = has_data.then(|| event.clone());
            self.retained += usize::from(has_data);
            self.retained_bytes += if has_data { bytes } else { 0 };
            if let Some(old) = std::mem::replace(&mut kept.retained, new) {
                self.retained -= 1;
                self.retained_bytes -= old.bytes();
            }
        }
        if log.is_some() {
            if kept.numbers.is_empty() {
                self.oldest.insert((event.number, event.topic.clone()));
            }
            kept.numbers.push_back(event.number);
            kept.bytes += bytes;
            self.log_bytes += bytes;
        } else {
            self.recent.push_back(event.number);
            self.recent_bytes += bytes;
        }
        self.events.insert(event.number, event.clone());
        Ok(event)
    }

    /// Lets go what is beyond the bounds of logs, among them `most` bytes for all, and of
    /// recent events; none of `floor` and above. Looks at the topic that had an event, and
    /// at what is the oldest.
    pub(super) fn trim(
        &mut self,
        topic: &TopicName,
        now: u64,
        floor: u64,
        most: u64,
    ) -> Vec<Arc<Event>> {
        let mut gone = Vec::new();
        while let Some(first) = self.recent.front()
            && *first < floor
            && (self.recent.len() > RECENT_EVENTS || self.recent_bytes > RECENT_BYTES)
        {
            if let Some(event) = self.events.remove(first) {
                self.recent_bytes -= event.bytes();
                self.recent_gone = event.number;
                gone.push(event);
            }
            self.recent.pop_front();
        }
        while let Some(kept) = self.topics.get(topic)
            && let Some(first) = kept.numbers.front()
            && *first < floor
            && self
                .events
                .get(first)
                .is_none_or(|it| kept.is_over(it, now))
        {
            gone.extend(self.pop_log(&topic.clone()));
        }
        while self.log_bytes > 0
            && self.log_bytes.saturating_add(self.retained_bytes) > most
            && let Some((first, topic)) = self.oldest.first().cloned()
            && first < floor
        {
            gone.extend(self.pop_log(&topic));
        }
        gone
    }

    /// Lets go what is beyond the age that the logs of a pattern's topics keep.
    pub(super) fn trim_aged(
        &mut self,
        pattern: &TopicPattern,
        now: u64,
        floor: u64,
    ) -> Vec<Arc<Event>> {
        let is_aged = |kept: &Kept| kept.log.is_some_and(|log| log.age_ms.is_some());
        let topics: Vec<TopicName> = match pattern.only() {
            Some(topic) => vec![topic],
            None => (self.topics.iter())
                .filter(|(topic, kept)| is_aged(kept) && pattern.matches(topic))
                .map(|(topic, _)| topic.clone())
                .collect(),
        };
        let mut gone = Vec::new();
        for topic in topics {
            gone.extend(self.trim(&topic, now, floor, u64::MAX));
        }
        gone
    }

    /// Takes the oldest event out of a log.
    fn pop_log(&mut self, topic: &TopicName) -> Option<Arc<Event>> {
        let kept = self.topics.get_mut(topic)?;
        let number = kept.numbers.pop_front()?;
        self.oldest.remove(&(number, topic.clone()));
        if let Some(next) = kept.numbers.front() {
            self.oldest.insert((*next, topic.clone()));
        }
        let event = self.events.remove(&number)?;
        kept.bytes -= event.bytes();
        self.log_bytes -= event.bytes();
        kept.gone = Some((number, event.time));
        Some(event)
    }

    pub(super) fn get(&self, number: u64) -> Option<&Arc<Event>> {
        self.events.get(&number)
    }

    /// The first event from `from` on, below `until`, whose topic is one of a pattern's.
    /// At most `looks` events are looked at; at the bound the number where to go on is
    /// given instead.
    pub(super) fn next(
        &self,
        pattern: &TopicPattern,
        from: u64,
        until: u64,
        looks: &mut usize,
    ) -> Result<Option<&Arc<Event>>, u64> {
        if from >= until {
            return Ok(None);
        }
        for (number, event) in self.events.range(from..until) {
            if *looks == 0 {
                return Err(*number);
            }
            *looks -= 1;
            if pattern.matches(&event.topic) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// How many events from `from` on are kept of a pattern's topics. At most `looks` are
    /// looked at; at the bound those found are given, and the number where to go on.
    pub(super) fn count(
        &self,
        pattern: &TopicPattern,
        from: u64,
        looks: &mut usize,
    ) -> Result<u64, (u64, u64)> {
        let only = pattern.only().and_then(|topic| self.topics.get(&topic));
        // A log that reaches back as far has all of them.
        if let Some(kept) = only.filter(|kept| kept.log.is_some())
            && kept.numbers.front().is_some_and(|first| *first <= from)
        {
            let before = kept.numbers.partition_point(|number| *number < from);
            return Ok((kept.numbers.len() - before) as u64);
        }
        let mut count = 0;
        for (number, event) in self.events.range(from..) {
            if *looks == 0 {
                return Err((count, *number));
            }
            *looks -= 1;
            count += u64::from(pattern.matches(&event.topic));
        }
        Ok(count)
    }

    /// The number of the event that is the `count`th from the end among those of a
    /// pattern's topics, or of the first if there are fewer, and none if there is none.
    pub(super) fn last(&self, pattern: &TopicPattern, count: u64) -> Option<u64> {
        let fitting = self.events.values().rev();
        let fitting = fitting.filter(|event| pattern.matches(&event.topic));
        let taken = fitting.take(usize::try_from(count).unwrap_or(usize::MAX));
        taken.last().map(|event| event.number)
    }

    /// The number of the first event of this time or later.
    pub(super) fn since(&self, time: u64) -> Option<u64> {
        let (mut low, mut high) = (
            *self.events.first_key_value()?.0,
            *self.events.last_key_value()?.0 + 1,
        );
        // Times do not go back, so the numbers from which all are late enough end a range.
        while low < high {
            let middle = low + (high - low) / 2;
            let found = self.events.range(middle..).next();
            if found.is_some_and(|(_, event)| event.time < time) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let found = self.events.range(low..).next();
        found.map(|(number, _)| *number)
    }

    /// Of a topic's log: the number of the event of an offset, or of the first after it,
    /// and whether some from there on are gone.
    ///
    /// # Errors
    ///
    /// There is no log, or the offset is beyond the next one, which is given.
    pub(super) fn at_offset(
        &self,
        topic: &TopicName,
        offset: u64,
    ) -> Result<(Option<u64>, bool), Option<u64>> {
        let kept = self.topics.get(topic).filter(|kept| kept.log.is_some());
        let kept = kept.ok_or(None)?;
        if offset > kept.offset + 1 {
            return Err(Some(kept.offset + 1));
        }
        let first = kept.offset + 1 - kept.numbers.len() as u64;
        let at = usize::try_from(offset.saturating_sub(first)).unwrap_or(usize::MAX);
        // Offset 0 is before the first, and never was.
        let is_gap = offset.max(1) < first;
        Ok((kept.numbers.get(at).copied(), is_gap))
    }

    /// The number of the last event that is gone of logs of a pattern's topics, if it was
    /// of this time or later.
    pub(super) fn gone_since(&self, pattern: &TopicPattern, time: u64) -> Option<u64> {
        let of = |kept: &Kept| kept.gone.filter(|(_, at)| *at >= time).map(|(n, _)| n);
        match pattern.only() {
            Some(topic) => self.topics.get(&topic).and_then(of),
            None => (self.topics.iter())
                .filter(|(topic, _)| pattern.matches(topic))
                .filter_map(|(_, kept)| of(kept))
                .max(),
        }
    }

    /// The number of the last event above `after` that is gone, of a pattern's topics as
    /// far as is known.
    pub(super) fn gone_after(&self, pattern: &TopicPattern, after: u64) -> Option<u64> {
        let of_logs = self.gone_since(pattern, 0).unwrap_or_default();
        let only = pattern.only().and_then(|topic| self.topics.get(&topic));
        let gone = match only {
            Some(kept) if kept.log.is_some() => of_logs,
            _ => of_logs.max(self.recent_gone),
        };
        (gone > after).then_some(gone)
    }

    /// The next retained event after a topic, by topics' names. At most `looks` topics are
    /// looked at; at the bound the topic after which to go on is given instead.
    pub(super) fn retained_after(
        &self,
        pattern: &TopicPattern,
        after: Option<&TopicName>,
        looks: &mut usize,
    ) -> Result<Option<&Arc<Event>>, Option<TopicName>> {
        if self.retained == 0 {
            return Ok(None);
        }
        if let Some(topic) = pattern.only() {
            let is_next = after.is_none_or(|after| *after < topic);
            let kept = self.topics.get(&topic).filter(|_| is_next);
            return Ok(kept.and_then(|kept| kept.retained.as_ref()));
        }
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut last = after;
        for (topic, kept) in self.topics.range((from, Bound::Unbounded)) {
            if *looks == 0 {
                return Err(last.cloned());
            }
            *looks -= 1;
            last = Some(topic);
            if let Some(event) = &kept.retained
                && pattern.matches(topic)
            {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Whether some topic's last event is kept.
    pub(super) fn has_retained(&self) -> bool {
        self.retained > 0
    }

    /// Topics of which something is kept, after one, and whether there are more.
    pub(super) fn list(&self, after: Option<&str>, most: usize) -> (Vec<ListedTopic>, bool) {
        let after = after.and_then(|after| TopicName::new(after).ok());
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut topics = self.topics.range((from, Bound::Unbounded));
        let listed = (topics.by_ref().take(most))
            .map(|(topic, kept)| {
                let next = kept.offset + 1;
                let has_log = kept.log.is_some() || kept.offset > 0;
                ListedTopic {
                    topic: topic.as_str().to_owned(),
                    log: kept.log,
                    first: has_log.then(|| next - kept.numbers.len() as u64),
                    next: has_log.then_some(next),
                    events: kept.numbers.len() as u64,
                    bytes: kept.bytes,
                    retained: kept.retained.is_some(),
                }
            })
            .collect();
        (listed, topics.next().is_some())
    }
}

impl Kept {
    /// Whether the log's oldest event is beyond a bound. Without a log nothing is within.
    fn is_over(&self, oldest: &Event, now: u64) -> bool {
        let Some(log) = &self.log else { return true };
        let count = log.count.unwrap_or(LogBounds::DEFAULT_COUNT);
        let bytes = log.bytes.unwrap_or(LogBounds::DEFAULT_BYTES);
        self.numbers.len() as u64 > count
            || self.bytes > bytes
            || (log.age_ms).is_some_and(|age| oldest.time.saturating_add(age) <= now)
    }
}

/// What a topic's record says of it.
const HAS_GONE: u8 = 1;
const HAS_LOG: u8 = 1 << 1;
/// A retained event that is not among those that are kept otherwise.
const RETAINED_ALONE: u8 = 1 << 2;
/// One that is.
const RETAINED: u8 = 1 << 3;

impl Store {
    pub(super) fn save(&self, out: &mut Writer<'_>) {
        out.number(self.rules.len() as u64);
        for rule in &self.rules {
            out.text(rule.pattern.as_str());
            out.u8(u8::from(rule.retain));
            save_bounds(rule.log.as_ref(), out);
        }
        out.number(self.recent_gone);
        out.number(self.events.len() as u64);
        for event in self.events.values() {
            event.save(out);
        }
        out.number(self.topics.len() as u64);
        for (topic, kept) in &self.topics {
            out.text(topic.as_str());
            let retained = kept.retained.as_ref();
            let is_kept = retained.map(|it| self.events.contains_key(&it.number));
            let flags = match is_kept {
                None => 0,
                Some(true) => RETAINED,
                Some(false) => RETAINED_ALONE,
            };
            let gone = if kept.gone.is_some() { HAS_GONE } else { 0 };
            let log = if kept.log.is_some() { HAS_LOG } else { 0 };
            out.u8(flags | gone | log);
            if kept.log.is_some() {
                save_bounds(kept.log.as_ref(), out);
            }
            out.number(kept.offset);
            if let Some((number, time)) = kept.gone {
                out.number(number);
                out.number(time);
            }
            match (is_kept, retained) {
                (Some(true), Some(event)) => out.number(event.number),
                (_, Some(event)) => event.save(out),
                (_, None) => {}
            }
        }
    }

    /// Reads what [`Store::save`] wrote. `last` is the last event's number.
    pub(super) fn load(from: &mut Reader<'_>, last: u64) -> Result<Self, SnapshotError> {
        let bad = SnapshotError::Invalid;
        let mut store = Self::default();
        let rules = from.count(3, "rules")?;
        if rules > MAX_CONFIGURED {
            return Err(bad("rules"));
        }
        for _ in 0..rules {
            let pattern = TopicPattern::new(from.text("pattern")?).map_err(|_| bad("pattern"))?;
            let retain = match from.u8("rule")? {
                0 => false,
                1 => true,
                _ => return Err(bad("rule")),
            };
            let log = load_bounds(from)?;
            if store.rules.iter().any(|rule| rule.pattern == pattern) {
                return Err(bad("rules"));
            }
            store.rules.push(Rule {
                pattern,
                log,
                retain,
            });
        }
        store.recent_gone = from.number("events")?;
        for _ in 0..from.count(8, "events")? {
            let event = Event::load(from)?;
            let before = store.events.last_key_value();
            if before.is_some_and(|(number, it)| *number >= event.number || it.time > event.time)
                || event.number == 0
                || event.number > last
            {
                return Err(bad("event's number"));
            }
            store.events.insert(event.number, Arc::new(event));
        }
        let mut before: Option<TopicName> = None;
        let topics = from.count(3, "topics")?;
        if topics > MAX_KEPT_TOPICS {
            return Err(bad("topics"));
        }
        for _ in 0..topics {
            let topic = TopicName::new(from.text("topic")?).map_err(|_| bad("topic"))?;
            if before.is_some_and(|before| before >= topic) {
                return Err(bad("topics"));
            }
            let kept = store.load_kept(from, &topic)?;
            store.topics.insert(topic.clone(), kept);
            before = Some(topic);
        }
        store.link()?;
        Ok(store)
    }

    fn load_kept(
        &mut self,
        from: &mut Reader<'_>,
        topic: &TopicName,
    ) -> Result<Kept, SnapshotError> {
        let bad = SnapshotError::Invalid;
        let flags = from.u8("topic")?;
        if flags >= 1 << 4 || flags & RETAINED != 0 && flags & RETAINED_ALONE != 0 {
            return Err(bad("topic"));
        }
        let log = match flags & HAS_LOG {
            0 => None,
            _ => Some(load_bounds(from)?.ok_or(bad("log"))?),
        };
        let offset = from.number("offset")?;
        if offset == u64::MAX {
            return Err(bad("offset"));
        }
        let gone = match flags & HAS_GONE {
            0 => None,
            _ => Some((from.number("gap")?, from.number("gap")?)),
        };
        let retained = if flags & RETAINED != 0 {
            let number = from.number("retained event")?;
            Some((self.events.get(&number).cloned()).ok_or(bad("retained event"))?)
        } else if flags & RETAINED_ALONE != 0 {
            let event = Event::load(from)?;
            if self.events.contains_key(&event.number) {
                return Err(bad("retained event"));
            }
            Some(Arc::new(event))
        } else {
            None
        };
        if retained.as_ref().is_some_and(|event| event.topic != *topic) {
            return Err(bad("retained event"));
        }
        Ok(Kept {
            log,
            offset,
            gone,
            retained,
            ..Kept::default()
        })
    }

    /// Makes what follows from the events and topics.
    fn link(&mut self) -> Result<(), SnapshotError> {
        let bad = SnapshotError::Invalid;
        for (number, event) in &self.events {
            let bytes = event.bytes();
            if event.offset == 0 {
                self.recent.push_back(*number);
                self.recent_bytes += bytes;
                continue;
            }
            let kept = self.topics.get_mut(&event.topic).ok_or(bad("log"))?;
            kept.numbers.push_back(*number);
            kept.bytes += bytes;
            self.log_bytes += bytes;
        }
        for (topic, kept) in &self.topics {
            // Offsets have no gaps, and end with the last one.
            let mut offset = kept.offset.checked_sub(kept.numbers.len() as u64);
            for number in &kept.numbers {
                offset = offset.map(|it| it + 1);
                let event = self.events.get(number);
                if event.map(|it| it.offset) != offset {
                    return Err(bad("log"));
                }
            }
            if let Some(first) = kept.numbers.front() {
                self.oldest.insert((*first, topic.clone()));
            }
            if let Some(event) = &kept.retained {
                self.retained += 1;
                self.retained_bytes += event.bytes();
            }
        }
        Ok(())
    }
}

fn save_bounds(log: Option<&LogBounds>, out: &mut Writer<'_>) {
    out.u8(u8::from(log.is_some()));
    if let Some(log) = log {
        for bound in [log.age_ms, log.count, log.bytes] {
            // None of them is 0.
            out.number(bound.unwrap_or_default());
        }
    }
}

fn load_bounds(from: &mut Reader<'_>) -> Result<Option<LogBounds>, SnapshotError> {
    match from.u8("log")? {
        0 => return Ok(None),
        1 => {}
        _ => return Err(SnapshotError::Invalid("log")),
    }
    let mut bound = || from.number("log").map(|it| (it != 0).then_some(it));
    let log = LogBounds {
        age_ms: bound()?,
        count: bound()?,
        bytes: bound()?,
    };
    log.check().map_err(|_| SnapshotError::Invalid("log"))?;
    Ok(Some(log))
}

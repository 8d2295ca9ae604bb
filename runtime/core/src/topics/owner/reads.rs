//! Reading recent events, and waiting for some.

use std::collections::BTreeMap;
use std::sync::Arc;

use phoenix_wit::ContentType;

use super::event::Event;
use super::fan_out::LOOKS_A_TURN;
use super::requests::{Refused, Request, encoded};
use super::sends::KEPT_BYTES;
use super::{Out, Owner, READS};
use crate::program::Outcome;
use crate::topics::TopicPattern;
use crate::topics::wire::{Events, Gap, Read};

/// Most reads that wait at one owner.
pub const MAX_WAITING_READS: usize = 256;
/// Bytes of events in one answer; one event is always taken.
const ANSWER_BYTES: u64 = 256 << 10;
/// What one that waits costs, bytes.
const READ_BYTES: u64 = 512;

/// Reads that wait, by the turns that began them.
#[derive(Clone, Debug, Default)]
pub(super) struct Reads {
    pub(super) waiting: BTreeMap<u64, Waiting>,
    /// When the timer is due that ends them; 0 if none is set.
    pub(super) timer_at: u64,
}

/// A read that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) pattern: TopicPattern,
    pub(super) after: u64,
    pub(super) max: u32,
    pub(super) until: u64,
    /// What it is answered in.
    pub(super) content_type: ContentType,
}

impl Reads {
    pub(super) fn bytes(&self) -> u64 {
        READ_BYTES * self.waiting.len() as u64
    }
}

impl Owner {
    pub(super) fn read(
        &mut self,
        request: Request<'_>,
        out: &mut dyn Out,
    ) -> Result<Outcome, Refused> {
        let (said, pattern) = Read::decode(request.payload)?;
        if self.is_root() {
            let text = "the root has no events: read from the owner of each space, which `list` \
                        names";
            return Err(Refused::For("wrong-owner", text.to_owned()));
        }
        self.is_own_pattern(&pattern)?;
        let gone = self.store.trim_aged(&pattern, request.now, self.fan.number);
        self.lose(gone);
        // Of another life nothing is left, and all of this one is new.
        let is_other = said.epoch.is_some_and(|epoch| epoch != self.epoch);
        let after = match said.after {
            Some(_) if is_other => 0,
            Some(after) => after.min(self.number),
            None => self.number,
        };
        let content_type = request.payload.content_type;
        let room = out.bytes_left().saturating_sub(KEPT_BYTES) as u64 / 8;
        let found = self.read_after(&pattern, after, said.max, room, content_type);
        let is_waiting = found.events.is_empty() && found.next == self.number;
        if !is_waiting || said.wait_ms == 0 || !request.is_asked || is_other {
            return Ok(request.answer(&found));
        }
        if self.reads.waiting.len() == MAX_WAITING_READS {
            let (what, most) = ("reads that wait", MAX_WAITING_READS);
            return Err(super::store::Full { what, most }.into());
        }
        let until = request.now.saturating_add(said.wait_ms);
        let waiting = Waiting {
            pattern,
            after,
            max: said.max,
            until,
            content_type,
        };
        self.reads.waiting.insert(request.number, waiting);
        self.set_reads_timer(request.now, out);
        Ok(Outcome::Pending)
    }

    fn read_after(
        &self,
        pattern: &TopicPattern,
        after: u64,
        max: u32,
        room: u64,
        content_type: ContentType,
    ) -> Events {
        let (mut next, mut bytes, mut events) = (after, 0, Vec::new());
        let mut looks = LOOKS_A_TURN;
        let until = self.number + 1;
        while events.len() < max as usize {
            match self.store.next(pattern, next + 1, until, &mut looks) {
                Ok(Some(event)) => {
                    bytes += event.bytes();
                    if !events.is_empty() && bytes > ANSWER_BYTES.min(room) {
                        break;
                    }
                    next = event.number;
                    events.push(event.as_read(content_type));
                }
                Ok(None) => {
                    next = self.number;
                    break;
                }
                Err(at) => {
                    next = at - 1;
                    break;
                }
            }
        }
        let gone = self.store.gone_after(pattern, after);
        Events {
            epoch: self.epoch,
            next,
            gap: gone.map(|to| Gap {
                from: after + 1,
                to,
            }),
            events,
        }
    }

    /// Answers those that wait for an event.
    pub(super) fn wake_reads(&mut self, event: &Arc<Event>, out: &mut dyn Out) {
        if self.reads.waiting.is_empty() {
            return;
        }
        let is_hit = |it: &Waiting| it.pattern.matches(&event.topic);
        let hits: Vec<u64> = (self.reads.waiting.iter())
            .filter(|(_, it)| is_hit(it))
            .map(|(request, _)| *request)
            .collect();
        for request in hits {
            let needed = 8 * usize::try_from(event.bytes()).unwrap_or(usize::MAX);
            if out.messages_left() < 8 || out.bytes_left() < needed {
                // They end with their time, and find it then.
                return;
            }
            let Some(it) = self.reads.waiting.remove(&request) else {
                continue;
            };
            let answer = Events {
                epoch: self.epoch,
                next: event.number,
                gap: None,
                events: vec![event.as_read(it.content_type)],
            };
            let (content_type, bytes) = encoded(it.content_type, &answer);
            out.reply(request, content_type, &bytes);
        }
    }

    /// Ends those whose time is over.
    pub(super) fn end_reads(&mut self, now: u64, out: &mut dyn Out) {
        self.reads.timer_at = 0;
        let over: Vec<u64> = (self.reads.waiting.iter())
            .filter(|(_, it)| it.until <= now)
            .map(|(request, _)| *request)
            .collect();
        for request in over {
            if out.messages_left() < 8 {
                break;
            }
            let Some(it) = self.reads.waiting.remove(&request) else {
                continue;
            };
            // There is something if there was no room to say so when it came.
            let room = out.bytes_left().saturating_sub(KEPT_BYTES) as u64 / 8;
            let answer = self.read_after(&it.pattern, it.after, it.max, room, it.content_type);
            let (content_type, bytes) = encoded(it.content_type, &answer);
            out.reply(request, content_type, &bytes);
        }
        self.set_reads_timer(now, out);
    }

    /// Sets the timer to the first that ends.
    fn set_reads_timer(&mut self, now: u64, out: &mut dyn Out) {
        let first = self.reads.waiting.values().map(|it| it.until).min();
        let Some(first) = first else { return };
        if self.reads.timer_at == 0 || first < self.reads.timer_at {
            self.reads.timer_at = first;
            out.set_timer(READS, first.saturating_sub(now));
        }
    }
}

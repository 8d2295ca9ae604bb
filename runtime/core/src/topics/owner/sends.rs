//! Messages about one event, put together.

use std::cell::OnceCell;
use std::num::NonZeroU64;
use std::sync::Arc;

use phoenix_wit::{ContentType, Payload, SendOptions};

use super::Out;
use super::event::Event;
use super::table::{Subscription, Who};
use super::tally::Skip;
use super::terms::{Terms, To};
use crate::topics::wire::{Attribute, Form, MAX_EVENT_DATA, Mark};
use crate::topics::{EventView, Outcome, Value};
use crate::{AgentId, Millis};

/// Messages that a turn keeps room for beside those of events: what it answers, asks and
/// sets.
pub(super) const KEPT_MESSAGES: usize = 16;
/// Bytes of the answer that a turn keeps room for.
pub(super) const KEPT_BYTES: usize = 64 << 10;
/// What a message takes of the answer beside its texts, bytes at most.
const MESSAGE_BYTES: usize = 128;
/// Terms of which it is kept, for one event, what they make of it.
const KEPT_TERMS: usize = 16;
/// How long a message is tried whose subscriber has as much under way as it may, and whose
/// terms are to reject it then.
pub const REJECT_GIVE_UP_MS: u32 = 1_000;

/// Messages about one event.
pub(super) struct Sends<'e> {
    event: &'e Event,
    epoch: u64,
    now: u64,
    view: OnceCell<EventView<'e>>,
    judged: Vec<Judged>,
    /// The form `event` without a mark, once it is needed.
    usual: Option<(ContentType, Vec<u8>)>,
    batches: Vec<Batch>,
    messages: usize,
    bytes: usize,
}

/// What terms make of the event.
#[derive(Clone)]
struct Judged {
    terms: Arc<Terms>,
    what: Judgement,
}

/// What a subscription's terms make of an event.
#[derive(Clone)]
enum Judgement {
    /// Nothing.
    Skips(Skip),
    /// It is sent: to whom, if not to the subscriber, and transformed, if it is.
    Takes(Option<AgentId>, Option<Arc<(ContentType, Vec<u8>)>>),
}

/// A message that an event makes on a subscription's terms.
pub(super) struct Message {
    pub(super) to: AgentId,
    terms: Arc<Terms>,
    /// The data, if it is not as it was published.
    data: Option<Arc<(ContentType, Vec<u8>)>>,
}

/// Messages that differ only in whom they are to.
struct Batch {
    terms: Arc<Terms>,
    data: Option<Arc<(ContentType, Vec<u8>)>>,
    how: How,
    to: Vec<AgentId>,
}

/// How a message differs from others on the same terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct How {
    pub(super) mark: Mark,
    /// By which its verdict is told.
    pub(super) token: Option<NonZeroU64>,
    /// Whether it is given up at once where there is no room for it.
    pub(super) is_rejected: bool,
}

impl<'e> Sends<'e> {
    pub(super) fn new(event: &'e Event, epoch: u64, now: u64) -> Self {
        Self {
            event,
            epoch,
            now,
            view: OnceCell::new(),
            judged: Vec::new(),
            usual: None,
            batches: Vec::new(),
            messages: 0,
            bytes: 0,
        }
    }

    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// Whether there is room for one more message of the event as it was published,
    /// whoever it is for.
    pub(super) fn has_room(&self, out: &dyn Out) -> bool {
        let bytes = usize::try_from(self.event.bytes()).unwrap_or(usize::MAX);
        self.has_room_for(out, bytes)
    }

    fn has_room_for(&self, out: &dyn Out, bytes: usize) -> bool {
        let most = 2 * MESSAGE_BYTES + crate::id::MAX_ID + bytes;
        out.messages_left() > self.messages + KEPT_MESSAGES
            && out.bytes_left() > self.bytes + most + KEPT_BYTES
    }

    /// Whether there is room for a message.
    pub(super) fn fits(&self, out: &dyn Out, message: &Message) -> bool {
        let bytes = usize::try_from(self.event.bytes()).unwrap_or(usize::MAX);
        let data = message.data.as_ref().map_or(0, |data| data.1.len());
        self.has_room_for(out, bytes.saturating_add(data))
    }

    /// The message that the event makes for a subscription, or why it makes none.
    pub(super) fn message(&mut self, it: &Subscription) -> Result<Message, Skip> {
        let terms = &it.terms;
        let is_plain = terms.filter.is_none() && terms.transform.is_none();
        if is_plain && let Some(to) = receiver(it) {
            return Ok(Message {
                to: to.clone(),
                terms: terms.clone(),
                data: None,
            });
        }
        let (to, data) = match self.judge(terms) {
            Judgement::Takes(to, data) => (to.or_else(|| receiver(it).cloned()), data),
            Judgement::Skips(why) => return Err(why),
        };
        Ok(Message {
            to: to.ok_or(Skip::NoReceiver)?,
            terms: terms.clone(),
            data,
        })
    }

    /// What terms make of the event, once for all that have the same.
    fn judge(&mut self, terms: &Arc<Terms>) -> Judgement {
        let known = self.judged.iter().rev();
        if let Some(known) = known.into_iter().find(|it| Arc::ptr_eq(&it.terms, terms)) {
            return known.what.clone();
        }
        let what = self.judge_anew(terms);
        if self.judged.len() == KEPT_TERMS {
            self.judged.remove(0);
        }
        self.judged.push(Judged {
            terms: terms.clone(),
            what: what.clone(),
        });
        what
    }

    fn judge_anew(&self, terms: &Terms) -> Judgement {
        let view = self.view.get_or_init(|| view(self.event));
        match terms.filter.as_ref().map(|filter| filter.test(view)) {
            None | Some(Outcome::Matches) => {}
            Some(Outcome::Differs) => return Judgement::Skips(Skip::Differs),
            Some(Outcome::Fails(_)) => return Judgement::Skips(Skip::FilterFails),
            Some(Outcome::CutOff) => return Judgement::Skips(Skip::CutOff),
        }
        let to = match &terms.to {
            To::Subscriber => None,
            To::Agent(id) => Some(id.clone()),
            To::Template(template) => match template.target(view) {
                Ok(id) => Some(id),
                Err(_) => return Judgement::Skips(Skip::NoReceiver),
            },
        };
        let Some(transform) = &terms.transform else {
            return Judgement::Takes(to, None);
        };
        match transform.apply(view) {
            Ok((content_type, data)) if data.len() <= MAX_EVENT_DATA => {
                let data = Arc::new((content_type, data.into_owned()));
                Judgement::Takes(to, Some(data))
            }
            Ok(_) | Err(_) => Judgement::Skips(Skip::TransformFails),
        }
    }

    /// Adds a message.
    pub(super) fn push(&mut self, message: Message, how: How) {
        let Message { to, terms, data } = message;
        self.messages += 1;
        self.bytes += 2 + to.as_str().len();
        // One with a token is alone: a token is one message's.
        let is_same = |batch: &Batch| {
            how.token.is_none()
                && batch.how == how
                && (Arc::ptr_eq(&batch.terms, &terms) || batch.terms.sends_as(&terms))
        };
        let same = self.batches.iter_mut().rev().take(KEPT_TERMS);
        if let Some(batch) = same.into_iter().find(|batch| is_same(batch)) {
            batch.to.push(to);
            return;
        }
        let event = usize::try_from(self.event.bytes()).unwrap_or(usize::MAX);
        let data_bytes = data.as_ref().map_or(0, |data| data.1.len());
        self.bytes += event + data_bytes + MESSAGE_BYTES;
        self.batches.push(Batch {
            terms,
            data,
            how,
            to: vec![to],
        });
    }

    /// Sends what was added.
    pub(super) fn flush(&mut self, out: &mut dyn Out) {
        for batch in std::mem::take(&mut self.batches) {
            let Batch {
                terms,
                data,
                how,
                to,
            } = batch;
            let options = self.options(&terms, how).to_bytes();
            let made;
            let own = data.as_ref().map(|data| lent(data));
            let data = own.unwrap_or_else(|| self.event.payload());
            let payload = match terms.form {
                Form::Data => data,
                Form::Event if how.mark.is_empty() && own.is_none() => {
                    let usual = self.usual.get_or_insert_with(|| {
                        let head = self.event.head(self.epoch, Mark::default());
                        head.with_data(data)
                    });
                    lent(usual)
                }
                Form::Event => {
                    made = self.event.head(self.epoch, how.mark).with_data(data);
                    lent(&made)
                }
            };
            out.multicast(&to, &terms.method, payload, &options, how.token);
        }
        (self.messages, self.bytes) = (0, 0);
    }

    fn options(&self, terms: &Terms, how: How) -> SendOptions {
        let left = self.event.expires.saturating_sub(self.now);
        let give_up_ms = if how.is_rejected {
            REJECT_GIVE_UP_MS
        } else {
            0
        };
        SendOptions {
            delivery: terms.delivery.map(|it| it.as_delivery()),
            ttl_ms: match self.event.expires {
                0 => 0,
                _ => u32::try_from(left).unwrap_or(u32::MAX).max(1),
            },
            give_up_ms,
            ..SendOptions::default()
        }
    }
}

fn lent((content_type, bytes): &(ContentType, Vec<u8>)) -> Payload<'_> {
    Payload {
        content_type: *content_type,
        bytes,
    }
}

/// Whom events go to, if that does not depend on them.
fn receiver(it: &Subscription) -> Option<&AgentId> {
    match (&it.terms.to, &it.identity.who) {
        (To::Agent(id), _) | (To::Subscriber, Who::Agent(id)) => Some(id),
        (To::Subscriber | To::Template(_), _) => None,
    }
}

/// The event as filters, templates and transformations see it.
fn view(event: &Event) -> EventView<'_> {
    let attributes = event.attributes.iter().map(|(name, value)| {
        let value = match value {
            Attribute::Bool(value) => Value::Bool(*value),
            Attribute::Int(value) => Value::Int(*value),
            Attribute::Float(value) => Value::Double(*value),
            Attribute::Text(text) => Value::Text(text.as_str().into()),
        };
        (name.as_str(), value)
    });
    let Payload {
        content_type,
        bytes,
    } = event.payload();
    EventView::new(
        &event.topic,
        &event.publisher,
        Millis(event.time),
        content_type,
        bytes,
    )
    .with_type(event.event_type.as_deref())
    .with_key(event.key.as_deref())
    .with_number(event.number)
    .with_attributes(attributes)
}

//! The node as the agent under test sees it: one message a frame.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use phoenix_wit::timer::Timing;
use phoenix_wit::{AnswerReader, CatchUp, Effect, FrameWriter, Input, Outcome, Reply, Turn};

use super::records::{Asked, Logged, Published, Sent, Spawned, Subscribed, Timer};
use crate::ask::AskError;
use crate::bounced::Bounced;
use crate::context::MAX_DEADLINE;
use crate::failure::Failure;
use crate::options::SendOptions;
use crate::payload::Payload;
use crate::runtime::{Agent, Runtime};
use crate::schedule::Schedule;
use crate::state::State;
use crate::time::Timestamp;
use crate::topics::PublishOptions;

/// 2026-01-01, so that a time in a failed test's output is plainly made up.
const BEGINNING: Timestamp = Timestamp::from_seconds(1_767_225_600);

/// Turns that answered asks and retried messages may take before the test is
/// taken for one that never ends.
const MOST_TURNS: usize = 100_000;

/// What answers an ask.
type Respond = Box<dyn FnMut(&Payload) -> Result<Payload, AskError>>;

/// How asks of one kind are answered.
pub(super) struct Reaction {
    pub(super) to: String,
    pub(super) method: String,
    pub(super) once: bool,
    pub(super) answer: Respond,
}

/// A message or a due timer that the agent may have to put off.
#[derive(Clone)]
pub(super) struct Mail {
    source: String,
    method: String,
    payload: Payload,
    /// The number under which its sender waits.
    request: Option<u64>,
    /// When its sender stops waiting.
    deadline: Timestamp,
    /// The timer that it is, instead of a message, and the time that was due at.
    timer: Option<(u64, Timestamp)>,
    /// What it is of the agent's own that came back, instead of a message.
    bounced: Option<Bounced>,
}

/// What came of a turn, owned.
enum Ended {
    Ok(Payload),
    Failed(Failure),
    Pending,
    Deferred,
}

pub(super) struct World<A> {
    runtime: Runtime<A>,
    pub(super) id: String,
    pub(super) seed: u64,
    turn: u64,
    pub(super) now: Timestamp,
    pub(super) source: String,
    /// How long whoever asks the agent waits.
    pub(super) patience: Duration,
    pub(super) pending: u16,
    pub(super) deferred: VecDeque<Mail>,
    /// The test's own number of a request, by the turn that took it.
    requests: BTreeMap<u64, u64>,
    answers: BTreeMap<u64, Result<Payload, Failure>>,
    next_request: u64,
    pub(super) asks: BTreeMap<u64, Asked>,
    reactions: Vec<Reaction>,
    pub(super) timers: BTreeMap<u64, Timer>,
    pub(super) sent: Vec<Sent>,
    pub(super) published: Vec<Published>,
    /// By name.
    pub(super) subscriptions: BTreeMap<String, Subscribed>,
    pub(super) spawned: Vec<Spawned>,
    pub(super) logs: Vec<Logged>,
    pub(super) failures: Vec<Failure>,
    pub(super) stopped: Option<String>,
}

impl<A: Agent> World<A> {
    pub(super) fn new(id: &str) -> Self {
        Self {
            runtime: Runtime::new(),
            id: id.to_owned(),
            seed: 0x5eed,
            turn: 0,
            now: BEGINNING,
            source: "client/test".to_owned(),
            patience: MAX_DEADLINE,
            pending: 0,
            deferred: VecDeque::new(),
            requests: BTreeMap::new(),
            answers: BTreeMap::new(),
            next_request: 0,
            asks: BTreeMap::new(),
            reactions: Vec::new(),
            timers: BTreeMap::new(),
            sent: Vec::new(),
            published: Vec::new(),
            subscriptions: BTreeMap::new(),
            spawned: Vec::new(),
            logs: Vec::new(),
            failures: Vec::new(),
            stopped: None,
        }
    }

    pub(super) fn init(&mut self, config: &Payload) -> Result<(), Failure> {
        let ended = self.run(Input::Init {
            config: config.as_wit(),
        });
        self.settle();
        match ended {
            Ended::Failed(failure) => Err(failure),
            _ => Ok(()),
        }
    }

    /// Puts a request in and returns the number under which its answer will be.
    pub(super) fn request(&mut self, method: &str, payload: &Payload) -> u64 {
        let number = self.next_request;
        self.next_request += 1;
        let mail = self.mail(method, payload, Some(number));
        self.deliver(mail);
        self.settle();
        number
    }

    /// Puts a message in that nobody waits for.
    pub(super) fn message(&mut self, method: &str, payload: &Payload) -> Result<(), Failure> {
        let before = self.failures.len();
        let mail = self.mail(method, payload, None);
        self.deliver(mail);
        let failed = self.failures.len() > before;
        let outcome = match self.failures.pop() {
            Some(failure) if failed => Err(failure),
            Some(earlier) => {
                self.failures.push(earlier);
                Ok(())
            }
            None => Ok(()),
        };
        self.settle();
        outcome
    }

    fn mail(&self, method: &str, payload: &Payload, request: Option<u64>) -> Mail {
        Mail {
            source: self.source.clone(),
            method: method.to_owned(),
            payload: payload.clone(),
            request,
            deadline: self.now + self.patience,
            timer: None,
            bounced: None,
        }
    }

    /// Gives the agent a message that came back.
    pub(super) fn bounce(&mut self, bounced: Bounced) {
        let mut mail = self.mail("", &Payload::none(), None);
        mail.bounced = Some(bounced);
        self.deliver(mail);
        self.settle();
    }

    /// Gives the agent one message or timer; `false` if it put it off.
    fn deliver(&mut self, mail: Mail) -> bool {
        let Some((id, due)) = mail.timer else {
            return self.put(mail);
        };
        let now = self.now.as_millis();
        let is_it = |timer: &&Timer| timer.due == due;
        let Some(timer) = self.timers.get(&id).filter(is_it).cloned() else {
            // It was cancelled or set anew.
            return true;
        };
        if !timer.timing.fires(due.as_millis(), now) {
            self.go_on(timer, |timing, due| timing.after_missing(due, now));
            return true;
        }
        // What the handler does to the timer comes after that.
        self.go_on(timer.clone(), |timing, due| timing.after_firing(due, now));
        let is_taken = self.put(mail);
        if !is_taken {
            self.timers.insert(id, timer);
        }
        is_taken
    }

    fn go_on(&mut self, mut timer: Timer, next: impl FnOnce(&Timing, u64) -> Option<u64>) {
        if timer.advance(next) {
            self.timers.insert(timer.id, timer);
        } else {
            self.timers.remove(&timer.id);
        }
    }

    fn put(&mut self, mail: Mail) -> bool {
        let turn = self.turn;
        let payload = mail.payload.as_wit();
        let ended = self.run(match (mail.timer, &mail.bounced) {
            (_, Some(bounced)) => Input::Bounced {
                to: &bounced.to,
                method: &bounced.method,
                payload: bounced.payload.as_wit(),
                reason: &bounced.why,
                unsure: bounced.unsure,
            },
            (Some((id, _)), None) => Input::Timer {
                id,
                method: &mail.method,
                payload,
            },
            (None, None) => Input::Message {
                source: &mail.source,
                method: &mail.method,
                payload,
                request: mail.request.is_some(),
                deadline: mail.request.map_or(0, |_| mail.deadline.as_nanos()),
            },
        });
        match (ended, mail.request) {
            (Ended::Deferred, _) => {
                self.deferred.push_back(mail);
                return false;
            }
            (Ended::Pending, Some(number)) => {
                self.requests.insert(turn, number);
            }
            (Ended::Ok(payload), Some(number)) => {
                self.answers.insert(number, Ok(payload));
            }
            (Ended::Failed(failure), Some(number)) => {
                self.answers.insert(number, Err(failure));
            }
            (Ended::Failed(failure), None) => self.failures.push(failure),
            (Ended::Ok(_) | Ended::Pending, None) => {}
        }
        true
    }

    /// Ends an ask.
    pub(super) fn reply(&mut self, ask: u64, answer: &Result<Payload, AskError>) {
        self.asks.remove(&ask);
        let reply = match answer {
            Ok(payload) => Reply::Ok(payload.as_wit()),
            Err(AskError::Failed(failure)) => Reply::Failed(failure.as_wit()),
            Err(AskError::Timeout) => Reply::Timeout,
            Err(AskError::Bounced(why)) => Reply::Bounced(why),
            Err(AskError::Deadlock) => Reply::Deadlock,
            Err(AskError::Unavailable(why) | AskError::BadAnswer(why)) => Reply::Unavailable(why),
        };
        if let Ended::Failed(failure) = self.run(Input::Reply { ask, reply }) {
            self.failures.push(failure);
        }
    }

    /// Answers what there is an answer for and gives deferred messages again, until
    /// nothing more happens.
    pub(super) fn settle(&mut self) {
        for _ in 0..MOST_TURNS {
            if !self.answer_one() && !self.retry() {
                return;
            }
        }
        panic!("{} never comes to rest: it asks without end", self.id);
    }

    fn answer_one(&mut self) -> bool {
        let asks: Vec<Asked> = self.asks.values().cloned().collect();
        for asked in asks {
            let fits = |reaction: &Reaction| reaction.fits(&asked);
            let queued = |reaction: &Reaction| reaction.once && fits(reaction);
            let found = (self.reactions.iter().position(queued))
                .or_else(|| self.reactions.iter().position(fits));
            let Some(at) = found else { continue };
            let mut reaction = self.reactions.remove(at);
            let answer = (reaction.answer)(&asked.payload);
            if !reaction.once {
                self.reactions.insert(at, reaction);
            }
            self.reply(asked.ask, &answer);
            return true;
        }
        false
    }

    /// Gives every deferred message again, in order; whether one was taken.
    fn retry(&mut self) -> bool {
        let mut progress = false;
        for mail in std::mem::take(&mut self.deferred) {
            progress |= self.deliver(mail);
        }
        progress
    }

    pub(super) fn react(&mut self, reaction: Reaction) {
        self.reactions.push(reaction);
    }

    pub(super) fn advance(&mut self, duration: Duration) {
        let end = self.now + duration;
        for _ in 0..MOST_TURNS {
            let waiting = self.timers.values().filter(|it| !it.is_firing);
            let timer = waiting.map(|it| (it.due, 0_u8, it.id)).min();
            let ask = (self.asks.values())
                .map(|it| (it.deadline, 1, it.ask))
                .min();
            let next = timer.into_iter().chain(ask).min();
            match next.filter(|(due, ..)| *due <= end) {
                None => {
                    self.now = end;
                    return;
                }
                Some((due, what, number)) => {
                    self.now = self.now.max(due);
                    if what == 0 {
                        self.fire(number);
                    } else {
                        self.reply(number, &Err(AskError::Timeout));
                    }
                    self.settle();
                }
            }
        }
        panic!("{} sets timers without end", self.id);
    }

    /// Time passes in which the agent cannot be called.
    pub(super) fn miss(&mut self, duration: Duration) {
        self.now += duration;
        self.advance(Duration::ZERO);
    }

    fn fire(&mut self, id: u64) {
        let Some(timer) = self.timers.get_mut(&id) else {
            return;
        };
        timer.is_firing = true;
        let mail = Mail {
            source: self.id.clone(),
            method: timer.method.clone(),
            payload: timer.payload.clone(),
            request: None,
            deadline: self.now,
            timer: Some((id, timer.due)),
            bounced: None,
        };
        self.deliver(mail);
    }

    pub(super) fn take_answer(&mut self, number: u64) -> Option<Result<Payload, Failure>> {
        self.answers.remove(&number)
    }

    pub(super) fn state(&self) -> &State<A> {
        match self.runtime.state() {
            Some(state) => state,
            None => panic!("{} has not begun", self.id),
        }
    }

    /// Why a call has no answer.
    pub(super) fn stuck(&self) -> String {
        let asks: Vec<String> = (self.asks.values())
            .map(|asked| format!("{} `{}`", asked.to, asked.method))
            .collect();
        format!(
            "no answer: {} handlers wait, for answers of: {}. Give them with `on_ask`, `answer_next` or `reply`, or use `begin`",
            self.pending,
            asks.join(", ")
        )
    }

    /// One turn in a frame of its own.
    fn run(&mut self, input: Input<'_>) -> Ended {
        let mut frame = FrameWriter::new(Vec::new(), &self.id, self.seed);
        frame.push(&Turn {
            number: self.turn,
            now: self.now.as_nanos(),
            input,
        });
        let frame = self.runtime.turns(&frame.finish());
        self.turn += 1;
        match self.read(&frame) {
            Ok(ended) => ended,
            Err(why) => panic!("the SDK wrote a frame that cannot be read: {why}"),
        }
    }

    fn read(&mut self, frame: &[u8]) -> Result<Ended, phoenix_wit::FrameError> {
        let mut reader = AnswerReader::new(frame, 1)?;
        let Some(mut answer) = reader.next_answer()? else {
            return Ok(Ended::Deferred);
        };
        while let Some(effect) = answer.effects.next_effect()? {
            self.apply(&effect);
        }
        self.pending = answer.pending;
        Ok(match answer.outcome {
            Outcome::Ok(payload) => Ended::Ok(payload.into()),
            Outcome::Failed(failure) => Ended::Failed(failure.into()),
            Outcome::Pending => Ended::Pending,
            Outcome::Deferred => Ended::Deferred,
        })
    }

    /// A timer that is set; `None` if it would come due behind the end of time.
    fn timer(
        &self,
        id: u64,
        schedule: &phoenix_wit::Schedule<'_>,
        catch_up: CatchUp,
        method: &str,
        payload: Payload,
    ) -> Option<Timer> {
        let begun = Timing::begin(schedule, catch_up, self.now.as_millis());
        let (Ok((timing, due)), Ok(schedule)) = (begun, Schedule::of(schedule, catch_up)) else {
            panic!("timer {id} has a schedule that is none: {schedule:?}");
        };
        Some(Timer {
            id,
            due: Timestamp::from_millis(due?),
            schedule,
            method: method.to_owned(),
            payload,
            timing,
            is_firing: false,
        })
    }

    fn sent_with(
        &mut self,
        to: &str,
        method: &str,
        message_type: &str,
        payload: phoenix_wit::Payload<'_>,
        options: &[u8; phoenix_wit::SendOptions::BYTES],
    ) {
        let options = phoenix_wit::SendOptions::read(options).unwrap_or_default();
        self.sent.push(Sent {
            to: to.to_owned(),
            method: method.to_owned(),
            payload: payload.into(),
            delivery: options
                .delivery
                .unwrap_or(phoenix_wit::Delivery::ExactlyOnce),
            options: SendOptions {
                options,
                // A test is short, and its types are few.
                message_type: String::leak(message_type.to_owned()),
            },
        });
    }

    fn apply(&mut self, effect: &Effect<'_>) {
        match *effect {
            Effect::Send {
                to,
                method,
                payload,
                delivery,
            } => self.sent.push(Sent {
                to: to.to_owned(),
                method: method.to_owned(),
                payload: payload.into(),
                delivery,
                options: SendOptions::new().delivery(delivery),
            }),
            Effect::SendWith {
                to,
                method,
                message_type,
                payload,
                options,
            } => self.sent_with(to, method, message_type, payload, options),
            Effect::Multicast {
                to,
                method,
                message_type,
                payload,
                options,
                token: _,
            } => {
                for to in to.iter() {
                    self.sent_with(to, method, message_type, payload, options);
                }
            }
            Effect::Ask {
                ask,
                to,
                method,
                payload,
                deadline_ms,
                waiter: _,
            } => {
                let asked = Asked {
                    ask,
                    to: to.to_owned(),
                    method: method.to_owned(),
                    payload: payload.into(),
                    deadline: self.now + Duration::from_millis(deadline_ms.into()),
                };
                self.asks.insert(ask, asked);
            }
            Effect::Reply { request, answer } => {
                if let Some(number) = self.requests.remove(&request) {
                    let answer = answer.map(Payload::from).map_err(Failure::from);
                    self.answers.insert(number, answer);
                }
            }
            Effect::Publish {
                topic,
                payload,
                options,
            } => self.published.push(Published {
                topic: topic.to_owned(),
                payload: payload.into(),
                options: published_with(options),
            }),
            Effect::Subscribe { pattern, options } => {
                let subscribed = Subscribed::new(pattern, options.into());
                let name = subscribed.name.clone();
                self.subscriptions.insert(name, subscribed);
            }
            Effect::Unsubscribe { pattern, name } => {
                let name = if name.is_empty() { pattern } else { name };
                self.subscriptions.remove(name);
            }
            Effect::SetTimer {
                id,
                schedule,
                catch_up,
                method,
                payload,
            } => {
                let timer = self.timer(id, &schedule, catch_up, method, payload.into());
                self.timers.remove(&id);
                self.timers.extend(timer.map(|timer| (id, timer)));
            }
            Effect::CancelTimer { id } => {
                self.timers.remove(&id);
            }
            Effect::Spawn { agent, config } => self.spawned.push(Spawned {
                agent: agent.to_owned(),
                config: config.into(),
            }),
            // Whom an ask holds up concerns those who wait in a circle.
            Effect::Wait { .. } => {}
            Effect::Stop { reason } => self.stopped = Some(reason.to_owned()),
            Effect::Log { level, text } => self.logs.push(Logged {
                level,
                text: text.to_owned(),
            }),
        }
    }
}

fn published_with(options: phoenix_wit::Payload<'_>) -> PublishOptions {
    match options.bytes {
        [] => PublishOptions::default(),
        bytes => rmp_serde::from_slice(bytes)
            .unwrap_or_else(|why| panic!("no options of a publication: {why}")),
    }
}

impl Reaction {
    fn fits(&self, asked: &Asked) -> bool {
        let to = match self.to.strip_suffix('*') {
            Some(start) => asked.to.starts_with(start),
            None => asked.to == self.to,
        };
        to && asked.method == self.method
    }
}

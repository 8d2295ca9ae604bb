//! A saga's state, and what it does next.

use std::sync::Arc;

use phoenix_wit::{ContentType, Effect, Level, Payload, Reply};
use serde::{Deserialize, Serialize};

use super::declaration::{Action, Form, Plan, Step};
use super::{MAX_ANSWER, MAX_INPUT, MAX_WAITING, Start};
use crate::patterns::held::{Held, content_type, map};
use crate::patterns::request::{clipped, written};
use crate::patterns::timer::wake_by;
use crate::program::{Outcome, Turned};

/// What a saga takes beside what it holds, bytes, roughly.
const SAGA_BYTES: u64 = 4_096;

/// A saga.
#[derive(Debug, Default)]
pub(super) struct Machine {
    pub(super) state: State,
    /// The declaration, checked.
    pub(super) plan: Option<Arc<Plan>>,
}

/// All that is saved.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    /// As JSON: what it was started with.
    pub(super) declared: Option<String>,
    pub(super) input: Held,
    /// Whose form is that of everything it says to its steps.
    #[serde(with = "content_type")]
    pub(super) form: ContentType,
    pub(super) phase: Phase,
    pub(super) steps: Vec<Done>,
    /// The step that is done or undone; all are when it is their number, or past the first.
    pub(super) at: usize,
    pub(super) now: Now,
    pub(super) failed: Option<Failure>,
    /// When the steps are to be done, nanoseconds.
    pub(super) deadline: Option<u64>,
    pub(super) next_ask: u64,
    pub(super) timer: Option<u64>,
    /// Requests that wait for the end, with the form of their answers.
    pub(super) waiting: Vec<(u64, Held)>,
    pub(super) retries: u64,
    pub(super) late: u64,
}

/// Where a saga is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    #[default]
    New,
    Doing,
    Undoing,
    /// A step could not be undone.
    Stuck,
    Committed,
    Compensated,
}

/// What is known of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Done {
    /// It has not begun, or failed, so that there is nothing to undo.
    Not,
    /// It was done; this is its answer.
    Yes(Held),
    /// It may have been done.
    Maybe,
    /// It was undone. Nothing begins it any more: the saga goes back only.
    Undone,
}

/// What the saga waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Now {
    /// Nothing: it goes on.
    #[default]
    Next,
    /// The answer to an ask.
    Asked {
        ask: u64,
        tries: u32,
        /// Whether an earlier try may have been taken.
        maybe: bool,
    },
    /// The time for another try.
    Again { tries: u32, due: u64, maybe: bool },
}

/// Why the steps are undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failure {
    pub(super) step: String,
    pub(super) why: String,
}

impl Machine {
    /// Begins, or finds that it has begun so already.
    pub(super) fn start(
        &mut self,
        start: Start,
        form: ContentType,
        now: u64,
    ) -> Result<(), Outcome> {
        let bad = |why: String| Outcome::failed("bad-saga", clipped(&why));
        let plan = start.saga.plan().map_err(|why| bad(why.to_string()))?;
        let form = match form {
            ContentType::Json => ContentType::Json,
            _ => ContentType::MessagePack,
        };
        let input = held(form, &start.input, "input").map_err(bad)?;
        for step in &start.saga.steps {
            if let Some(input) = &step.input {
                held(form, input, &format!("step `{}`, input", step.id)).map_err(bad)?;
            }
        }
        let declared = serde_json::to_string(&start.saga).map_err(|why| bad(why.to_string()))?;
        if self.state.phase != Phase::New {
            let same = self.state.declared.as_ref() == Some(&declared) && self.state.input == input;
            let why = "a saga of this id was started with something else: choose another id";
            return if same {
                Ok(())
            } else {
                Err(Outcome::failed("in-use", why))
            };
        }
        self.state = State {
            declared: Some(declared),
            input,
            form,
            phase: Phase::Doing,
            steps: vec![Done::Not; plan.steps.len()],
            deadline: plan.timeout.map(|timeout| now.saturating_add(timeout)),
            ..State::default()
        };
        self.plan = Some(Arc::new(plan));
        Ok(())
    }

    /// Whoever sent the request of that number is answered when the saga has ended.
    pub(super) fn wait(&mut self, request: u64, form: ContentType) -> Result<(), Outcome> {
        if self.state.waiting.len() >= MAX_WAITING {
            let text = format!("{MAX_WAITING} wait for it already: ask for its `status`");
            return Err(Outcome::failed("busy", text));
        }
        self.state
            .waiting
            .push((request, Held::new(form, Vec::new())));
        Ok(())
    }

    pub(super) fn waits(&self, request: u64) -> bool {
        self.state
            .waiting
            .iter()
            .any(|(number, _)| *number == request)
    }

    pub(super) fn waits_no_more(&mut self, request: u64) {
        self.state.waiting.retain(|(number, _)| *number != request);
    }

    /// Undoes what was done, if not all is yet.
    pub(super) fn cancel(&mut self, reason: &str) {
        if self.state.phase != Phase::Doing {
            return;
        }
        let maybe = match self.state.now {
            Now::Next => false,
            Now::Asked { .. } => true,
            Now::Again { maybe, .. } => maybe,
        };
        self.turn_back(reason, maybe);
    }

    /// Tries again to undo what could not be undone.
    pub(super) fn resume(&mut self) {
        if self.state.phase == Phase::Stuck {
            self.state.phase = Phase::Undoing;
        }
    }

    pub(super) fn timer_fired(&mut self, now: u64) {
        self.state.timer = None;
        if self.state.deadline.is_some_and(|deadline| deadline <= now) {
            self.state.deadline = None;
            self.cancel("the time for all steps is over (timeout_ms)");
        }
    }

    /// An ask has ended.
    pub(super) fn reply(&mut self, ask: u64, reply: Reply<'_>, now: u64, out: &mut Turned<'_>) {
        let plan = self.plan.clone();
        let step = plan.as_ref().and_then(|plan| plan.steps.get(self.state.at));
        let (
            Some(step),
            Now::Asked {
                ask: of,
                tries,
                maybe,
            },
        ) = (step, self.state.now)
        else {
            return self.refuse(ask, out);
        };
        if of != ask {
            return self.refuse(ask, out);
        }
        self.state.now = Now::Next;
        let (why, unsure) = match reply {
            Reply::Ok(answer) => return self.done(step, answer, out),
            Reply::Failed(failure) => (format!("{}: {}", failure.code, failure.message), false),
            Reply::Unavailable(why) => (format!("unavailable: {why}"), false),
            Reply::Timeout => ("no answer in time".to_owned(), true),
            Reply::Abandoned => ("its answer was given up".to_owned(), true),
            Reply::Deadlock => ("it waits for this saga itself".to_owned(), true),
            Reply::Bounced(why) => (format!("not delivered: {why}"), true),
        };
        let why = clipped(&why);
        let maybe = maybe || unsure;
        let undoes = self.state.phase == Phase::Undoing;
        let tried = match (&step.undo, undoes) {
            (Some(undo), true) => undo.tries,
            _ => step.act.tries,
        };
        let may = undoes || step.repeatable || !unsure;
        if let Some(due) = tried.next(tries, now).filter(|_| may) {
            self.state.retries += 1;
            self.state.now = Now::Again { tries, due, maybe };
        } else if undoes {
            self.state.phase = Phase::Stuck;
            let text = format!("step `{}` cannot be undone: {why}", step.id);
            log(out, Level::Error, &text);
            self.state.failed = Some(Failure {
                step: step.id.clone(),
                why: clipped(&text),
            });
        } else {
            log(
                out,
                Level::Warn,
                &format!("step `{}` failed: {why}", step.id),
            );
            self.turn_back(&why, maybe);
        }
    }

    /// What came too late: the step was tried anew, or given up and undone.
    fn refuse(&mut self, ask: u64, out: &mut Turned<'_>) {
        self.state.late += 1;
        log(
            out,
            Level::Info,
            &format!("ask {ask} was given up before it ended"),
        );
    }

    fn done(&mut self, step: &Step, answer: Payload<'_>, out: &mut Turned<'_>) {
        if self.state.phase == Phase::Undoing {
            self.set(self.state.at, Done::Undone);
            return;
        }
        if answer.bytes.len() > MAX_ANSWER {
            let bytes = answer.bytes.len();
            let why = format!("its answer has {bytes} bytes, and {MAX_ANSWER} is the most");
            log(out, Level::Warn, &format!("step `{}`: {why}", step.id));
            return self.turn_back(&why, true);
        }
        self.set(self.state.at, Done::Yes(Held::of(answer)));
        self.state.at += 1;
    }

    fn set(&mut self, step: usize, done: Done) {
        if let Some(of) = self.state.steps.get_mut(step) {
            *of = done;
        }
    }

    /// Undoes what was done so far, and the step it is at if that may have been done.
    fn turn_back(&mut self, why: &str, maybe: bool) {
        let plan = self.plan.as_ref();
        let step = plan.and_then(|plan| plan.steps.get(self.state.at));
        self.state.failed = Some(Failure {
            step: step.map(|step| step.id.clone()).unwrap_or_default(),
            why: clipped(why),
        });
        if maybe {
            self.set(self.state.at, Done::Maybe);
        }
        self.state.phase = Phase::Undoing;
        self.state.now = Now::Next;
        self.state.deadline = None;
    }

    /// Does what is next, and sets the timer for what is later.
    pub(super) fn go_on(&mut self, now: u64, out: &mut Turned<'_>) {
        if let Some(plan) = self.plan.clone() {
            let tries = match self.state.now {
                Now::Next => Some((0, false)),
                Now::Again { tries, due, maybe } if due <= now => Some((tries, maybe)),
                _ => None,
            };
            match (self.state.phase, tries) {
                (Phase::Doing, Some(tries)) => self.act(&plan, tries, out),
                (Phase::Undoing, Some(tries)) => self.undo(&plan, tries, out),
                _ => {}
            }
        }
        self.set_timer(now, out);
    }

    fn act(&mut self, plan: &Plan, tries: (u32, bool), out: &mut Turned<'_>) {
        let Some(step) = plan.steps.get(self.state.at) else {
            self.state.phase = Phase::Committed;
            self.state.deadline = None;
            return;
        };
        self.ask(step, &step.act, None, tries, out);
    }

    /// Goes back to the last step that is to be undone.
    fn undo(&mut self, plan: &Plan, tries: (u32, bool), out: &mut Turned<'_>) {
        let mut steps = (0..=self.state.at).rev();
        let found = steps.find_map(|number| {
            let step = plan.steps.get(number)?;
            let done = self.state.steps.get(number)?;
            let undo = step.undo.as_ref()?;
            match done {
                Done::Yes(answer) => Some((number, step, undo, Some(answer.clone()))),
                Done::Maybe => Some((number, step, undo, None)),
                Done::Not | Done::Undone => None,
            }
        });
        let Some((number, step, undo, answer)) = found else {
            self.state.phase = Phase::Compensated;
            return;
        };
        self.state.at = number;
        let answer = answer.unwrap_or_default();
        self.ask(step, undo, Some(&answer), tries, out);
    }

    fn ask(
        &mut self,
        step: &Step,
        action: &Action,
        answer: Option<&Held>,
        (tries, maybe): (u32, bool),
        out: &mut Turned<'_>,
    ) {
        let form = self.state.form;
        let own = step.input.as_ref().map(|input| held(form, input, "input"));
        let input = match &own {
            Some(Ok(input)) => input.as_wit(),
            _ => self.state.input.as_wit(),
        };
        let key = out.agent().split_once('/').map_or("", |(_, key)| key);
        let id = format!("{key}/{}", step.id);
        let payload = match (action.form, answer) {
            (Form::Plain, None) => Held::of(input),
            (Form::Plain, Some(answer)) if answer.says_nothing() => Held::of(input),
            (Form::Plain, Some(answer)) => answer.clone(),
            (Form::Step, answer) => map(form, &id, input, answer.map(Held::as_wit)),
        };
        let ask = self.state.next_ask;
        self.state.next_ask += 1;
        out.effect(&Effect::Ask {
            ask,
            to: &action.to,
            method: &action.method,
            payload: payload.as_wit(),
            deadline_ms: action.timeout_ms,
            waiter: None,
        });
        let tries = tries + 1;
        self.state.now = Now::Asked { ask, tries, maybe };
    }

    fn set_timer(&mut self, now: u64, out: &mut Turned<'_>) {
        let again = match self.state.now {
            Now::Again { due, .. } => Some(due),
            _ => None,
        };
        let Some(next) = again.into_iter().chain(self.state.deadline).min() else {
            return;
        };
        wake_by(&mut self.state.timer, next, now, out);
    }

    /// Answers who waits, once the saga has ended, or cannot go on.
    pub(super) fn tell(&mut self, out: &mut Turned<'_>) {
        if self.ending(ContentType::None).is_none() {
            return;
        }
        for (request, form) in std::mem::take(&mut self.state.waiting) {
            let ending = self.ending(form.content_type());
            let answer = match &ending {
                Some(Outcome::Ok(payload)) => Ok(payload.as_wit()),
                Some(Outcome::Failed(failure)) => Err(phoenix_wit::Failure {
                    code: &failure.code,
                    message: &failure.message,
                    details: failure.details.as_wit(),
                }),
                _ => continue,
            };
            out.effect(&Effect::Reply { request, answer });
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        let answers = self.state.steps.iter().map(|step| match step {
            Done::Yes(answer) => answer.len(),
            _ => 0,
        });
        let declared = self.state.declared.as_ref().map_or(0, String::len);
        SAGA_BYTES + (answers.sum::<usize>() + self.state.input.len() + 2 * declared) as u64
    }
}

/// A value in its form, if it is not too large.
fn held(form: ContentType, value: &serde_json::Value, what: &str) -> Result<Held, String> {
    let payload = written(form, value).map_err(|why| format!("{what}: {why}"))?;
    let bytes = payload.bytes.len();
    if bytes > MAX_INPUT {
        return Err(format!(
            "{what}: {bytes} bytes, and {MAX_INPUT} is the most"
        ));
    }
    Ok(Held::of(payload.as_wit()))
}

fn log(out: &mut Turned<'_>, level: Level, text: &str) {
    out.effect(&Effect::Log { level, text });
}

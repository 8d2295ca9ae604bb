//! A cluster in memory for tests: it keeps the promises of a real one, and
//! makes as much trouble as they allow. Or it breaks them, to be found out.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::cluster::{ALERTS, Cluster, Event, Page, Question, RequestError, SITE, Verdict};
use super::log::{Count, Counted, Entry};
use super::random::Random;

/// What a cluster must not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breach {
    /// Nothing.
    None,
    /// Says that it took an event and did not.
    Loses,
    /// Takes an event twice.
    Doubles,
    /// Gives an event up.
    GivesUp,
    /// Never moves an agent.
    Stays,
    /// Takes nothing any more.
    Refuses,
}

pub(super) struct FakeCluster {
    random: RefCell<Random>,
    breach: Breach,
    breached: Cell<bool>,
    /// One request in so many fails in each of the allowed ways.
    trouble: u64,
    visitors: RefCell<BTreeMap<String, Visitor>>,
    /// The count of what was taken so far, until more is.
    counted: RefCell<Option<Rc<Counted>>>,
    homes: RefCell<BTreeMap<String, usize>>,
    pub(super) slept: Cell<u64>,
}

#[derive(Default)]
struct Visitor {
    taken: u64,
    events: Vec<Event>,
}

impl FakeCluster {
    pub(super) fn new(seed: u64, trouble: u64, breach: Breach) -> Self {
        Self {
            random: RefCell::new(Random::new(seed)),
            breach,
            breached: Cell::new(false),
            trouble,
            visitors: RefCell::default(),
            counted: RefCell::default(),
            homes: RefCell::default(),
            slept: Cell::new(0),
        }
    }

    fn is_trouble(&self) -> bool {
        self.trouble > 0 && self.random.borrow_mut().below(self.trouble) == 0
    }

    /// Breaks the promise once, in the middle of things.
    fn breaks(&self, breach: Breach) -> bool {
        let due = self.breach == breach
            && !self.breached.get()
            && self.random.borrow_mut().below(100) == 0;
        if due {
            self.breached.set(true);
        }
        due
    }

    fn take(&self, event: &Event) -> Verdict {
        if self.breach == Breach::Refuses || self.is_trouble() {
            return Verdict::Refused("the mailbox is full".into());
        }
        if self.is_trouble() {
            return Verdict::Unknown;
        }
        let mut visitors = self.visitors.borrow_mut();
        let visitor = visitors.entry(event.agent.to_string()).or_default();
        if event.n <= visitor.taken {
            return Verdict::Applied;
        }
        if event.n > visitor.taken + 1 {
            return Verdict::Refused(format!("expected {}", visitor.taken + 1));
        }
        visitor.taken = event.n;
        self.counted.take();
        if self.breaks(Breach::GivesUp) {
            return Verdict::Dead("expired".into());
        }
        if !self.breaks(Breach::Loses) {
            visitor.events.push(event.clone());
        }
        if self.breaks(Breach::Doubles) {
            visitor.events.push(event.clone());
        }
        if self.is_trouble() {
            return Verdict::Unknown;
        }
        Verdict::Applied
    }

    fn counted(&self) -> Rc<Counted> {
        if let Some(counted) = &*self.counted.borrow() {
            return counted.clone();
        }
        let mut count = Count::default();
        for (id, visitor) in &*self.visitors.borrow() {
            for event in &visitor.events {
                count.entry(&Entry {
                    visitor: id["visitor/".len()..].into(),
                    at: event.at,
                    status: event.status,
                    bytes: event.bytes,
                });
            }
        }
        let counted = Rc::new(count.finish());
        *self.counted.borrow_mut() = Some(counted.clone());
        counted
    }

    fn answer(&self, agent: &str, question: Question) -> Option<Value> {
        let counted = self.counted();
        let total = &counted.total;
        let none = json!({"lost": 0, "duplicated": 0, "reordered": 0});
        if agent == SITE {
            return Some(json!({
                "events": total.events, "visitors": counted.visitors.len(), "bytes": total.bytes,
                "statuses": total.statuses, "sessions": total.sessions, "deviations": none,
            }));
        }
        if agent == ALERTS {
            let bursts =
                |visitor: Option<String>, count: &super::log::VisitorCount| -> Vec<Value> {
                    let bursts = count.errors.bursts.iter();
                    bursts
                        .map(|b| json!({"visitor": visitor, "from": b.from, "to": b.to}))
                        .collect()
                };
            let mut alerts = bursts(None, total);
            for (name, count) in &counted.visitors {
                alerts.extend(bursts(Some(format!("visitor/{name}")), count));
            }
            return Some(match question {
                Question::Report => json!({
                    "errors": total.errors.count, "alerts": alerts.len(), "deviations": none,
                }),
                // Pages of three, so that there are several.
                Question::Alerts { from } => {
                    let from = usize::try_from(from).unwrap();
                    alerts.into_iter().skip(from).take(3).collect()
                }
            });
        }
        let count = counted.visitors.get(agent.strip_prefix("visitor/")?)?;
        let visitors = self.visitors.borrow();
        let visitor = visitors.get(agent)?;
        let mut numbers: Vec<u64> = visitor.events.iter().map(|event| event.n).collect();
        let in_order = numbers.is_sorted();
        numbers.dedup();
        Some(json!({
            "events": count.events, "bytes": count.bytes, "statuses": count.statuses,
            "sessions": count.sessions, "errors": count.errors.count,
            "deviations": {
                "lost": numbers.last().unwrap_or(&0) - numbers.len() as u64,
                "duplicated": count.events - numbers.len() as u64,
                "reordered": u64::from(!in_order),
            },
        }))
    }
}

fn passing(text: &str) -> RequestError {
    RequestError {
        passing: true,
        text: text.into(),
    }
}

impl Cluster for FakeCluster {
    fn nodes(&self) -> usize {
        2
    }

    async fn feed(&self, _node: usize, events: &[Event]) -> Result<Vec<Verdict>, RequestError> {
        tokio::task::yield_now().await;
        if self.is_trouble() {
            return Err(passing("the connection was refused"));
        }
        let verdicts = events.iter().map(|event| self.take(event)).collect();
        if self.is_trouble() {
            return Err(passing("the connection was reset"));
        }
        Ok(verdicts)
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        _node: usize,
        agent: &str,
        question: Question,
    ) -> Result<T, RequestError> {
        tokio::task::yield_now().await;
        if self.is_trouble() {
            return Err(passing("the agent moves"));
        }
        let answer = self.answer(agent, question).ok_or(RequestError {
            passing: false,
            text: format!("there is no agent {agent}"),
        })?;
        Ok(serde_json::from_value(answer).unwrap())
    }

    async fn migrate(&self, agent: &str, node: usize) -> Result<Option<u64>, RequestError> {
        tokio::task::yield_now().await;
        if self.breach == Breach::Stays || self.is_trouble() {
            return Err(passing("the target does not answer"));
        }
        let home = self.homes.borrow_mut().insert(agent.into(), node);
        Ok((home.unwrap_or(0) != node).then_some(100))
    }

    async fn hibernate(&self, _agent: &str) -> Result<bool, RequestError> {
        tokio::task::yield_now().await;
        if self.is_trouble() {
            return Ok(false);
        }
        self.slept.set(self.slept.get() + 1);
        Ok(true)
    }

    async fn agents(&self, after: Option<&str>) -> Result<Page, RequestError> {
        let counted = self.counted();
        let mut all: Vec<String> = self.visitors.borrow().keys().cloned().collect();
        all.push(SITE.into());
        if counted.total.errors.count > 0 {
            all.push(ALERTS.into());
        }
        all.sort_unstable();
        all.retain(|agent| after.is_none_or(|after| agent.as_str() > after));
        let more = all.len() > 100;
        all.truncate(100);
        let next = all.last().filter(|_| more).cloned();
        Ok((all, next))
    }

    async fn counters(&self, _node: usize) -> Result<BTreeMap<String, u64>, RequestError> {
        Ok([
            ("hibernations".into(), self.slept.get()),
            ("wakes".into(), 7),
        ]
        .into())
    }
}

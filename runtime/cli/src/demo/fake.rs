//! A cluster in memory for tests: it keeps the promises of a real one, and
//! makes as much trouble as they allow. Or it breaks them, to be found out.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::cluster::{ALERTS, Cluster, Event, Page, Question, RequestError, SITE, Verdict};
use super::log::{Count, Counted, Entry, FIRST_ERROR, VisitorCount};
use super::random::Random;

/// Which of its chances to break its promise it takes, counted from 0.
const CHANCE: u32 = 10;

/// What a cluster must not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breach {
    /// Nothing.
    None,
    /// Harms one message that it says was taken.
    Harms(Way, Harm),
    /// Gives an event up.
    GivesUp,
    /// Never moves an agent.
    Stays,
    /// Takes nothing any more.
    Refuses,
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the feed to a visitor.
    Feed,
    /// From a visitor to `site/main`.
    Site,
    /// From the feed to `alerts/main`.
    Alerts,
}

/// What happens to it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Harm {
    /// It does not come.
    Loses,
    /// It comes twice.
    Doubles,
    /// It comes before the one that was sent before it.
    Reorders,
}

pub(super) struct FakeCluster {
    random: RefCell<Random>,
    breach: Breach,
    /// How often it could have broken its promise.
    chances: Cell<u32>,
    /// One request in so many fails in each of the allowed ways.
    trouble: u64,
    /// The feeder and the place of the event that was given up.
    given_up: Cell<Option<(usize, u64)>>,
    /// What was taken last of each feeder.
    taken: RefCell<BTreeMap<usize, u64>>,
    visitors: RefCell<BTreeMap<String, Visitor>>,
    /// What has come on each way so far, until more does.
    come: RefCell<[Option<Rc<Come>>; 3]>,
    homes: RefCell<BTreeMap<String, usize>>,
    pub(super) slept: Cell<u64>,
}

/// A visitor's events as they came on each way, with their numbers there.
#[derive(Default)]
struct Visitor {
    /// What it has told `site/main` so far.
    told: u64,
    heard: [Heard; 3],
}

/// What has come on one way to all visitors together.
struct Come {
    counted: Counted,
    deviations: Value,
}

#[derive(Default)]
struct Heard(Vec<(u64, Event)>);

impl Heard {
    /// What did not come as it should, found in the plainest way.
    fn deviations(&self) -> Value {
        let (mut seen, mut highest) = (BTreeSet::new(), 0);
        let (mut duplicated, mut reordered) = (0, 0);
        for (n, _) in &self.0 {
            if !seen.insert(*n) {
                duplicated += 1;
            } else if *n < highest {
                reordered += 1;
            }
            highest = highest.max(*n);
        }
        let lost = highest - seen.len() as u64;
        json!({"lost": lost, "duplicated": duplicated, "reordered": reordered})
    }
}

impl FakeCluster {
    pub(super) fn new(seed: u64, trouble: u64, breach: Breach) -> Self {
        Self {
            random: RefCell::new(Random::new(seed)),
            breach,
            chances: Cell::new(0),
            trouble,
            given_up: Cell::new(None),
            taken: RefCell::default(),
            visitors: RefCell::default(),
            come: RefCell::default(),
            homes: RefCell::default(),
            slept: Cell::new(0),
        }
    }

    fn is_trouble(&self) -> bool {
        self.trouble > 0 && self.random.borrow_mut().below(self.trouble) == 0
    }

    /// Breaks the promise once, in the middle of things.
    fn breaks(&self, breach: Breach) -> bool {
        self.breach == breach && self.chances.replace(self.chances.get() + 1) == CHANCE
    }

    fn take(&self, feeder: usize, event: &Event) -> Verdict {
        if self.breach == Breach::Refuses || self.is_trouble() {
            return Verdict::Refused("the mailbox is full".into());
        }
        if self.is_trouble() {
            return Verdict::Unknown;
        }
        let mut taken = self.taken.borrow_mut();
        let taken = taken.entry(feeder).or_default();
        if self.given_up.get() == Some((feeder, event.place)) {
            return Verdict::Dead("expired".into());
        }
        if event.place <= *taken {
            return Verdict::Applied;
        }
        if event.place > *taken + 1 {
            return Verdict::Refused(format!("expected {}", *taken + 1));
        }
        *taken = event.place;
        let mut visitors = self.visitors.borrow_mut();
        let visitor = visitors.entry(event.agent.to_string()).or_default();
        self.come.take();
        if self.breaks(Breach::GivesUp) {
            self.given_up.set(Some((feeder, event.place)));
            return Verdict::Dead("expired".into());
        }
        for _ in 0..self.carry(Way::Feed, visitor, event.n, event) {
            visitor.told += 1;
            self.carry(Way::Site, visitor, visitor.told, event);
        }
        if event.status >= FIRST_ERROR {
            self.carry(Way::Alerts, visitor, event.errors, event);
        }
        if self.is_trouble() {
            return Verdict::Unknown;
        }
        Verdict::Applied
    }

    /// Lets a message come, and says how often it did.
    fn carry(&self, way: Way, visitor: &mut Visitor, n: u64, event: &Event) -> usize {
        let Heard(heard) = &mut visitor.heard[way as usize];
        let copies = if self.breaks(Breach::Harms(way, Harm::Loses)) {
            0
        } else if self.breaks(Breach::Harms(way, Harm::Doubles)) {
            2
        } else {
            1
        };
        let mut at = heard.len();
        // There must be one before it to come after it.
        if at > 0 && self.breaks(Breach::Harms(way, Harm::Reorders)) {
            at -= 1;
        }
        for _ in 0..copies {
            heard.insert(at, (n, event.clone()));
        }
        copies
    }

    /// All that has come on `way`.
    fn come(&self, way: Way) -> Rc<Come> {
        let slot = way as usize;
        if let Some(come) = &self.come.borrow()[slot] {
            return come.clone();
        }
        let mut count = Count::default();
        let mut sum = BTreeMap::from(["lost", "duplicated", "reordered"].map(|name| (name, 0)));
        for (id, visitor) in &*self.visitors.borrow() {
            for (_, event) in &visitor.heard[slot].0 {
                count.entry(&Entry {
                    visitor: id["visitor/".len()..].into(),
                    at: event.at,
                    status: event.status,
                    bytes: event.bytes,
                });
            }
            let deviations = visitor.heard[slot].deviations();
            for (name, sum) in &mut sum {
                *sum += deviations[name].as_u64().unwrap();
            }
        }
        let come = Rc::new(Come {
            counted: count.finish(),
            deviations: json!(sum),
        });
        self.come.borrow_mut()[slot] = Some(come.clone());
        come
    }

    fn answer(&self, agent: &str, question: Question) -> Option<Value> {
        match agent {
            SITE => Some(self.site()),
            ALERTS => Some(self.alerts(question)),
            visitor => self.visitor(visitor),
        }
    }

    fn site(&self) -> Value {
        let come = self.come(Way::Site);
        let Come {
            counted,
            deviations,
        } = &*come;
        let total = &counted.total;
        json!({
            "events": total.events, "visitors": counted.visitors.len(), "bytes": total.bytes,
            "statuses": total.statuses, "sessions": total.sessions,
            "deviations": deviations,
        })
    }

    fn alerts(&self, question: Question) -> Value {
        let come = self.come(Way::Alerts);
        let counted = &come.counted;
        let bursts = |visitor: Option<String>, count: &VisitorCount| -> Vec<Value> {
            let bursts = count.errors.bursts.iter();
            bursts
                .map(|b| json!({"visitor": visitor, "from": b.from, "to": b.to}))
                .collect()
        };
        let mut alerts = bursts(None, &counted.total);
        for (name, count) in &counted.visitors {
            alerts.extend(bursts(Some(format!("visitor/{name}")), count));
        }
        match question {
            Question::Report => json!({
                "errors": counted.total.errors.count, "alerts": alerts.len(), "untracked": 0,
                "minutes": counted.total.errors.minutes,
                "deviations": come.deviations,
            }),
            // Pages of three, so that there are several.
            Question::Alerts { from } => {
                let from = usize::try_from(from).unwrap();
                alerts.into_iter().skip(from).take(3).collect()
            }
        }
    }

    fn visitor(&self, agent: &str) -> Option<Value> {
        let come = self.come(Way::Feed);
        let count = come.counted.visitors.get(agent.strip_prefix("visitor/")?)?;
        let visitors = self.visitors.borrow();
        Some(json!({
            "events": count.events, "bytes": count.bytes, "statuses": count.statuses,
            "sessions": count.sessions, "errors": count.errors.count,
            "deviations": visitors.get(agent)?.heard[Way::Feed as usize].deviations(),
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

    async fn feed(
        &self,
        _node: usize,
        feeder: usize,
        events: &[Event],
    ) -> Result<Vec<Verdict>, RequestError> {
        tokio::task::yield_now().await;
        if self.is_trouble() {
            return Err(passing("the connection was refused"));
        }
        let verdicts = events
            .iter()
            .map(|event| self.take(feeder, event))
            .collect();
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
        let come = self.come(Way::Alerts);
        let mut all: Vec<String> = self.visitors.borrow().keys().cloned().collect();
        all.push(SITE.into());
        if come.counted.total.errors.count > 0 {
            all.push(ALERTS.into());
        }
        all.sort_unstable();
        all.retain(|agent| after.is_none_or(|after| agent.as_str() > after));
        let more = all.len() > 100;
        all.truncate(100);
        let next = all.last().filter(|_| more).cloned();
        Ok((all, next))
    }

    async fn kill(&self, _node: usize) -> Result<Duration, RequestError> {
        let down = Duration::from_millis(3);
        tokio::time::sleep(down).await;
        Ok(down)
    }

    async fn counters(&self, _node: usize) -> Result<BTreeMap<String, u64>, RequestError> {
        Ok([
            ("hibernations".into(), self.slept.get()),
            ("wakes".into(), 7),
            ("restored".into(), 5),
        ]
        .into())
    }
}

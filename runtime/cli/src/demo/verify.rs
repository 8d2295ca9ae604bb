//! Holds every agent's state against the independent count.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::rc::Rc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::cluster::{ALERTS, Cluster, OWNERS, Question, RequestError, SITE};
use super::log::{Counted, VisitorCount};
use super::outcome::grouped;
use super::reports::{Alert, Alerts, Deviations, Site, Visitor};

/// How long `site/main` and `alerts/main` may hear nothing new before the
/// comparison begins without the rest.
const SETTLE_PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at them.
const SETTLE_INTERVAL: Duration = Duration::from_millis(25);

/// How long one agent is asked again when it cannot answer just now.
const ASK_PATIENCE: Duration = Duration::from_secs(30);

/// Between two such questions.
const ASK_INTERVAL: Duration = Duration::from_millis(50);

/// Agents asked at once.
const AT_ONCE: usize = 16;

/// Differences that are written out; the others are only counted.
const SHOWN: usize = 10;

/// What the comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// Agents that live.
    pub(super) agents: u64,
    /// Messages that were sent and not taken in, on any way.
    pub(super) lost: u64,
    /// Messages that were taken in again.
    pub(super) duplicated: u64,
    /// Messages that were taken in after later ones.
    pub(super) reordered: u64,
    /// Bursts of errors.
    pub(super) alerts: u64,
    /// How many values are not as counted.
    pub(super) differences: u64,
    /// The first of them in words.
    pub(super) shown: Vec<String>,
    /// What could not be compared, and why.
    pub(super) remarks: Vec<String>,
}

impl Findings {
    /// Adds something that is not as it should be.
    fn differ(&mut self, text: String) {
        self.differences += 1;
        if self.shown.len() < SHOWN {
            self.shown.push(text);
        }
    }

    fn compare<T: PartialEq + Display>(&mut self, agent: &str, field: &str, is: &T, should: &T) {
        if is != should {
            self.differ(format!("{agent}: {field} is {is} and should be {should}"));
        }
    }

    fn deviate(&mut self, found: Deviations, sent: u64, taken: u64) {
        self.duplicated += found.duplicated;
        self.reordered += found.reordered;
        // The tail of a stream leaves no gap, so what is lost is counted from
        // both ends: what was sent without what came, each counted once.
        let arrived = taken.saturating_sub(found.duplicated);
        self.lost += found.lost.max(sent.saturating_sub(arrived));
    }
}

/// Waits until what visitors told has arrived, then compares everything.
/// Runs on a local task set.
pub(super) async fn verify<C: Cluster>(cluster: &Rc<C>, counted: &Rc<Counted>) -> Findings {
    settle(cluster, counted).await;
    let found = Rc::new(RefCell::new(Findings::default()));
    let told = ask_visitors(cluster, counted, &found).await;
    let mut found = found.take();
    compare_site(cluster, counted, told, &mut found).await;
    if counted.total.errors.count > 0 {
        compare_alerts(cluster, counted, &mut found).await;
    }
    compare_agents(cluster, counted, &mut found).await;
    found
}

/// Waits until `site/main` and `alerts/main` have heard of everything, or hear
/// of nothing more.
async fn settle<C: Cluster>(cluster: &Rc<C>, counted: &Counted) {
    let expected = (counted.total.events, counted.total.errors.count);
    let (mut last, mut since) = ((0, 0), Instant::now());
    while since.elapsed() < SETTLE_PATIENCE {
        let site = cluster.ask::<Site>(0, SITE, Question::Report).await;
        let alerts = if expected.1 > 0 {
            cluster.ask::<Alerts>(0, ALERTS, Question::Report).await
        } else {
            Ok(Alerts::default())
        };
        if let (Ok(site), Ok(alerts)) = (site, alerts) {
            let heard = (site.events, alerts.errors);
            if heard.0 >= expected.0 && heard.1 >= expected.1 {
                return;
            }
            if heard != last {
                (last, since) = (heard, Instant::now());
            }
        }
        tokio::time::sleep(SETTLE_INTERVAL).await;
    }
}

/// Compares all visitors, and says how much they told `site/main`.
async fn ask_visitors<C: Cluster>(
    cluster: &Rc<C>,
    counted: &Rc<Counted>,
    found: &Rc<RefCell<Findings>>,
) -> u64 {
    let names: Vec<Box<str>> = counted.visitors.keys().cloned().collect();
    let names = Rc::new(RefCell::new(names.into_iter()));
    let mut askers = JoinSet::new();
    for index in 0..AT_ONCE {
        let (cluster, counted) = (cluster.clone(), counted.clone());
        let (names, found) = (names.clone(), found.clone());
        askers.spawn_local(async move {
            let node = index % cluster.nodes();
            let mut told = 0;
            loop {
                let Some(name) = names.borrow_mut().next() else {
                    return told;
                };
                let Some(should) = counted.visitors.get(&name) else {
                    continue;
                };
                let id = format!("visitor/{name}");
                let answer = ask::<Visitor, C>(&cluster, node, &id, Question::Report).await;
                let mut found = found.borrow_mut();
                match answer {
                    Ok(is) => {
                        told += is.events;
                        compare_visitor(&id, &is, should, &mut found);
                    }
                    Err(error) => {
                        found.lost += should.events;
                        found.differ(format!("{id} does not answer: {error}"));
                    }
                }
            }
        });
    }
    let mut all = 0;
    while let Some(told) = askers.join_next().await {
        match told {
            Ok(told) => all += told,
            Err(error) => found
                .borrow_mut()
                .differ(format!("asking the visitors failed: {error}")),
        }
    }
    all
}

fn compare_visitor(id: &str, is: &Visitor, should: &VisitorCount, found: &mut Findings) {
    found.compare(id, "events", &is.events, &should.events);
    found.compare(id, "bytes", &is.bytes, &should.bytes);
    found.compare(id, "sessions", &is.sessions, &should.sessions);
    found.compare(id, "errors", &is.errors, &should.errors.count);
    compare_statuses(id, &is.statuses, &should.statuses, found);
    found.deviate(is.deviations, should.events, is.events);
}

fn compare_statuses(
    id: &str,
    is: &super::log::Statuses,
    should: &super::log::Statuses,
    found: &mut Findings,
) {
    let statuses: BTreeSet<u16> = is.keys().chain(should.keys()).copied().collect();
    for status in statuses {
        let of = |counts: &super::log::Statuses| counts.get(&status).copied().unwrap_or(0);
        let field = format!("the count of status {status}");
        found.compare(id, &field, &of(is), &of(should));
    }
}

async fn compare_site<C: Cluster>(
    cluster: &Rc<C>,
    counted: &Counted,
    told: u64,
    found: &mut Findings,
) {
    let should = &counted.total;
    match ask::<Site, C>(cluster, 0, SITE, Question::Report).await {
        Ok(is) => {
            let visitors = counted.visitors.len() as u64;
            let sessions = i64::try_from(should.sessions).unwrap_or(i64::MAX);
            found.compare(SITE, "events", &is.events, &should.events);
            found.compare(SITE, "visitors", &is.visitors, &visitors);
            found.compare(SITE, "bytes", &is.bytes, &should.bytes);
            found.compare(SITE, "sessions", &is.sessions, &sessions);
            compare_statuses(SITE, &is.statuses, &should.statuses, found);
            found.deviate(is.deviations, told, is.events);
        }
        Err(error) => {
            found.lost += told;
            found.differ(format!("{SITE} does not answer: {error}"));
        }
    }
}

async fn compare_alerts<C: Cluster>(cluster: &Rc<C>, counted: &Counted, found: &mut Findings) {
    let fed = counted.total.errors.count;
    let is = match ask::<Alerts, C>(cluster, 0, ALERTS, Question::Report).await {
        Ok(is) => is,
        Err(error) => {
            found.lost += fed;
            found.differ(format!("{ALERTS} does not answer: {error}"));
            return;
        }
    };
    found.alerts = is.alerts;
    found.compare(ALERTS, "errors", &is.errors, &fed);
    found.deviate(is.deviations, fed, is.errors);
    if is.untracked > 0 {
        // Without all times it cannot know all bursts; everything else it does know.
        found.remarks.push(format!(
            "{ALERTS} keeps the times of {} errors and counts the other {}: the bursts are not compared",
            grouped(is.errors.saturating_sub(is.untracked)),
            grouped(is.untracked)
        ));
        return;
    }
    let minutes = counted.total.errors.minutes;
    found.compare(ALERTS, "busy minutes", &is.minutes, &minutes);
    compare_bursts(cluster, counted, is.alerts, found).await;
}

async fn compare_bursts<C: Cluster>(
    cluster: &Rc<C>,
    counted: &Counted,
    announced: u64,
    found: &mut Findings,
) {
    let mut alerts: Vec<Alert> = Vec::new();
    loop {
        let from = alerts.len() as u64;
        match ask::<Vec<Alert>, C>(cluster, 0, ALERTS, Question::Alerts { from }).await {
            Ok(page) if page.is_empty() => break,
            Ok(page) => alerts.extend(page),
            Err(error) => return found.differ(format!("{ALERTS} does not answer: {error}")),
        }
        if alerts.len() as u64 >= announced {
            break;
        }
    }
    alerts.sort_unstable();
    let should = expected_alerts(counted);
    found.compare(ALERTS, "the number of bursts", &alerts.len(), &should.len());
    for (is, should) in alerts.iter().zip(&should) {
        found.compare(ALERTS, "a burst", &shown(is), &shown(should));
    }
}

fn expected_alerts(counted: &Counted) -> Vec<Alert> {
    let site = std::iter::once((None, &counted.total));
    let visitors = counted
        .visitors
        .iter()
        .map(|(name, count)| (Some(format!("visitor/{name}")), count));
    let mut alerts: Vec<Alert> = site
        .chain(visitors)
        .flat_map(|(visitor, count)| {
            count.errors.bursts.iter().map(move |burst| Alert {
                visitor: visitor.clone(),
                from: burst.from,
                to: burst.to,
            })
        })
        .collect();
    alerts.sort_unstable();
    alerts
}

fn shown(alert: &Alert) -> String {
    let whose = alert.visitor.as_deref().unwrap_or("all visitors");
    format!("of {whose} from {} to {}", alert.from, alert.to)
}

/// Compares who lives with who should.
async fn compare_agents<C: Cluster>(cluster: &Rc<C>, counted: &Counted, found: &mut Findings) {
    let mut expected: BTreeSet<String> = counted
        .visitors
        .keys()
        .map(|name| format!("visitor/{name}"))
        .collect();
    expected.insert(SITE.into());
    if counted.total.errors.count > 0 {
        expected.insert(ALERTS.into());
    }
    let mut after: Option<String> = None;
    loop {
        let page = patiently(async || cluster.agents(after.as_deref()).await).await;
        let (page, next) = match page {
            Ok(page) => page,
            Err(error) => return found.differ(format!("the agents cannot be listed: {error}")),
        };
        // The owner of the topic is the node's own, and no sample's.
        for agent in page.into_iter().filter(|agent| !agent.starts_with(OWNERS)) {
            found.agents += 1;
            if !expected.remove(&agent) {
                found.differ(format!("{agent} lives and should not, or is listed twice"));
            }
        }
        // A list that goes back would have no end.
        if next <= after {
            break;
        }
        after = next;
    }
    for agent in expected {
        found.differ(format!("{agent} is not in the list of agents"));
    }
}

async fn ask<T: DeserializeOwned, C: Cluster>(
    cluster: &Rc<C>,
    node: usize,
    agent: &str,
    question: Question,
) -> Result<T, RequestError> {
    patiently(async || cluster.ask(node, agent, question).await).await
}

/// Repeats `request` while its failure is a passing one and there is time.
async fn patiently<T>(
    request: impl AsyncFn() -> Result<T, RequestError>,
) -> Result<T, RequestError> {
    let since = Instant::now();
    loop {
        match request().await {
            Err(error) if error.passing && since.elapsed() < ASK_PATIENCE => {
                tokio::time::sleep(ASK_INTERVAL).await;
            }
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests;

//! The comparison against agents that say what a test wants them to.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::task::LocalSet;

use super::super::cluster::{Event, Page, Verdict};
use super::super::log::{Count, LogReader};
use super::*;

/// Agents and what each of them answers, whatever it is asked but for the bursts.
#[derive(Clone, Default)]
struct Said {
    agents: BTreeMap<String, Value>,
    bursts: Vec<Value>,
    /// Pages of the list of agents, after what; one of all of them if empty.
    pages: BTreeMap<Option<String>, Page>,
}

impl Cluster for Said {
    fn nodes(&self) -> usize {
        2
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        _node: usize,
        agent: &str,
        question: Question,
    ) -> Result<T, RequestError> {
        let answer = match question {
            Question::Report => self.agents.get(agent).cloned(),
            Question::Alerts { from } => {
                let from = usize::try_from(from).unwrap();
                Some(self.bursts.iter().skip(from).cloned().collect())
            }
        };
        let answer = answer.filter(|answer| !answer.is_null());
        let answer = answer.ok_or(RequestError {
            passing: false,
            text: "it is not there".into(),
        })?;
        Ok(serde_json::from_value(answer).unwrap())
    }

    async fn agents(&self, after: Option<&str>) -> Result<Page, RequestError> {
        let after = after.map(ToOwned::to_owned);
        let all = || (self.agents.keys().cloned().collect(), None);
        Ok(self.pages.get(&after).cloned().unwrap_or_else(all))
    }

    async fn feed(&self, _: usize, _: usize, _: &[Event]) -> Result<Vec<Verdict>, RequestError> {
        Ok(Vec::new())
    }

    async fn migrate(&self, _: &str, _: usize) -> Result<Option<u64>, RequestError> {
        Ok(None)
    }

    async fn hibernate(&self, _: &str) -> Result<bool, RequestError> {
        Ok(false)
    }

    async fn kill(&self, _: usize) -> Result<Duration, RequestError> {
        Ok(Duration::ZERO)
    }

    async fn counters(&self, _: usize) -> Result<BTreeMap<String, u64>, RequestError> {
        Ok(BTreeMap::new())
    }
}

/// A log of eight lines, and agents that say what is right of it.
fn sound() -> (Rc<Counted>, Said) {
    let line = |visitor: &str, second: u32, status: u16, bytes: u64| {
        format!(
            "{visitor} - - [17/May/2015:10:05:{second:02} +0000] \"GET / HTTP/1.1\" {status} \
             {bytes} \"-\" \"-\"\n"
        )
    };
    let mut text = line("a", 0, 200, 5) + &line("a", 1, 304, 0) + &line("b", 2, 200, 7);
    for second in 3..8 {
        text += &line("b", second, 404, 1);
    }
    let counted = Count::all(LogReader::new(text.as_bytes())).unwrap();
    let none = json!({"lost": 0, "duplicated": 0, "reordered": 0});
    let burst = |visitor| json!({"visitor": visitor, "from": 1_431_857_103, "to": 1_431_857_107});
    let agents = [
        (
            "visitor/a",
            json!({"events": 2, "bytes": 5, "statuses": {"200": 1, "304": 1}, "sessions": 1,
                "errors": 0, "deviations": none}),
        ),
        (
            "visitor/b",
            json!({"events": 6, "bytes": 12, "statuses": {"200": 1, "404": 5}, "sessions": 1,
                "errors": 5, "deviations": none}),
        ),
        (
            SITE,
            json!({"events": 8, "visitors": 2, "bytes": 17,
                "statuses": {"200": 2, "304": 1, "404": 5}, "sessions": 2, "deviations": none}),
        ),
        (
            ALERTS,
            json!({"errors": 5, "alerts": 2, "minutes": 1, "untracked": 0, "deviations": none}),
        ),
    ];
    let said = Said {
        agents: agents.map(|(agent, said)| (agent.into(), said)).into(),
        bursts: vec![burst(None), burst(Some("visitor/b"))],
        pages: BTreeMap::new(),
    };
    (Rc::new(counted), said)
}

/// What is found where the agents of [`sound`] say something else.
async fn found(change: impl FnOnce(&mut Said)) -> Findings {
    let (counted, mut said) = sound();
    change(&mut said);
    LocalSet::new()
        .run_until(verify(&Rc::new(said), &counted))
        .await
}

/// What is found where `agent` says `value` at `path`.
async fn found_with(agent: &str, path: &str, value: Value) -> Findings {
    found(|said| {
        let answer = said.agents.get_mut(agent).unwrap();
        *answer.pointer_mut(path).unwrap() = value;
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn what_is_right_is_found_right() {
    let expected = Findings {
        agents: 4,
        alerts: 2,
        ..Findings::default()
    };
    assert_eq!(found(|_| {}).await, expected);
}

#[tokio::test(start_paused = true)]
async fn every_wrong_value_is_named() {
    for (agent, path, text) in [
        ("visitor/a", "/bytes", "bytes is 99 and should be 5"),
        ("visitor/a", "/sessions", "sessions is 99 and should be 1"),
        ("visitor/b", "/errors", "errors is 99 and should be 5"),
        (
            "visitor/b",
            "/statuses/404",
            "the count of status 404 is 99 and should be 5",
        ),
        ("site/main", "/events", "events is 99 and should be 8"),
        ("site/main", "/visitors", "visitors is 99 and should be 2"),
        ("site/main", "/bytes", "bytes is 99 and should be 17"),
        ("site/main", "/sessions", "sessions is 99 and should be 2"),
        (
            "site/main",
            "/statuses/304",
            "the count of status 304 is 99 and should be 1",
        ),
        ("alerts/main", "/errors", "errors is 99 and should be 5"),
    ] {
        let found = found_with(agent, path, 99.into()).await;
        assert_eq!(found.shown, [format!("{agent}: {text}")]);
        assert_eq!(found.differences, 1);
    }
    let statuses = json!({"200": 2, "404": 5, "500": 1});
    let found = found_with("site/main", "/statuses", statuses).await;
    let expected = [
        "site/main: the count of status 304 is 0 and should be 1",
        "site/main: the count of status 500 is 1 and should be 0",
    ];
    assert_eq!(found.shown, expected);
}

#[tokio::test(start_paused = true)]
async fn deviations_on_every_way_are_added_up() {
    for agent in ["visitor/a", "visitor/b", "site/main", "alerts/main"] {
        let found = found_with(agent, "/deviations/reordered", 3.into()).await;
        assert_eq!((found.lost, found.duplicated, found.reordered), (0, 0, 3));
        // Taken twice means that one of those that came is not one that was sent.
        let found = found_with(agent, "/deviations/duplicated", 1.into()).await;
        assert_eq!((found.lost, found.duplicated, found.reordered), (1, 1, 0));
        let found = found_with(agent, "/deviations/lost", 2.into()).await;
        assert_eq!((found.lost, found.duplicated, found.reordered), (2, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_at_the_end_of_a_stream_is_lost_though_there_is_no_gap() {
    for (agent, path) in [
        ("visitor/a", "/events"),
        ("site/main", "/events"),
        ("alerts/main", "/errors"),
    ] {
        let found = found_with(agent, path, 1.into()).await;
        let sent = match agent {
            "visitor/a" => 2,
            "site/main" => 8,
            _ => 5,
        };
        assert_eq!((found.lost, found.differences), (sent - 1, 1), "{agent}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_answer_has_lost_everything() {
    for (agent, lost) in [("visitor/b", 6), ("site/main", 8), ("alerts/main", 5)] {
        let found = found(|said| {
            said.agents.insert(agent.into(), Value::Null);
        })
        .await;
        assert_eq!((found.lost, found.differences), (lost, 1), "{agent}");
        let text = format!("{agent} does not answer: it is not there");
        assert_eq!(found.shown, [text]);
    }
}

#[tokio::test(start_paused = true)]
async fn bursts_are_compared_one_by_one() {
    let moved = found(|said| said.bursts[1]["to"] = json!(1_431_857_199)).await;
    let text = "alerts/main: a burst is of visitor/b from 1431857103 to 1431857199 and should be \
                of visitor/b from 1431857103 to 1431857107";
    assert_eq!(moved.shown, [text]);
    let fewer = found(|said| {
        said.bursts.pop();
    })
    .await;
    let text = "alerts/main: the number of bursts is 1 and should be 2";
    assert_eq!(fewer.shown, [text]);
}

#[tokio::test(start_paused = true)]
async fn bursts_among_errors_that_were_not_kept_are_not_compared_and_that_is_said() {
    let found = found(|said| {
        let alerts = said.agents.get_mut(ALERTS).unwrap();
        (alerts["untracked"], alerts["alerts"]) = (json!(2), json!(0));
        said.bursts.clear();
    })
    .await;
    assert_eq!((found.differences, found.lost), (0, 0), "{:?}", found.shown);
    assert_eq!(found.remarks.len(), 1);
    assert!(
        found.remarks[0].contains("3 errors and counts the other 2"),
        "{:?}",
        found.remarks
    );
    // Their number and their order still are.
    let found = found_with(ALERTS, "/errors", 4.into()).await;
    assert_eq!((found.differences, found.lost), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn who_lives_is_compared_with_who_should() {
    let more = found(|said| {
        said.agents.insert("visitor/c".into(), json!({}));
    })
    .await;
    assert_eq!(
        more.shown,
        ["visitor/c lives and should not, or is listed twice"]
    );
    let pages = |pages: [(Option<&str>, &[&str], Option<&str>); 2]| {
        let owned = |text: Option<&str>| text.map(ToOwned::to_owned);
        pages
            .map(|(after, agents, next)| {
                let agents = agents.iter().map(|agent| (*agent).to_owned()).collect();
                (owned(after), (agents, owned(next)))
            })
            .into()
    };
    let twice: [(Option<&str>, &[&str], Option<&str>); 2] = [
        (None, &[ALERTS, SITE, "visitor/a"], Some("visitor/a")),
        (Some("visitor/a"), &["visitor/a", "visitor/b"], None),
    ];
    let twice = found(|said| said.pages = pages(twice)).await;
    assert_eq!(
        twice.shown,
        ["visitor/a lives and should not, or is listed twice"]
    );
    assert_eq!(twice.agents, 5);
    // One is left out, and the list goes back to its beginning.
    let short: [(Option<&str>, &[&str], Option<&str>); 2] = [
        (None, &[ALERTS, SITE], Some("visitor")),
        (Some("visitor"), &["visitor/b"], Some("site")),
    ];
    let short = found(|said| said.pages = pages(short)).await;
    assert_eq!(short.shown, ["visitor/a is not in the list of agents"]);
}

#[test]
fn only_the_first_differences_are_written_out() {
    let mut found = Findings::default();
    for n in 0..25 {
        found.compare("visitor/a", "events", &n, &100);
    }
    assert_eq!((found.differences, found.shown.len()), (25, SHOWN));
}

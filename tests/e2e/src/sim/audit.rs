//! Every message has exactly one end, and whoever sent it and whoever it was for
//! agree which.
//!
//! | end | heard | came back to its sender | dead letters |
//! |---|---|---|---|
//! | applied | once | | |
//! | expired | | `expired` | one, if it was to be told |
//! | dropped, or trapped | | `overflow`, `trapped` | one |
//! | sent on by `aside/` | once, by `spare/main` | | |
//! | sent on, and dead there | | | one |
//! | never left | | `no-credit` | one |
//! | given up unheard | whatever its receiver did, once | `gave-up`, unsure | one of the sender's |
//!
//! A message that is sent once and forgotten is heard once or not at all, and
//! nothing else is ever said of it.

use std::collections::{BTreeMap, HashMap};

use phoenix_core::Body;
use phoenix_core::control::{DeadLetter, LetterFilter};

use super::books::{Books, Returned, Sent, Way};
use super::{NODES, SPARE, Seen, Simulation};

/// Wrongs that are told in full.
const TOLD: usize = 20;

/// All there is to know of a message.
#[derive(Debug)]
struct Message<'a> {
    sent: Sent,
    from: &'a str,
    to: &'a str,
    /// By whom.
    heard: Vec<&'a str>,
    returned: Vec<&'a Returned>,
    letters: Vec<&'a DeadLetter>,
}

/// Checks the books, and says what was seen.
pub(super) fn audit(simulation: &Simulation) -> Seen {
    let client = simulation.cluster.client(1);
    let everybody = simulation.everybody();
    let books: BTreeMap<&str, Books> = everybody
        .iter()
        .map(|agent| (*agent, simulation.books(&client, agent)))
        .collect();
    let letters = client.dead_letters(LetterFilter::default());
    let counted = |node| simulation.cluster.client(node).counter("dead-letters");
    let counted: u64 = (1..=NODES).map(counted).sum();
    assert_eq!(letters.len() as u64, counted, "all letters are kept");
    let messages = gather(simulation, &books, &letters);
    let mut seen = Seen::default();
    let mut wrongs: Vec<String> = Vec::new();
    for message in messages.values() {
        match message.end() {
            Ok(end) => seen.add(end, 1),
            Err(wrong) => wrongs.push(format!("{wrong}: {message:?}")),
        }
        if let ([_], false) = (&*message.heard, message.is_forgotten()) {
            seen.add(
                ["high", "normal", "low", "bulk"][message.sent.lane as usize],
                1,
            );
        }
    }
    for (agent, books) in &books {
        if !books.strange.is_empty() {
            wrongs.push(format!(
                "{agent} was told of another sender: {:?}",
                books.strange
            ));
        }
        wrongs.extend(out_of_order(agent, books, &messages));
    }
    for agent in &simulation.steady {
        let detail = client.inspect(agent).unwrap();
        let counters: HashMap<String, u64> = detail.counters.into_iter().collect();
        balance(agent, &counters, &messages, &mut wrongs);
        for name in [
            "duplicates",
            "refused-full",
            "dropped-oldest",
            "dropped-newest",
            "held",
        ] {
            seen.add(name, counters[name]);
        }
    }
    seen.add("messages", messages.len() as u64);
    let more = wrongs.len().saturating_sub(TOLD);
    wrongs.truncate(TOLD);
    assert!(wrongs.is_empty(), "{wrongs:#?} and {more} more\n{seen}");
    seen
}

/// Lays everything that is known of each message side by side.
fn gather<'a>(
    simulation: &'a Simulation,
    books: &'a BTreeMap<&'a str, Books>,
    letters: &'a [DeadLetter],
) -> HashMap<u64, Message<'a>> {
    let hearers: Vec<&str> = simulation.hearers().map(String::as_str).collect();
    let mut messages = HashMap::new();
    for (agent, books) in books {
        for sent in &books.sent {
            let message = Message {
                sent: *sent,
                from: agent,
                to: hearers[sent.to],
                heard: Vec::new(),
                returned: Vec::new(),
                letters: Vec::new(),
            };
            assert!(messages.insert(sent.id, message).is_none(), "ids differ");
        }
    }
    for (agent, books) in books {
        for id in &books.heard {
            let message = messages.get_mut(id).expect("what is heard was sent");
            message.heard.push(*agent);
        }
        for returned in &books.returned {
            let message = messages.get_mut(&returned.id);
            let message = message.expect("what comes back was sent");
            assert_eq!(
                message.from, *agent,
                "it comes back to its sender: {message:?}"
            );
            message.returned.push(returned);
        }
    }
    for letter in letters {
        if let Body::Message {
            method, payload, ..
        } = &letter.envelope.body
            && method == "item"
        {
            let (id, _, _, _): (u64, bool, u64, String) = crate::read(payload);
            let message = messages.get_mut(&id).expect("a letter was sent");
            message.letters.push(letter);
        }
    }
    messages
}

impl Message<'_> {
    /// Whether it is sent once and forgotten.
    fn is_forgotten(&self) -> bool {
        self.sent.way == Way::AtMostOnce
    }

    /// Whether it was given up, so that its sender does not know its end.
    fn is_given_up(&self) -> bool {
        self.returned.iter().any(|it| it.reason == "gave-up")
    }

    /// Whether its receiver sent it on.
    fn is_redirected(&self) -> bool {
        let at_spare = |letter: &&DeadLetter| letter.envelope.receiver().as_str() == SPARE;
        self.heard.contains(&SPARE) || self.letters.iter().any(at_spare)
    }

    /// Letters that say it ended for that reason, where it was for.
    fn letters_of(&self, reason: &str) -> usize {
        let of_reason = |letter: &&&DeadLetter| &*letter.reason == reason;
        self.letters.iter().filter(of_reason).count()
    }

    /// How it ended, if everybody agrees.
    fn end(&self) -> Result<&'static str, &'static str> {
        let (heard, letters) = (self.heard.len(), self.letters.len());
        if heard > 1 {
            return Err("applied more than once");
        }
        if heard == 1 && self.heard[0] != self.to && !self.may_be_at_spare() {
            return Err("applied by somebody else");
        }
        if self.is_forgotten() {
            return match (heard, self.returned.len() + letters) {
                (1, 0) => Ok("at most once: applied"),
                (0, 0) => Ok("at most once: lost"),
                _ => Err("a message that was forgotten came back"),
            };
        }
        match &*self.returned {
            [] => match (heard, letters) {
                (1, 0) if self.is_redirected() => Ok("sent on and applied"),
                (1, 0) => Ok("applied"),
                (0, 1) if self.is_redirected() => Ok("sent on and dead"),
                (0, 0) => Err("lost"),
                (0, _) => Err("dead, and its sender was not told"),
                _ => Err("applied, and dead"),
            },
            [it] => self.end_of_returned(it),
            _ => Err("came back more than once"),
        }
    }

    fn may_be_at_spare(&self) -> bool {
        self.to.starts_with("aside/") && self.heard[0] == SPARE
    }

    /// How it ended that came back once.
    fn end_of_returned(&self, returned: &Returned) -> Result<&'static str, &'static str> {
        let (heard, letters, way) = (self.heard.len(), self.letters.len(), self.sent.way);
        let is_sure_by = |letters_of_it: usize| {
            let of_reason = self.letters_of(&returned.reason);
            heard == 0 && !returned.unsure && letters == letters_of_it && letters == of_reason
        };
        let (end, is_right) = match &*returned.reason {
            "gave-up" => {
                let may_be = matches!(way, Way::Impatient | Way::FewTries);
                let by_sender = self.letters_of("gave-up") == 1;
                // Its receiver may have done anything with it, but once.
                let once = heard + letters - 1 <= 1;
                let end = match way {
                    Way::FewTries => "given up after its tries",
                    _ => "given up after its time",
                };
                (end, may_be && by_sender && returned.unsure && once)
            }
            "no-credit" => ("never left", way == Way::Impatient && is_sure_by(1)),
            "expired" => match way {
                Way::MortalAndTold => ("expired, and told", is_sure_by(1)),
                // An impatient one's receiver may find that it is given up by now.
                Way::Mortal | Way::Impatient => ("expired", is_sure_by(0)),
                _ => ("expired", false),
            },
            "overflow" => ("dropped", is_sure_by(1)),
            "trapped" => ("trapped", way == Way::Poison && is_sure_by(1)),
            _ => return Err("came back for an odd reason"),
        };
        if is_right {
            Ok(end)
        } else {
            Err("came back, and its end is another")
        }
    }
}

/// What an agent heard out of the order of its stream, which is a sender's messages on
/// one lane; of those that were sent on, of the streams to whoever did that.
fn out_of_order(agent: &str, books: &Books, messages: &HashMap<u64, Message<'_>>) -> Vec<String> {
    let mut last: HashMap<(&str, &str, u8), u64> = HashMap::new();
    let mut wrongs = Vec::new();
    for id in &books.heard {
        let message = &messages[id];
        if message.is_forgotten() {
            continue;
        }
        let stream = (message.from, message.to, message.sent.lane);
        let before = last.insert(stream, *id).unwrap_or(0);
        if before >= *id {
            wrongs.push(format!("{agent} heard {id} of {stream:?} after {before}"));
        }
    }
    wrongs
}

/// Compares what an agent that was never moved or put to sleep has counted with what
/// became of the messages that were for it, one by one.
fn balance(
    agent: &str,
    counters: &HashMap<String, u64>,
    messages: &HashMap<u64, Message<'_>>,
    wrongs: &mut Vec<String>,
) {
    let its: Vec<&Message<'_>> = messages.values().filter(|it| it.to == agent).collect();
    let count = |holds: &dyn Fn(&Message<'_>) -> bool| {
        its.iter().filter(|message| holds(message)).count() as u64
    };
    let mut compare = |what: &str, counted: u64, known: u64, at_most: u64| {
        if !(known..=at_most).contains(&counted) {
            wrongs.push(format!(
                "{agent} has {what} {counted} times, and {known} to {at_most} are known"
            ));
        }
    };
    let died_here = |it: &Message<'_>, reason| {
        it.letters
            .iter()
            .any(|letter| &*letter.reason == reason && letter.envelope.receiver().as_str() == agent)
    };
    let dead = |reason: &'static str| count(&|it| died_here(it, reason));
    for (name, reason) in [
        ("dead-overflow", "overflow"),
        ("dead-trapped", "trapped"),
        ("dead-expired", "expired"),
    ] {
        let known = dead(reason);
        compare(name, counters[name], known, known);
    }
    let dropped = counters["dropped-oldest"] + counters["dropped-newest"];
    compare("dropped", dropped, dead("overflow"), dead("overflow"));
    let redirected = count(&|it| it.is_redirected());
    compare("redirected", counters["redirected"], redirected, redirected);
    // Of those whose sender gave up some ended here unheard, and some never came.
    let came_back = |it: &Message<'_>, reason| it.returned.iter().any(|it| it.reason == reason);
    let expired = count(&|it| came_back(it, "expired") || died_here(it, "expired"));
    let unknown = count(&|it| it.is_given_up() && it.heard.is_empty() && it.letters.len() == 1);
    compare("expired", counters["expired"], expired, expired + unknown);
    let applied = count(&|it| it.heard.contains(&agent));
    let never_left = count(&|it| came_back(it, "no-credit"));
    let ended = applied
        + never_left
        + counters["dead-overflow"]
        + counters["dead-trapped"]
        + counters["expired"]
        + counters["redirected"];
    let all = its.len() as u64;
    compare("ended messages", ended, all - unknown, all);
}

//! What agents of the guest `diary` are told, and what they have to say of themselves.
//!
//! ```text
//!   Script ──▶ step(sender, agent, n) ──▶ node ──▶ diary/… ──▶ report
//!     │                                                          │
//!     └──────────────────────▶ Model::check ◀────────────────────┘
//! ```
//!
//! Every step is a function of who sends it to whom and its number. So a report is
//! decided by how far its agent heard each sender, which has to be no less than what
//! was acknowledged, and no less than what an earlier report said.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Of so many messages from one agent to another one is poison, the first of them this.
const POISON: (u64, u64) = (29, 7);

/// What was heard of one sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// How many numbers.
    pub count: u64,
    /// The last of them.
    pub last: u64,
    /// Of all of them, in the order in which they came.
    pub digest: u64,
}

/// Numbers in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pile {
    /// How many.
    pub count: u64,
    /// Of the hashes of all of them.
    pub sum: u64,
}

impl Pile {
    /// Of these numbers.
    pub fn of(numbers: impl Iterator<Item = u64>) -> Self {
        numbers.fold(Self::default(), |pile, n| Self {
            count: pile.count + 1,
            sum: pile.sum.wrapping_add(mix(n)),
        })
    }
}

/// What an agent says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Numbered messages, by sender.
    pub heard: BTreeMap<String, Heard>,
    /// Messages with a name instead of a number, by sender.
    pub keyed: BTreeMap<String, Pile>,
    /// How many messages it sent to each agent.
    pub sent: BTreeMap<String, u64>,
    /// Those of them that came back.
    pub returned: BTreeMap<String, Pile>,
    /// Asks it has begun, numbered from 1.
    pub asked: u64,
    /// Those that were answered, each with the answer it was made for.
    pub answered: Pile,
    /// What should never be.
    pub surprises: Vec<String>,
}

/// A step: its number, whom to tell of it, and whom to ask. It is what `step` takes.
pub type Step = (u64, Vec<String>, Option<String>);

/// Who sends what to whom.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    /// Decides all of it.
    pub seed: u64,
    /// Clients that send.
    pub senders: usize,
    /// Agents, each of which hears all of them.
    pub agents: usize,
}

impl Script {
    /// The agent of that index.
    pub fn agent(&self, agent: usize) -> String {
        format!("diary/{agent}")
    }

    /// The sender of that index, as a client's id.
    pub fn sender(&self, sender: usize) -> String {
        format!("sender-{sender}")
    }

    /// Step `n` of a sender to an agent.
    pub fn step(&self, sender: usize, agent: usize, n: u64) -> Step {
        let (to, ask) = self.targets(sender, agent, n);
        let to = to.into_iter().map(|other| self.agent(other)).collect();
        (n, to, ask.map(|other| self.agent(other)))
    }

    fn targets(&self, sender: usize, agent: usize, n: u64) -> (Vec<usize>, Option<usize>) {
        let mut bits = Bits(mix(self.seed ^ mix(n ^ mix((sender << 16 | agent) as u64))));
        let told = match bits.below(8) {
            0 | 1 => 1,
            2 => 3,
            _ => 0,
        };
        let to = (0..told).map(|_| bits.below(self.agents)).collect();
        // Nobody asks itself, for it would wait for its own next steps.
        let ask = match bits.below(8) {
            0 if self.agents > 1 => Some((agent + 1 + bits.below(self.agents - 1)) % self.agents),
            _ => None,
        };
        (to, ask)
    }
}

/// How far a stream is known to be.
#[derive(Clone, Debug, Default)]
struct Stream {
    /// Through this number it was acknowledged.
    acknowledged: u64,
    /// Through this number it was sent.
    sent: u64,
    /// So much of it was heard, by the last report.
    heard: u64,
    /// What the agent had to send because of that, by receiver.
    told: Vec<u64>,
    /// What it had to ask.
    asked: u64,
}

/// What is known of all agents.
pub struct Model {
    script: Script,
    /// By sender and agent.
    streams: Vec<Vec<Stream>>,
    /// Digests of so many numbers from 1 on, and of those that are no poison.
    digests: [Vec<u64>; 2],
    /// What each agent reported last.
    reports: Vec<Report>,
}

impl Model {
    /// Nothing was sent so far.
    pub fn new(script: Script) -> Self {
        let stream = Stream {
            told: vec![0; script.agents],
            ..Stream::default()
        };
        Self {
            script,
            streams: vec![vec![stream; script.agents]; script.senders],
            digests: [vec![0], vec![0]],
            reports: vec![Report::default(); script.agents],
        }
    }

    /// All up to `n` may be heard from now on.
    pub fn sending(&mut self, sender: usize, agent: usize, n: u64) {
        let stream = &mut self.streams[sender][agent];
        stream.sent = stream.sent.max(n);
    }

    /// The node said that `n` is applied.
    pub fn acknowledged(&mut self, sender: usize, agent: usize, n: u64) {
        let stream = &mut self.streams[sender][agent];
        assert!(n <= stream.sent, "{n} is acknowledged and was never sent");
        stream.acknowledged = stream.acknowledged.max(n);
    }

    /// The node said that it takes `n` next.
    pub fn expected(&self, sender: usize, agent: usize, n: u64) {
        let stream = &self.streams[sender][agent];
        let through = stream.acknowledged;
        assert!(
            n > through && n <= stream.sent + 1,
            "{} expects {n} of {}, which had {through} acknowledged and sent {}",
            self.script.agent(agent),
            self.script.sender(sender),
            stream.sent
        );
    }

    /// The number that comes after what was acknowledged.
    pub fn next(&self, sender: usize, agent: usize) -> u64 {
        self.streams[sender][agent].acknowledged + 1
    }

    /// How many steps were sent that were not acknowledged.
    pub fn open(&self, sender: usize) -> u64 {
        let streams = self.streams[sender].iter();
        streams.map(|it| it.sent - it.acknowledged).sum()
    }

    /// The last step that was sent.
    pub fn last(&self, sender: usize, agent: usize) -> u64 {
        self.streams[sender][agent].sent
    }

    /// How many steps were acknowledged.
    pub fn steps(&self) -> u64 {
        let streams = self.streams.iter().flatten();
        streams.map(|it| it.acknowledged).sum()
    }

    /// What has to be heard at least of each sender: to be read before a report is asked for.
    pub fn floors(&self, agent: usize) -> Vec<u64> {
        let of = |senders: &Vec<Stream>| {
            let stream = &senders[agent];
            stream.acknowledged.max(stream.heard)
        };
        self.streams.iter().map(of).collect()
    }

    /// Takes in what an agent says. It fails if that cannot be.
    pub fn check(&mut self, agent: usize, floors: &[u64], report: Report) {
        if let Err(why) = self.judge(agent, floors, &report) {
            let name = self.script.agent(agent);
            panic!(
                "{name}: {why}\nit was {:#?}\nit is {report:#?}",
                self.reports[agent]
            );
        }
        self.reports[agent] = report;
    }

    fn judge(&mut self, agent: usize, floors: &[u64], report: &Report) -> Result<(), String> {
        if !report.surprises.is_empty() {
            return Err(format!("surprises: {:?}", report.surprises));
        }
        for (sender, floor) in floors.iter().enumerate() {
            self.judge_stream(sender, agent, *floor, report)?;
        }
        let told = (0..self.script.agents).map(|other| {
            let streams = self.streams.iter().map(|it| it[agent].told[other]);
            (self.script.agent(other), streams.sum::<u64>())
        });
        let told: BTreeMap<String, u64> = told.filter(|(_, sent)| *sent > 0).collect();
        if told != report.sent {
            return Err(format!("for what it heard it has to send {told:?}"));
        }
        let asked: u64 = self.streams.iter().map(|it| it[agent].asked).sum();
        if asked != report.asked || report.answered.count > asked {
            return Err(format!("for what it heard it has to ask {asked} times"));
        }
        let last = &self.reports[agent];
        if report.answered.count < last.answered.count {
            return Err("it had more answers".to_owned());
        }
        for (sender, pile) in &last.keyed {
            if report
                .keyed
                .get(sender)
                .is_none_or(|it| it.count < pile.count)
            {
                return Err(format!("it had heard more of {sender}"));
            }
        }
        for other in 0..self.script.agents {
            self.judge_agents(other, agent, report)?;
        }
        Ok(())
    }

    /// A client's stream.
    fn judge_stream(
        &mut self,
        sender: usize,
        agent: usize,
        floor: u64,
        report: &Report,
    ) -> Result<(), String> {
        let name = format!("client/{}", self.script.sender(sender));
        let heard = report.heard.get(&name).copied().unwrap_or_default();
        let stream = &mut self.streams[sender][agent];
        if heard.count < floor {
            return Err(format!(
                "{floor} of {name} were acknowledged, or heard once"
            ));
        }
        if heard.count > stream.sent {
            return Err(format!("only {} of {name} were ever sent", stream.sent));
        }
        if heard.last != heard.count {
            return Err(format!("{name} is not heard once each"));
        }
        if heard.digest != digest(&mut self.digests[0], heard.count, |_| true) {
            return Err(format!("{name} is not heard in order"));
        }
        // A report that was asked for earlier may come later.
        while stream.heard < heard.count {
            stream.heard += 1;
            let (to, ask) = self.script.targets(sender, agent, stream.heard);
            to.into_iter().for_each(|other| stream.told[other] += 1);
            stream.asked += u64::from(ask.is_some());
        }
        if stream.heard > heard.count {
            return Err(format!("reports of {name} are out of order"));
        }
        Ok(())
    }

    /// What `agent` heard of another agent, and what that one got back.
    fn judge_agents(&mut self, other: usize, agent: usize, report: &Report) -> Result<(), String> {
        let of = self.script.agent(other);
        let heard = report.heard.get(&of).copied().unwrap_or_default();
        let plain = |n| n % POISON.0 != POISON.1;
        if heard.count != heard.last - poisoned(heard.last) {
            return Err(format!("{of} is not heard once each"));
        }
        if heard.digest != digest(&mut self.digests[1], heard.last, plain) {
            return Err(format!("{of} is not heard in order"));
        }
        let before = self.reports[agent].heard.get(&of);
        if before.is_some_and(|before| before.last > heard.last) {
            return Err(format!("it had heard more of {of}"));
        }
        let returned = report.returned.get(&of).copied().unwrap_or_default();
        let sent = report.sent.get(&of).copied().unwrap_or(0);
        if returned != poison(returned.count) || returned.count > poisoned(sent) {
            return Err(format!(
                "to {of} came back what is no poison, or came twice"
            ));
        }
        Ok(())
    }

    /// Whether nothing is on its way any more, by the last reports.
    pub fn is_settled(&self) -> bool {
        let agents = self.script.agents;
        self.reports.iter().enumerate().all(|(agent, report)| {
            report.answered.count == report.asked
                && (0..agents).all(|other| {
                    let sent = report.sent.get(&self.script.agent(other)).copied();
                    let sent = sent.unwrap_or(0);
                    let heard = self.reports[other].heard.get(&self.script.agent(agent));
                    let back = report.returned.get(&self.script.agent(other));
                    let heard = heard.map_or(0, |it| it.count);
                    let back = back.map_or(0, |it| it.count);
                    heard + back == sent
                })
        })
    }

    /// Fails unless every effect of every agent has reached exactly one end, and all
    /// that was sent was heard.
    pub fn assert_balanced(&self) {
        for (agent, report) in self.reports.iter().enumerate() {
            let name = self.script.agent(agent);
            for (sender, streams) in self.streams.iter().enumerate() {
                let stream = &streams[agent];
                assert_eq!(
                    (stream.acknowledged, stream.heard),
                    (stream.sent, stream.sent),
                    "{name} and {}",
                    self.script.sender(sender)
                );
            }
            assert_eq!(report.answered, Pile::of(1..=report.asked), "{name}: asks");
            for (other, sent) in &report.sent {
                let receiver = self.reports.iter().enumerate();
                let mut receiver = receiver.filter(|(at, _)| self.script.agent(*at) == *other);
                let (_, receiver) = receiver.next().unwrap();
                let heard = receiver.heard.get(&name).copied().unwrap_or_default();
                let back = report.returned.get(other).copied().unwrap_or_default();
                assert_eq!(
                    (heard.count, back),
                    (sent - poisoned(*sent), poison(poisoned(*sent))),
                    "of {sent} that {name} sent to {other}"
                );
            }
        }
    }

    /// What all agents said last.
    pub fn reports(&self) -> &[Report] {
        &self.reports
    }
}

/// How many of the first `n` messages from one agent to another are poison.
fn poisoned(n: u64) -> u64 {
    (n + POISON.0 - POISON.1) / POISON.0
}

/// The first so many of those.
fn poison(count: u64) -> Pile {
    Pile::of((0..count).map(|index| index * POISON.0 + POISON.1))
}

/// What numbers up to `n` hash to, one after the other, of those that are `taken`.
fn digest(known: &mut Vec<u64>, n: u64, taken: impl Fn(u64) -> bool) -> u64 {
    while known.len() as u64 <= n {
        let last = known.last().copied().unwrap_or(0);
        let next = known.len() as u64;
        known.push(if taken(next) { mix(last ^ next) } else { last });
    }
    known[usize::try_from(n).unwrap()]
}

/// A few choices out of one number.
struct Bits(u64);

impl Bits {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = mix(self.0);
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

/// Of `SplitMix64`.
pub fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

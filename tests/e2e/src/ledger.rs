//! Books kept beside the nodes: who committed what, where, and under which epoch.
//!
//! The nodes tell of each commit before anything of it leaves them; what moves
//! where is read off the network. Nothing is taken from what nodes or agents
//! say about themselves afterwards, so those can be compared with it.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use parking_lot::Mutex;
use phoenix_core::migration::MigrationMessage;
use phoenix_core::{
    Acknowledgement, AgentId, Epoch, Incarnation, NodeId, Notice, PeerMessage, Sender,
};
use phoenix_node::{Committed, Witness};

use crate::Report;
use crate::steps::Motion;

/// Wrongs that are kept in full.
const KEPT: usize = 20;
/// Events of each agent that are remembered.
const SEEN: usize = 60;

/// The books of a cluster.
#[derive(Debug, Default)]
pub struct Ledger {
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    /// Whether agents are durable: no life ends, and one goes back at most to where
    /// nothing that left its node is undone.
    durable: bool,
    lives: HashMap<AgentId, Life>,
    /// Who committed under each generation of each agent.
    owners: HashMap<(AgentId, u64), NodeId>,
    /// Nodes that are dead to all others, and may still commit what nobody sees.
    dying: HashSet<NodeId>,
    /// Migrations that have begun, and are not known to have ended.
    motions: HashMap<AgentId, Motion>,
    /// Agents whose only copy may have been on a node that was killed.
    losable: HashSet<AgentId>,
    lost: u64,
    commits: u64,
    wrongs: Vec<String>,
    /// What was last seen of each agent, for whoever looks into a failure.
    seen: HashMap<AgentId, VecDeque<String>>,
}

/// An agent's life as its commits tell it.
#[derive(Debug)]
struct Life {
    incarnation: Incarnation,
    epoch: Epoch,
    /// The number of the next turn.
    turn: u64,
    /// Where its memory is.
    at: NodeId,
    /// Of each sender, the last number that was acknowledged.
    through: BTreeMap<String, u64>,
    /// The same, of what others have heard.
    given: BTreeMap<String, u64>,
    /// The same, of what may have been in a journal when its node was killed.
    kept: BTreeMap<String, u64>,
    /// The same of earlier lives.
    earlier: BTreeMap<String, u64>,
}

impl Witness for Ledger {
    fn committed(&self, commit: &Committed<'_>) {
        let mut books = self.books.lock();
        books.commits += 1;
        books.take_epoch(commit);
        books.take_turns(commit);
        books.take_verdicts(commit);
        books.see(commit.agent, format!("{commit:?}"));
    }
}

impl Books {
    fn wrong(&mut self, what: String) {
        if self.wrongs.len() < KEPT {
            self.wrongs.push(what);
        }
    }

    fn see(&mut self, agent: &AgentId, what: String) {
        let seen = self.seen.entry(agent.clone()).or_default();
        if seen.len() == SEEN {
            seen.pop_front();
        }
        seen.push_back(what);
    }

    /// One epoch, one owner.
    fn take_epoch(&mut self, commit: &Committed<'_>) {
        let key = (commit.agent.clone(), commit.epoch.generation);
        let owner = *self.owners.entry(key).or_insert(commit.node);
        if owner != commit.node {
            self.wrong(format!(
                "{} commits on {} under generation {}, as it did on {owner}",
                commit.agent, commit.node, commit.epoch.generation
            ));
        }
    }

    /// One life, one sequence of turns, wherever they run.
    fn take_turns(&mut self, commit: &Committed<'_>) {
        let Some(life) = self.lives.get_mut(commit.agent) else {
            let life = Life {
                incarnation: commit.incarnation,
                epoch: commit.epoch,
                turn: commit.turn + commit.turns,
                at: commit.node,
                through: BTreeMap::new(),
                given: BTreeMap::new(),
                kept: BTreeMap::new(),
                earlier: BTreeMap::new(),
            };
            self.lives.insert(commit.agent.clone(), life);
            return;
        };
        let mut wrongs = Vec::new();
        let (last, next) = (life.epoch.generation, commit.epoch.generation);
        if next < last {
            wrongs.push(format!("generation {next} after {last}"));
        }
        if commit.incarnation == life.incarnation {
            let goes_back = self.durable && commit.turn < life.turn;
            if goes_back && self.losable.contains(commit.agent) {
                // What its node had not synced was nobody else's yet.
                let through = std::mem::replace(&mut life.through, life.given.clone());
                for (sender, through) in through {
                    let kept = life.kept.entry(sender).or_default();
                    *kept = (*kept).max(through);
                }
            } else if commit.turn != life.turn {
                wrongs.push(format!("turn {} where {} is next", commit.turn, life.turn));
            }
            if !self.dying.contains(&commit.node) {
                // Its memory is on a node that lives.
                self.losable.remove(commit.agent);
            }
        } else {
            if commit.incarnation < life.incarnation {
                wrongs.push(format!("an earlier life, after {:?}", life.incarnation));
            }
            if commit.turn != 0 {
                wrongs.push(format!("a new life with turn {}", commit.turn));
            }
            if self.durable || !self.losable.remove(commit.agent) {
                wrongs.push(format!(
                    "a new life although its memory was on {} and nobody killed that",
                    life.at
                ));
            }
            self.lost += 1;
            for (sender, through) in std::mem::take(&mut life.through) {
                let earlier = life.earlier.entry(sender).or_default();
                *earlier = (*earlier).max(through);
            }
        }
        life.incarnation = commit.incarnation;
        life.epoch = commit.epoch;
        life.turn = commit.turn + commit.turns;
        life.at = commit.node;
        let (agent, node, term) = (commit.agent, commit.node, commit.epoch.term);
        for wrong in wrongs {
            let life = commit.incarnation;
            self.wrong(format!(
                "{agent} on {node}, start {term}, {life:?}: {wrong}"
            ));
        }
    }

    /// Verdicts are given once and in order.
    fn take_verdicts(&mut self, commit: &Committed<'_>) {
        let Some(life) = self.lives.get_mut(commit.agent) else {
            return;
        };
        let mut wrongs = Vec::new();
        for verdict in commit.verdicts {
            let Sender::Agent(sender, _) = &verdict.stream.sender else {
                continue;
            };
            match &verdict.notice {
                Notice::Applied { through, .. } => {
                    let key = format!("{sender} {:?}", verdict.stream.lane);
                    let last = life.through.insert(key, *through);
                    if last.is_some_and(|last| last >= *through) {
                        wrongs.push(format!("{through} of {sender} acknowledged after {last:?}"));
                    }
                }
                other => wrongs.push(format!("{other:?} for a message of {sender}")),
            }
        }
        for wrong in wrongs {
            self.wrong(format!("{}: {wrong}", commit.agent));
        }
    }
}

impl Ledger {
    /// The books of a cluster whose agents all are durable, or all are not.
    pub fn of(durable: bool) -> Self {
        let books = Books {
            durable,
            ..Books::default()
        };
        Self {
            books: Mutex::new(books),
        }
    }

    /// Takes in a message of a migration that the network is about to carry.
    pub fn saw(&self, motion: &Motion, message: &PeerMessage) {
        let mut books = self.books.lock();
        let PeerMessage::Migration(message) = message else {
            return;
        };
        books.see(
            &motion.agent,
            format!(
                "{:?} → {:?}: {}",
                motion.source,
                motion.target,
                word(message)
            ),
        );
        match message {
            MigrationMessage::Prepare { .. } => {
                books.motions.insert(motion.agent.clone(), motion.clone());
            }
            MigrationMessage::Released { .. } => {
                if let Some(life) = books.lives.get_mut(&motion.agent) {
                    life.at = motion.target;
                }
                books.end(motion);
            }
            MigrationMessage::Cancelled { .. } => books.end(motion),
            _ => {}
        }
    }

    /// Takes in verdicts that the network is about to carry: none is given for
    /// what nobody has committed.
    pub fn gave(&self, from: NodeId, acknowledgements: &[Acknowledgement]) {
        let mut books = self.books.lock();
        for acknowledgement in acknowledgements {
            let Sender::Agent(sender, _) = &acknowledgement.stream.sender else {
                continue;
            };
            let agent = &acknowledgement.stream.receiver;
            let through = match &acknowledgement.notice {
                Notice::Applied { through, .. } => through,
                Notice::Refused { .. } | Notice::Credit { .. } => continue,
                Notice::Skipped { number, reason } => {
                    books.wrong(format!(
                        "{from} closes {number} of {sender} to {agent} unapplied: {reason:?}"
                    ));
                    continue;
                }
            };
            let key = format!("{sender} {:?}", acknowledgement.stream.lane);
            if let Some(life) = books.lives.get_mut(agent) {
                let given = life.given.entry(key.clone()).or_default();
                *given = (*given).max(*through);
            }
            let committed = books.lives.get(agent).map_or(0, |life| {
                let of = |lives: &BTreeMap<String, u64>| lives.get(&key).copied().unwrap_or(0);
                of(&life.through).max(of(&life.earlier)).max(of(&life.kept))
            });
            if *through > committed {
                books.wrong(format!(
                    "{from} says that {agent} applied {key} up to {through}, and it did up to {committed}"
                ));
            }
            books.see(agent, format!("{from} acknowledges {key} up to {through}"));
        }
    }

    /// From now on nothing comes from this start of the node, nor goes to it.
    pub fn killed(&self, node: NodeId) {
        let mut books = self.books.lock();
        books.dying.insert(node);
        let there = books.lives.iter().filter(|(_, life)| life.at == node);
        let mut losable: Vec<AgentId> = there.map(|(agent, _)| agent.clone()).collect();
        losable.extend(books.motions.keys().cloned());
        books.losable.extend(losable);
    }

    /// This start of the node has made its last commit; it may start again.
    pub fn buried(&self, node: NodeId) {
        self.books.lock().dying.remove(&node);
    }

    /// How many commits there were.
    pub fn commits(&self) -> u64 {
        self.books.lock().commits
    }

    /// How many lives ended with their node.
    pub fn lost(&self) -> u64 {
        self.books.lock().lost
    }

    /// Fails the test if anything was wrong.
    pub fn assert_right(&self) {
        let books = self.books.lock();
        assert!(books.wrongs.is_empty(), "{:#?}", books.wrongs);
    }

    /// Compares what a living agent says it heard with what was acknowledged for
    /// it: all of that and no more, and nothing between its lives. Its streams
    /// carry the numbers they transport, so both counts are the same.
    pub fn assert_heard(&self, agent: &str, report: &Report) {
        let books = self.books.lock();
        let life = &books.lives[agent];
        let applied: BTreeMap<String, u64> = life
            .through
            .iter()
            .filter_map(|(key, through)| Some((key.strip_suffix(" Normal")?.to_owned(), *through)))
            .filter(|(sender, _)| report.last.contains_key(sender))
            .collect();
        assert_eq!(applied, report.last, "{agent}: acknowledged, and heard");
        let earlier = |sender: &String| {
            let through = life.earlier.get(&format!("{sender} Normal"));
            through.copied().unwrap_or(0)
        };
        // What an earlier life applied may be heard again, as far as its verdicts
        // had not arrived when this life began; what is past that is heard whole.
        let (mut may, mut must, mut all) = (0, 0, 0);
        for (sender, last) in &report.last {
            let (first, earlier) = (report.first[sender], earlier(sender));
            assert!(
                first <= earlier + 1,
                "{agent} hears {sender} from {first} on, and an earlier life up to {earlier}: {:#?}",
                books.seen.get(agent)
            );
            may += last + 1 - first;
            must += last.saturating_sub(earlier.max(first - 1));
            all += last;
        }
        for (sender, expected, heard) in &report.deviations {
            let earlier = earlier(sender);
            assert!(
                expected < heard && *heard <= earlier + 1,
                "{agent} hears {heard} of {sender} where {expected} is next, and an earlier life up to {earlier}: {:#?}",
                books.seen.get(agent)
            );
        }
        assert!(
            (must..=may).contains(&report.heard) && report.heard + report.missing == all,
            "{agent} heard {} and missed {} of {all}, of which it must have heard {must}: {:?}",
            report.heard,
            report.missing,
            report.deviations
        );
        assert_eq!(report.repeated, 0, "{agent}: {:?}", report.deviations);
    }

    /// Where an agent's memory is, which life it is in, and turns it has committed.
    pub fn life(&self, agent: &str) -> (NodeId, Incarnation, u64) {
        let books = self.books.lock();
        let life = &books.lives[agent];
        (life.at, life.incarnation, life.turn)
    }
}

fn word(message: &MigrationMessage) -> String {
    let text = format!("{message:?}");
    text.split([' ', '{']).next().unwrap_or_default().to_owned()
}

impl Books {
    fn end(&mut self, motion: &Motion) {
        let current = self.motions.get(&motion.agent);
        if current.is_some_and(|known| known.migration == motion.migration) {
            self.motions.remove(&motion.agent);
        }
    }
}

//! The directory's state machine: its rules one by one, and what must hold
//! whatever it is asked.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends where it is wrong"
)]

use std::collections::BTreeMap;

use phoenix_cluster::directory::{DeathRefused, NodeRefused, Phase};
use phoenix_cluster::{DirectoryLimits, DirectoryState, Origin, Record};
use phoenix_core::directory::{DirectoryAnswer, DirectoryCommand, Ownership};
use phoenix_core::{AgentId, Epoch, Incarnation, MigrationId, NodeId};
use proptest::prelude::*;

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

/// A directory on node 1 with three nodes up, each started for the tenth time and its id.
#[derive(Clone)]
struct Fixture {
    state: DirectoryState,
    log: Vec<Record>,
}

impl Fixture {
    fn new(limits: DirectoryLimits) -> Self {
        let mut fixture = Self {
            state: DirectoryState::new(ONE, limits),
            log: Vec::new(),
        };
        for node in [ONE, TWO, THREE] {
            fixture.up(node, 10 + u64::from(node.0));
        }
        fixture
    }

    fn up(&mut self, node: NodeId, boot: u64) {
        self.log.extend(self.state.node_up(node, boot).unwrap());
    }

    /// Declares a node dead that went away.
    fn dies(&mut self, node: NodeId) {
        self.state.node_down(node);
        self.log.extend(self.state.declare_dead(node).unwrap().1);
    }

    fn boot(&self, node: NodeId) -> u64 {
        let mut nodes = self.state.nodes();
        nodes
            .find(|(id, _)| *id == node)
            .map_or(0, |(_, entry)| entry.boot)
    }

    /// Asks as `node`, and says whether anything was to be recorded.
    fn ask(&mut self, node: NodeId, command: &DirectoryCommand) -> (DirectoryAnswer, bool) {
        let boot = self.boot(node);
        let (answer, record) = self.state.apply(Origin { node, boot }, command);
        let recorded = record.is_some();
        self.log.extend(record);
        (bare(answer), recorded)
    }

    fn replayed(&self, limits: DirectoryLimits) -> DirectoryState {
        let mut state = DirectoryState::new(ONE, limits);
        for record in &self.log {
            state.replay(record).unwrap();
        }
        state
    }
}

fn fixture() -> Fixture {
    Fixture::new(DirectoryLimits::default())
}

fn agent(name: &str) -> AgentId {
    AgentId::new(&format!("counter/{name}")).unwrap()
}

fn owned(node: NodeId, generation: u64) -> Ownership {
    Ownership {
        owner: node,
        epoch: Epoch {
            generation,
            term: 10 + u64::from(node.0),
        },
        life: 0,
    }
}

/// The answer, but for when the agent's life began.
fn bare(answer: DirectoryAnswer) -> DirectoryAnswer {
    let bare = |it| Ownership { life: 0, ..it };
    match answer {
        DirectoryAnswer::Owned(it) => DirectoryAnswer::Owned(bare(it)),
        DirectoryAnswer::Lost(it) => DirectoryAnswer::Lost(bare(it)),
        other => other,
    }
}

fn place(prefer: Option<NodeId>) -> DirectoryCommand {
    DirectoryCommand::Place {
        agent: agent("a"),
        prefer,
    }
}

fn moved(id: u128, generation: u64, from: NodeId, to: NodeId) -> DirectoryCommand {
    DirectoryCommand::Move {
        agent: agent("a"),
        migration: MigrationId(id),
        generation,
        from,
        to,
    }
}

fn abort(id: u128, generation: u64, from: NodeId) -> DirectoryCommand {
    DirectoryCommand::Abort {
        agent: agent("a"),
        migration: MigrationId(id),
        generation,
        from,
    }
}

fn settle(id: u128) -> DirectoryCommand {
    DirectoryCommand::Settle {
        agent: agent("a"),
        migration: MigrationId(id),
    }
}

fn claim(id: u128, by: NodeId) -> DirectoryCommand {
    DirectoryCommand::Claim {
        agent: agent("a"),
        migration: MigrationId(id),
        by,
    }
}

fn reclaim(id: u128, by: NodeId) -> DirectoryCommand {
    DirectoryCommand::Reclaim {
        agent: agent("a"),
        migration: MigrationId(id),
        by,
    }
}

fn forget(generation: u64) -> DirectoryCommand {
    DirectoryCommand::Forget {
        agent: agent("a"),
        generation,
    }
}

use DirectoryAnswer::{InDoubt, Lost, Owned, Unclaimed};

#[test]
fn an_agent_of_the_own_node_needs_no_record() {
    let mut it = fixture();
    assert_eq!(
        it.ask(TWO, &place(Some(ONE))),
        (Owned(owned(ONE, 0)), false)
    );
    // It stays there, whoever would like it better elsewhere.
    assert_eq!(
        it.ask(TWO, &place(Some(TWO))),
        (Owned(owned(ONE, 0)), false)
    );
    assert_eq!(it.ask(ONE, &forget(0)), (Owned(owned(ONE, 0)), false));
    assert_eq!(it.ask(TWO, &place(Some(TWO))), (Owned(owned(TWO, 1)), true));
}

#[test]
fn a_placed_agent_stays_until_it_moves() {
    let mut it = fixture();
    assert_eq!(
        it.ask(THREE, &place(Some(TWO))),
        (Owned(owned(TWO, 1)), true)
    );
    it.state.node_down(TWO);
    assert_eq!(
        it.ask(THREE, &place(Some(THREE))),
        (Owned(owned(TWO, 1)), false)
    );
}

#[test]
fn a_move_is_a_compare_and_swap_and_its_repeat_gets_the_same_answer() {
    let mut it = fixture();
    it.ask(TWO, &place(Some(TWO)));
    assert_eq!(
        it.ask(TWO, &moved(7, 9, TWO, THREE)),
        (Lost(owned(TWO, 1)), false)
    );
    assert_eq!(
        it.ask(TWO, &moved(7, 1, THREE, ONE)),
        (Lost(owned(TWO, 1)), false)
    );
    assert_eq!(
        it.ask(TWO, &moved(7, 1, TWO, TWO)),
        (Lost(owned(TWO, 1)), false)
    );
    assert_eq!(
        it.ask(TWO, &moved(7, 1, TWO, THREE)),
        (Owned(owned(THREE, 2)), true)
    );
    assert_eq!(
        it.ask(TWO, &moved(7, 1, TWO, THREE)),
        (Owned(owned(THREE, 2)), false)
    );
    assert_eq!(
        it.ask(TWO, &moved(8, 1, TWO, ONE)),
        (Lost(owned(THREE, 2)), false)
    );
}

#[test]
fn an_agent_without_an_entry_moves_from_generation_zero() {
    let mut it = fixture();
    it.ask(ONE, &place(Some(ONE)));
    assert_eq!(
        it.ask(ONE, &moved(7, 0, ONE, TWO)),
        (Owned(owned(TWO, 1)), true)
    );
}

#[test]
fn an_abort_raises_the_generation_so_that_a_late_move_loses() {
    let mut it = fixture();
    it.ask(TWO, &place(Some(TWO)));
    assert_eq!(it.ask(TWO, &abort(7, 1, TWO)), (Owned(owned(TWO, 2)), true));
    assert_eq!(
        it.ask(TWO, &abort(7, 1, TWO)),
        (Owned(owned(TWO, 2)), false)
    );
    assert_eq!(
        it.ask(TWO, &moved(7, 1, TWO, THREE)),
        (Lost(owned(TWO, 2)), false)
    );
    assert_eq!(
        it.ask(TWO, &moved(8, 2, TWO, THREE)),
        (Owned(owned(THREE, 3)), true)
    );
    assert_eq!(
        it.ask(TWO, &abort(8, 2, TWO)),
        (Lost(owned(THREE, 3)), false)
    );
}

#[test]
fn of_claim_and_reclaim_the_first_wins() {
    let mut it = fixture();
    it.ask(TWO, &place(Some(TWO)));
    it.ask(TWO, &moved(7, 1, TWO, THREE));
    assert_eq!(it.ask(ONE, &claim(7, ONE)), (Lost(owned(THREE, 2)), false));
    assert_eq!(
        it.ask(THREE, &claim(7, THREE)),
        (Owned(owned(THREE, 2)), true)
    );
    assert_eq!(
        it.ask(THREE, &claim(7, THREE)),
        (Owned(owned(THREE, 2)), false)
    );
    assert_eq!(
        it.ask(TWO, &reclaim(7, TWO)),
        (Lost(owned(THREE, 2)), false)
    );

    it.ask(THREE, &moved(8, 2, THREE, TWO));
    assert_eq!(
        it.ask(THREE, &reclaim(8, THREE)),
        (Owned(owned(THREE, 4)), true)
    );
    assert_eq!(
        it.ask(THREE, &reclaim(8, THREE)),
        (Owned(owned(THREE, 4)), false)
    );
    assert_eq!(it.ask(TWO, &claim(8, TWO)), (Lost(owned(THREE, 4)), false));
    assert_eq!(
        it.ask(THREE, &moved(8, 2, THREE, TWO)),
        (Lost(owned(THREE, 4)), false)
    );
}

#[test]
fn after_settling_nothing_is_taken_back() {
    let mut it = fixture();
    it.ask(TWO, &place(Some(TWO)));
    assert_eq!(it.ask(TWO, &settle(7)), (Lost(owned(TWO, 1)), false));
    it.ask(TWO, &moved(7, 1, TWO, THREE));
    assert_eq!(it.ask(TWO, &settle(7)), (Owned(owned(THREE, 2)), true));
    assert!(it.log.last().unwrap().is_lazy(), "nobody waits for it");
    assert_eq!(it.ask(TWO, &settle(7)), (Owned(owned(THREE, 2)), false));
    assert_eq!(
        it.ask(TWO, &reclaim(7, TWO)),
        (Lost(owned(THREE, 2)), false)
    );
}

#[test]
fn a_claim_before_the_move_makes_the_move_lose() {
    let mut it = fixture();
    it.ask(TWO, &place(Some(TWO)));
    assert_eq!(it.ask(THREE, &claim(7, THREE)), (Lost(owned(TWO, 1)), true));
    assert_eq!(
        it.ask(TWO, &moved(7, 1, TWO, THREE)),
        (Lost(owned(TWO, 1)), false)
    );
    assert_eq!(it.ask(TWO, &abort(7, 1, TWO)), (Owned(owned(TWO, 2)), true));
    assert_eq!(
        it.ask(TWO, &abort(7, 1, TWO)),
        (Owned(owned(TWO, 2)), false)
    );
}

#[test]
fn an_owner_without_a_copy_waits_for_the_source_to_take_it_back() {
    let mut it = fixture();
    it.ask(TWO, &place(Some(TWO)));
    it.ask(TWO, &moved(7, 1, TWO, THREE));
    it.up(THREE, 20);
    assert!(matches!(it.ask(THREE, &place(None)), (InDoubt(_), false)));
    assert!(
        matches!(it.ask(ONE, &place(None)), (Owned(_), false)),
        "others may know"
    );
    // The source starts anew, too: unless the target has a copy after all, the
    // memory is gone, and a new life may begin.
    it.up(TWO, 20);
    let unclaimed = (Unclaimed(MigrationId(7)), false);
    assert_eq!(it.ask(THREE, &place(None)), unclaimed);
    assert_eq!(it.ask(THREE, &place(None)), unclaimed);
    let (answer, recorded) = it.ask(THREE, &claim(7, THREE));
    assert!(matches!(answer, Owned(here) if here.epoch.generation == 2) && recorded);
    assert!(matches!(it.ask(THREE, &place(None)), (Owned(_), false)));
    assert!(matches!(it.ask(TWO, &reclaim(7, TWO)), (Lost(_), false)));
}

#[test]
fn an_agent_that_moves_is_found_at_its_source_until_the_move_is_settled() {
    let mut it = fixture();
    it.ask(TWO, &place(Some(TWO)));
    it.ask(TWO, &moved(7, 1, TWO, THREE));
    let find = |it: &mut Fixture, asker| it.ask(asker, &place(None)).0;
    // As before the move: a later word of where it went is news.
    assert_eq!(find(&mut it, ONE), Owned(owned(TWO, 1)));
    assert_eq!(find(&mut it, TWO), Owned(owned(THREE, 2)), "the source");
    let bare = |it| Ownership { life: 0, ..it };
    let (seen, known) = (
        it.state.whereabouts(ONE, &agent("a")),
        it.state.ownership(&agent("a")),
    );
    assert_eq!((bare(seen), bare(known)), (owned(TWO, 1), owned(THREE, 2)));
    it.state.node_down(TWO);
    assert_eq!(find(&mut it, ONE), Owned(owned(THREE, 2)));
    it.up(TWO, 12);
    assert_eq!(find(&mut it, ONE), Owned(owned(TWO, 1)));
    let mut restarted = it.clone();
    restarted.up(TWO, 13);
    assert_eq!(find(&mut restarted, ONE), Owned(owned(THREE, 2)));
    it.ask(TWO, &settle(7));
    assert_eq!(find(&mut it, ONE), Owned(owned(THREE, 2)));
}

#[test]
fn commands_of_an_earlier_life_of_a_node_are_not_carried_out() {
    let mut it = fixture();
    it.ask(TWO, &place(Some(TWO)));
    it.up(TWO, 13);
    let old = Origin {
        node: TWO,
        boot: 12,
    };
    let (answer, record) = it.state.apply(old, &moved(7, 1, TWO, THREE));
    assert!(matches!(answer, InDoubt(_)) && record.is_none());
    let again = it.state.node_up(TWO, 12);
    assert!(matches!(again, Err(NodeRefused::OldBoot { known: 13, .. })));
}

#[test]
fn the_agents_of_a_dead_node_live_on_elsewhere_above_what_it_had() {
    let mut it = fixture();
    it.ask(TWO, &place(Some(TWO)));
    it.dies(TWO);
    let (answer, recorded) = it.ask(ONE, &place(Some(THREE)));
    assert_eq!((answer, recorded), (Owned(owned(THREE, 2)), true));
    assert_eq!(it.ask(THREE, &place(None)), (Owned(owned(THREE, 2)), false));
    // The dead node, should it live after all, is told nothing it could act on.
    for command in [
        place(Some(TWO)),
        moved(7, 1, TWO, ONE),
        abort(7, 1, TWO),
        forget(1),
    ] {
        assert!(
            matches!(it.ask(TWO, &command), (InDoubt(_), false)),
            "{command:?}"
        );
    }
    let again = it.state.node_up(TWO, 12);
    assert_eq!(
        again,
        Err(NodeRefused::DeclaredDead {
            node: TWO,
            boot: 12
        })
    );
    let replayed = it.replayed(DirectoryLimits::default());
    let expected = Ownership {
        life: 2,
        ..owned(THREE, 2)
    };
    assert_eq!(replayed.ownership(&agent("a")), expected);
    // Its next life is welcome, and owns what was not asked for meanwhile.
    it.up(TWO, 13);
    assert!(matches!(it.ask(TWO, &place(None)), (Owned(_), false)));
}

#[test]
fn only_what_is_silent_is_declared_dead() {
    let mut it = fixture();
    let refused = |it: &mut Fixture, node| it.state.declare_dead(node).unwrap_err();
    assert_eq!(refused(&mut it, TWO), DeathRefused::Connected(TWO));
    it.state.node_leaving(TWO);
    assert_eq!(refused(&mut it, TWO), DeathRefused::Connected(TWO));
    assert_eq!(refused(&mut it, ONE), DeathRefused::Own(ONE));
    assert_eq!(
        refused(&mut it, NodeId(9)),
        DeathRefused::Unknown(NodeId(9))
    );
    it.dies(TWO);
    let twice = it.state.declare_dead(TWO).unwrap();
    assert_eq!(twice, (12, None), "it is known");
    let stale = Record::Dead {
        node: THREE,
        boot: 12,
    };
    assert!(it.state.replay(&stale).is_err(), "it has another life");
}

#[test]
fn what_a_dead_node_was_given_the_source_takes_back() {
    let mut it = fixture();
    it.ask(TWO, &place(Some(TWO)));
    it.ask(TWO, &moved(7, 1, TWO, THREE));
    it.dies(THREE);
    // The source has the only copy: no new life begins beside it.
    assert!(matches!(it.ask(ONE, &place(None)), (InDoubt(_), false)));
    assert_eq!(it.ask(TWO, &reclaim(7, TWO)), (Owned(owned(TWO, 3)), true));
    assert!(matches!(
        it.ask(TWO, &moved(8, 3, TWO, THREE)),
        (Lost(_), false)
    ));
    assert_eq!(it.ask(TWO, &abort(8, 3, TWO)), (Owned(owned(TWO, 4)), true));
    // If both are gone, so is the agent's memory.
    it.ask(TWO, &moved(9, 4, TWO, ONE));
    it.dies(TWO);
    assert_eq!(it.ask(ONE, &claim(9, ONE)), (Owned(owned(ONE, 5)), true));
    let mut it = fixture();
    it.ask(TWO, &place(Some(TWO)));
    it.ask(TWO, &moved(7, 1, TWO, THREE));
    it.dies(TWO);
    it.dies(THREE);
    assert_eq!(it.ask(ONE, &place(None)), (Owned(owned(ONE, 3)), true));
}

/// A node may have kept what it had of an agent before: that counts as long as the agent
/// was neither stopped since nor lost with a dead node.
#[test]
fn a_life_counts_from_where_it_was_placed_last() {
    let mut it = fixture();
    let life = |it: &Fixture| {
        let now = it.state.ownership(&agent("a"));
        let replayed = it.replayed(DirectoryLimits::default());
        assert_eq!(replayed.ownership(&agent("a")), now);
        now.life
    };
    it.ask(TWO, &place(Some(TWO)));
    it.ask(TWO, &moved(7, 1, TWO, THREE));
    it.ask(TWO, &settle(7));
    it.ask(THREE, &abort(8, 2, THREE));
    assert_eq!(life(&it), 1, "moves and attempts change nothing");
    let begun = |generation| Incarnation {
        generation,
        boot: 1,
        count: 1,
    };
    assert!(begun(1).counts_since(life(&it)));
    it.ask(THREE, &forget(3));
    it.ask(TWO, &place(Some(TWO)));
    assert_eq!(life(&it), 4, "it was stopped");
    assert!(!begun(3).counts_since(life(&it)));
    it.dies(TWO);
    it.ask(ONE, &place(Some(THREE)));
    assert_eq!(life(&it), 5, "it was lost");
    let mut alone = fixture();
    alone.ask(ONE, &place(Some(ONE)));
    alone.ask(ONE, &moved(9, 0, ONE, TWO));
    assert_eq!(life(&alone), 0, "it lives on from where it had no entry");
}

#[test]
fn the_term_is_the_owners_boot_counter() {
    let mut it = fixture();
    it.ask(TWO, &place(Some(TWO)));
    it.up(TWO, 99);
    let (answer, _) = it.ask(ONE, &place(None));
    let epoch = Epoch {
        generation: 1,
        term: 99,
    };
    let (owner, life) = (TWO, 0);
    assert_eq!(answer, Owned(Ownership { owner, epoch, life }));
}

#[test]
fn a_new_life_is_above_all_earlier_ones() {
    let limits = DirectoryLimits {
        graves: 2,
        ..DirectoryLimits::default()
    };
    let mut it = Fixture::new(limits);
    it.ask(TWO, &place(Some(TWO)));
    it.ask(TWO, &moved(7, 1, TWO, THREE));
    assert_eq!(it.ask(THREE, &forget(1)), (Lost(owned(THREE, 2)), false));
    assert_eq!(it.ask(THREE, &forget(2)), (Owned(owned(THREE, 2)), true));
    assert_eq!(it.ask(THREE, &forget(2)), (Owned(owned(THREE, 2)), false));
    assert_eq!(
        it.ask(TWO, &reclaim(7, TWO)),
        (Lost(owned(THREE, 2)), false)
    );
    assert_eq!(it.ask(ONE, &place(Some(ONE))), (Owned(owned(ONE, 3)), true));
    it.ask(ONE, &forget(3));
    // Beyond what is remembered one by one, everything new is above it.
    for other in ["b", "c", "d"] {
        let agent = agent(other);
        let prefer = Some(TWO);
        it.ask(
            TWO,
            &DirectoryCommand::Place {
                agent: agent.clone(),
                prefer,
            },
        );
        let generation = it.state.ownership(&agent).epoch.generation;
        it.ask(TWO, &DirectoryCommand::Forget { agent, generation });
    }
    assert_eq!(it.ask(ONE, &place(Some(ONE))), (Owned(owned(ONE, 4)), true));
}

#[test]
fn a_full_directory_places_nothing_new_and_moves_what_it_has() {
    let limits = DirectoryLimits {
        agents: 1,
        ..DirectoryLimits::default()
    };
    let mut it = Fixture::new(limits);
    it.ask(ONE, &place(Some(ONE)));
    let other = DirectoryCommand::Place {
        agent: agent("b"),
        prefer: None,
    };
    let (answer, recorded) = it.ask(TWO, &other);
    assert!(matches!(answer, InDoubt(why) if why.contains("its bound")) && !recorded);
    assert_eq!(
        it.ask(ONE, &moved(7, 0, ONE, TWO)),
        (Owned(owned(TWO, 1)), true)
    );
}

#[test]
fn a_record_that_does_not_follow_is_refused() {
    let mut it = fixture();
    it.ask(TWO, &place(Some(TWO)));
    it.ask(TWO, &moved(7, 1, TWO, THREE));
    let log = it.log.clone();
    let mut state = DirectoryState::new(ONE, DirectoryLimits::default());
    state.replay(&log[3]).unwrap();
    let error = state.replay(&log[3]).unwrap_err();
    assert!(error.to_string().contains("placed already"), "{error}");
    let stray = Record::Settled {
        agent: agent("z"),
        migration: MigrationId(1),
    };
    state.replay(&stray).unwrap_err();
}

#[derive(Clone, Debug)]
enum Doing {
    Ask(NodeId, DirectoryCommand),
    Restart(NodeId),
    Die(NodeId),
}

fn doing() -> impl Strategy<Value = Doing> {
    let node = || (1_u32..=3).prop_map(NodeId);
    let id = || (0_u128..12).prop_map(MigrationId);
    let name = || (0_usize..2).prop_map(|i| agent(["a", "b"][i]));
    let generation = || 0_u64..8;
    let command = prop_oneof![
        (name(), proptest::option::of(node()))
            .prop_map(|(agent, prefer)| DirectoryCommand::Place { agent, prefer }),
        (name(), id(), generation(), node(), node()).prop_map(
            |(agent, migration, generation, from, to)| DirectoryCommand::Move {
                agent,
                migration,
                generation,
                from,
                to
            }
        ),
        (name(), id(), generation(), node()).prop_map(|(agent, migration, generation, from)| {
            DirectoryCommand::Abort {
                agent,
                migration,
                generation,
                from,
            }
        }),
        (name(), id()).prop_map(|(agent, migration)| DirectoryCommand::Settle { agent, migration }),
        (name(), id(), node()).prop_map(|(agent, migration, by)| DirectoryCommand::Claim {
            agent,
            migration,
            by
        }),
        (name(), id(), node()).prop_map(|(agent, migration, by)| DirectoryCommand::Reclaim {
            agent,
            migration,
            by
        }),
        (name(), generation())
            .prop_map(|(agent, generation)| DirectoryCommand::Forget { agent, generation }),
    ];
    prop_oneof![
        20 => (node(), command).prop_map(|(node, command)| Doing::Ask(node, command)),
        1 => node().prop_map(Doing::Restart),
        1 => (2_u32..=3).prop_map(|node| Doing::Die(NodeId(node))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    /// Generations never fall, none ever has two owners, a command asked twice
    /// changes nothing the second time, and the log makes the same state again.
    #[test]
    fn whatever_is_asked(doings in proptest::collection::vec(doing(), 1..120)) {
        let limits = DirectoryLimits { graves: 1, attempts: 3, ..DirectoryLimits::default() };
        let mut it = Fixture::new(limits);
        let mut owners: BTreeMap<(AgentId, u64), NodeId> = BTreeMap::new();
        for doing in doings {
            match doing {
                Doing::Restart(node) => it.up(node, it.boot(node) + 1),
                Doing::Die(node) => it.dies(node),
                Doing::Ask(node, command) => {
                    let about = command.agent().clone();
                    let before = it.state.ownership(&about);
                    let entry_before = it.state.entries().any(|(agent, _)| *agent == about);
                    let (first, _) = it.ask(node, &command);
                    let after = it.state.ownership(&about);
                    let dropped = !it.state.entries().any(|(agent, _)| *agent == about)
                        && !it.state.graves().any(|(agent, _)| *agent == about);
                    if !dropped || !entry_before {
                        prop_assert!(after.epoch.generation >= before.epoch.generation
                            || it.state.floor() >= before.epoch.generation);
                    }
                    if let Owned(here) = &first {
                        let key = (about.clone(), here.epoch.generation);
                        let owner = *owners.entry(key).or_insert(here.owner);
                        prop_assert_eq!(owner, here.owner, "{:?} by {:?}", first, command);
                    }
                    let (second, recorded) = it.ask(node, &command);
                    if !matches!(first, InDoubt(_)) {
                        prop_assert_eq!(&second, &first);
                        prop_assert!(!recorded, "{:?} is recorded twice", command);
                    }
                }
            }
        }
        let replayed = it.replayed(limits);
        for name in ["a", "b"] {
            prop_assert_eq!(replayed.ownership(&agent(name)), it.state.ownership(&agent(name)));
        }
        let entries = |state: &DirectoryState| {
            state.entries().map(|(a, e)| (a.clone(), e.clone())).collect::<BTreeMap<_, _>>()
        };
        prop_assert_eq!(entries(&replayed), entries(&it.state));
        prop_assert_eq!(replayed.floor(), it.state.floor());
        for entry in entries(&it.state).values() {
            let open = entry.attempts.iter().filter(|a| {
                a.phase == Phase::Moved && a.generation == entry.generation
            });
            prop_assert!(open.count() <= 1);
            prop_assert!(entry.attempts.len() <= 3);
        }
    }
}

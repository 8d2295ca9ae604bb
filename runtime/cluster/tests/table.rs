//! A node's table of migrations: who is heard, who is answered, what is refused.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends where it is wrong"
)]

use bytes::Bytes;
use phoenix_cluster::migration::{
    Action, BeginRefused, SourceAction, SourceEvent, SourceOutcome, SourcePlan, Step, TargetAction,
    TargetEvent, TargetOutcome,
};
use phoenix_cluster::{MigrationLimits, Migrations};
use phoenix_core::directory::{DirectoryAnswer, DirectoryCommand, Ownership};
use phoenix_core::migration::MigrationMessage as M;
use phoenix_core::{AgentId, Digest, Epoch, MigrationId, Millis, NodeId};

const HERE: NodeId = NodeId(1);
const THERE: NodeId = NodeId(2);
const ID: MigrationId = MigrationId(7);
const NOW: Millis = Millis(1_000);
const EPOCH: Epoch = Epoch {
    generation: 4,
    term: 1,
};

fn agent() -> AgentId {
    AgentId::new("counter/a").unwrap()
}

fn plan(migration: MigrationId) -> SourcePlan {
    SourcePlan {
        migration,
        agent: agent(),
        component: Digest([1; 32]),
        source: HERE,
        target: THERE,
        generation: 3,
        durable: false,
    }
}

fn prepare(migration: MigrationId) -> M {
    M::Prepare {
        migration,
        agent: agent(),
        component: Digest([1; 32]),
        durable: false,
    }
}

fn ship(offset: u64, total: u64, bytes: &'static [u8]) -> M {
    M::Ship {
        migration: ID,
        offset,
        total,
        bytes: Bytes::from_static(bytes),
    }
}

fn table() -> Migrations {
    small(MigrationLimits::default())
}

fn small(limits: MigrationLimits) -> Migrations {
    let mut table = Migrations::new(HERE, limits);
    table.connected(NOW, THERE, 1);
    table
}

/// The messages among the steps.
fn sent(steps: &[Step]) -> Vec<M> {
    let message = |step: &Step| match &step.action {
        Action::Answer(message)
        | Action::Source(_, SourceAction::Send(message))
        | Action::Target(_, TargetAction::Send(message)) => Some(message.clone()),
        _ => None,
    };
    steps.iter().filter_map(message).collect()
}

fn answered(table: &mut Migrations, message: M) -> Vec<M> {
    sent(&table.received(NOW, THERE, message))
}

fn owned(owner: NodeId, epoch: Epoch) -> DirectoryAnswer {
    DirectoryAnswer::Owned(Ownership {
        owner,
        epoch,
        life: 0,
    })
}

fn hear(table: &mut Migrations, request: u32, answer: DirectoryAnswer) -> Vec<Step> {
    table.answered(NOW, ID, request, answer)
}

/// A table whose agent stands still and is about to be shipped; the directory is asked.
fn standing() -> Migrations {
    let mut table = table();
    table.begin(NOW, plan(ID)).unwrap();
    table.received(NOW, THERE, M::Ready { migration: ID });
    let steps = table.source(NOW, ID, SourceEvent::Still);
    let [Step { action, .. }] = &steps[..] else {
        panic!("{steps:?}");
    };
    assert!(matches!(
        action,
        Action::Source(
            _,
            SourceAction::Submit {
                request: 1,
                command: DirectoryCommand::Move { generation: 3, .. }
            }
        )
    ));
    table
}

/// The same, shipped.
fn swapping() -> Migrations {
    let mut table = standing();
    let image = SourceEvent::Frozen(Bytes::from_static(b"all of it"));
    let steps = table.source(NOW, ID, image);
    assert!(matches!(sent(&steps)[..], [M::Ship { offset: 0, .. }]));
    table
}

fn prepared(table: &mut Migrations) {
    table.received(NOW, THERE, prepare(ID));
    let steps = table.target(NOW, ID, TargetEvent::Prepared);
    assert_eq!(sent(&steps), [M::Ready { migration: ID }]);
}

/// A table that has a copy of the agent, staged.
fn staged(table: &mut Migrations) {
    prepared(table);
    table.received(NOW, THERE, ship(0, 4, b"copy"));
    let steps = table.target(NOW, ID, TargetEvent::StageOk);
    assert_eq!(steps, [], "the directory's word is on its way");
}

fn asks(steps: &[Step], wanted: fn(&DirectoryCommand) -> bool) -> bool {
    let asks = |step: &Step| match &step.action {
        Action::Source(_, SourceAction::Submit { command, .. })
        | Action::Target(_, TargetAction::Submit { command, .. }) => wanted(command),
        _ => false,
    };
    steps.iter().any(asks)
}

fn activates(steps: &[Step]) -> bool {
    let activates = |step: &Step| {
        matches!(
            step.action,
            Action::Target(_, TargetAction::Activate { .. })
        )
    };
    steps.iter().any(activates)
}

#[test]
fn a_migration_that_cannot_begin_says_why() {
    let mut table = small(MigrationLimits {
        active: 1,
        ..MigrationLimits::default()
    });
    let mut home = plan(ID);
    home.target = HERE;
    let error = table.begin(NOW, home).unwrap_err();
    assert!(matches!(error, BeginRefused::Here { .. }), "{error}");
    table.begin(NOW, plan(ID)).unwrap();
    let error = table.begin(NOW, plan(MigrationId(8))).unwrap_err();
    assert_eq!(error.to_string(), "counter/a is already moving to node-2");
    let mut other = plan(MigrationId(8));
    other.agent = AgentId::new("counter/b").unwrap();
    let error = table.begin(NOW, other).unwrap_err();
    assert!(matches!(error, BeginRefused::TooMany(1)), "{error}");
}

#[test]
fn only_the_other_side_is_heard() {
    let mut table = table();
    table.begin(NOW, plan(ID)).unwrap();
    assert_eq!(
        table.received(NOW, NodeId(3), M::Ready { migration: ID }),
        []
    );
    assert_eq!(table.source(NOW, ID, SourceEvent::Tick), []);
    let steps = table.received(NOW, THERE, M::Ready { migration: ID });
    assert!(matches!(
        steps[0].action,
        Action::Source(_, SourceAction::Freeze)
    ));
}

#[test]
fn nothing_is_claimed_about_attempts_that_are_unknown() {
    let mut table = table();
    let unknown = M::Unknown { migration: ID };
    for message in [
        M::Ready { migration: ID },
        M::Staged { migration: ID },
        M::Activated { migration: ID },
        ship(0, 1, b"x"),
        M::Activate {
            migration: ID,
            epoch: EPOCH,
        },
    ] {
        assert_eq!(
            answered(&mut table, message),
            std::slice::from_ref(&unknown)
        );
    }
    for message in [
        M::Released { migration: ID },
        M::Cancelled { migration: ID },
        unknown,
        M::Refused {
            migration: ID,
            reason: String::new(),
        },
    ] {
        assert_eq!(answered(&mut table, message), []);
    }
    assert!(table.is_empty());
}

#[test]
fn a_source_lets_go_only_after_activated_and_says_so_again() {
    let mut table = swapping();
    // The directory tells the target too.
    assert_eq!(hear(&mut table, 1, owned(THERE, EPOCH)), []);
    let steps = table.received(NOW, THERE, M::Activated { migration: ID });
    let place = |wanted: fn(&Action) -> bool| steps.iter().position(|s| wanted(&s.action));
    let release = place(|a| matches!(a, Action::Source(_, SourceAction::Release { .. })));
    let released =
        place(|a| matches!(a, Action::Source(_, SourceAction::Send(M::Released { .. }))));
    assert!(
        release < released,
        "the copy is gone before the target hears of it"
    );
    // Before and after the directory knows.
    let again = [M::Released { migration: ID }];
    assert_eq!(answered(&mut table, M::Activated { migration: ID }), again);
    hear(&mut table, 2, owned(THERE, EPOCH));
    assert!(table.is_empty());
    assert_eq!(answered(&mut table, M::Activated { migration: ID }), again);
}

#[test]
fn an_activation_is_word_of_the_move_as_good_as_the_directorys() {
    let mut table = swapping();
    let steps = table.received(NOW, THERE, M::Activated { migration: ID });
    assert!(matches!(
        &steps[0].action,
        Action::Source(_, SourceAction::Release { owner })
            if owner.owner == THERE && owner.epoch == EPOCH
    ));
    assert_eq!(sent(&steps), [M::Released { migration: ID }]);
    // The word comes late, and is no answer to the settling.
    assert_eq!(hear(&mut table, 1, owned(THERE, EPOCH)), []);
    assert!(!table.is_empty());
    hear(&mut table, 2, owned(THERE, EPOCH));
    assert!(table.is_empty());
}

#[test]
fn a_target_that_missed_the_move_is_told_by_the_source() {
    let activate = [M::Activate {
        migration: ID,
        epoch: EPOCH,
    }];
    let staged = || M::Staged { migration: ID };
    let mut before = swapping();
    assert_eq!(answered(&mut before, staged()), []);
    let steps = hear(&mut before, 1, owned(THERE, EPOCH));
    assert_eq!(sent(&steps), activate);
    let mut after = swapping();
    hear(&mut after, 1, owned(THERE, EPOCH));
    assert_eq!(answered(&mut after, staged()), activate);
}

#[test]
fn a_move_that_won_is_taken_back_by_a_reclaim_and_another_by_an_abort() {
    let abort = |c: &DirectoryCommand| matches!(c, DirectoryCommand::Abort { .. });
    let reclaim = |c: &DirectoryCommand| matches!(c, DirectoryCommand::Reclaim { .. });
    let unreadable = || SourceEvent::FreezeFailed("it cannot be read".to_owned());
    let mut asked = standing();
    let steps = asked.source(NOW, ID, unreadable());
    assert!(asks(&steps, abort), "{steps:?}");
    // The abort lost: it had moved. Whether a copy lives there the directory knows.
    let lost = DirectoryAnswer::Lost(Ownership {
        owner: THERE,
        epoch: EPOCH,
        life: 0,
    });
    assert!(asks(&hear(&mut asked, 2, lost), reclaim));
    let mut won = standing();
    hear(&mut won, 1, owned(THERE, EPOCH));
    let cancel = SourceEvent::Cancel("the operator".to_owned());
    assert_eq!(won.source(NOW, ID, cancel), [], "it has won");
    let steps = won.source(NOW, ID, unreadable());
    assert!(asks(&steps, reclaim), "{steps:?}");
    // A copy that was never whole was never claimed: the agent goes on here.
    let back = Epoch {
        generation: 5,
        term: 1,
    };
    let steps = hear(&mut won, 2, owned(HERE, back));
    assert!(matches!(
        steps[0].action,
        Action::Source(_, SourceAction::Unfreeze { epoch }) if epoch == back
    ));
    assert_eq!(sent(&steps), [M::Cancelled { migration: ID }]);
}

#[test]
fn a_directory_in_doubt_is_asked_again_later_and_less_often() {
    let mut table = standing();
    let doubt = || DirectoryAnswer::InDoubt("busy".to_owned());
    let mut now = NOW;
    let mut waits = Vec::new();
    for _ in 0..9 {
        table.answered(now, ID, 1, doubt());
        let next = table.deadline().unwrap();
        waits.push((next - now).0);
        now = next;
        let steps = table.tick(now);
        assert!(matches!(
            steps[0].action,
            Action::Source(_, SourceAction::Submit { request: 1, .. })
        ));
    }
    assert!(
        waits.is_sorted() && waits[0] == 100 && waits[8] <= 5_000,
        "{waits:?}"
    );
}

#[test]
fn a_move_that_lost_to_nobody_is_aborted_before_the_agent_goes_on() {
    let mut table = swapping();
    let same = Ownership {
        owner: HERE,
        epoch: Epoch {
            generation: 3,
            term: 1,
        },
        life: 0,
    };
    let steps = hear(&mut table, 1, DirectoryAnswer::Lost(same));
    assert!(matches!(
        steps[0].action,
        Action::Source(
            _,
            SourceAction::Submit {
                request: 2,
                command: DirectoryCommand::Abort { .. }
            }
        )
    ));
    // A late answer to the move says nothing any more.
    assert_eq!(hear(&mut table, 1, owned(THERE, EPOCH)), []);
    let steps = hear(&mut table, 2, owned(HERE, EPOCH));
    assert!(matches!(
        steps[0].action,
        Action::Source(_, SourceAction::Unfreeze { epoch: EPOCH })
    ));
}

#[test]
fn a_copy_that_is_not_this_nodes_is_dropped_not_run() {
    for owner in [NodeId(3), HERE] {
        let mut table = swapping();
        table.source(NOW, ID, SourceEvent::Cancel("the operator".to_owned()));
        let epoch = Epoch {
            generation: if owner == HERE { 3 } else { 9 },
            term: 1,
        };
        let lost = DirectoryAnswer::Lost(Ownership {
            owner,
            epoch,
            life: 0,
        });
        let steps = hear(&mut table, 2, lost);
        assert!(matches!(
            steps[0].action,
            Action::Source(_, SourceAction::Release { .. })
        ));
        assert!(matches!(
            steps[1].action,
            Action::Source(_, SourceAction::Finished(SourceOutcome::Gone { .. }))
        ));
    }
}

#[test]
fn a_part_the_transport_refused_is_sent_again_after_a_pause() {
    let limits = MigrationLimits {
        part_bytes: 4,
        ..MigrationLimits::default()
    };
    let mut table = small(limits);
    table.begin(NOW, plan(ID)).unwrap();
    table.received(NOW, THERE, M::Ready { migration: ID });
    table.source(NOW, ID, SourceEvent::Still);
    let image = Bytes::from_static(b"0123456789");
    let offsets = |steps: &[Step]| -> Vec<u64> {
        let offset = |message: M| match message {
            M::Ship { offset, total, .. } => {
                assert_eq!(total, 10);
                offset
            }
            other => panic!("{other:?}"),
        };
        sent(steps).into_iter().map(offset).collect()
    };
    let steps = table.source(NOW, ID, SourceEvent::Frozen(image));
    assert_eq!(offsets(&steps), [0, 4, 8]);
    assert_eq!(
        table.source(NOW, ID, SourceEvent::NotSent { offset: 4 }),
        []
    );
    assert_eq!(table.tick(NOW), []);
    let later = table.deadline().unwrap();
    assert_eq!((later - NOW).0, 20);
    assert_eq!(offsets(&table.tick(later)), [4, 8]);
    // The same life of the target connects again: all of it, from the start.
    table.disconnected(later, THERE);
    assert_eq!(offsets(&table.connected(later, THERE, 1)), [0, 4, 8]);
    // Another life has nothing.
    table.disconnected(later, THERE);
    let steps = table.connected(later, THERE, 2);
    assert!(matches!(
        steps[0].action,
        Action::Source(
            _,
            SourceAction::Submit {
                command: DirectoryCommand::Abort { .. },
                ..
            }
        )
    ));
}

#[test]
fn parts_out_of_order_or_beyond_bounds_are_refused() {
    let wrong: [&[M]; 5] = [
        &[ship(2, 4, b"py")],
        &[ship(0, 4, b"co"), ship(1, 4, b"opy")],
        &[ship(0, 4, b"co"), ship(2, 5, b"pyy")],
        &[ship(0, 4, b"copies")],
        &[ship(0, 1 << 40, b"co")],
    ];
    for parts in wrong {
        let mut table = table();
        table.received(NOW, THERE, prepare(ID));
        table.target(NOW, ID, TargetEvent::Prepared);
        let mut last = Vec::new();
        for part in parts {
            last = answered(&mut table, part.clone());
        }
        assert!(
            matches!(last[..], [M::Refused { .. }]),
            "{parts:?}: {last:?}"
        );
        assert!(table.is_empty());
        // It ended; a late step of it begins nothing.
        let unknown = [M::Unknown { migration: ID }];
        assert_eq!(answered(&mut table, ship(0, 4, b"copy")), unknown);
        let again = answered(&mut table, prepare(ID));
        assert!(matches!(again[..], [M::Refused { .. }]), "{again:?}");
    }
}

#[test]
fn a_target_runs_only_when_released_or_when_its_claim_won() {
    let runs = |steps: &[Step]| {
        steps
            .iter()
            .any(|step| matches!(step.action, Action::Target(_, TargetAction::Run)))
    };
    let activate = || M::Activate {
        migration: ID,
        epoch: EPOCH,
    };
    let mut released = table();
    staged(&mut released);
    assert!(!runs(&released.received(
        NOW,
        THERE,
        M::Released { migration: ID }
    )));
    let steps = released.received(NOW, THERE, activate());
    assert!(!runs(&steps));
    assert_eq!(sent(&steps), [M::Activated { migration: ID }]);
    assert!(runs(&released.received(
        NOW,
        THERE,
        M::Released { migration: ID }
    )));
    assert_eq!(
        answered(&mut released, activate()),
        [M::Activated { migration: ID }]
    );

    let mut alone = table();
    staged(&mut alone);
    alone.received(NOW, THERE, activate());
    alone.disconnected(NOW, THERE);
    let mut now = NOW;
    while now < NOW + Millis(5_000) {
        now = alone.deadline().unwrap();
        let steps = alone.tick(now);
        assert!(!runs(&steps));
    }
    assert!(runs(&alone.answered(now, ID, 1, owned(HERE, EPOCH))));

    let mut lost = table();
    staged(&mut lost);
    lost.received(NOW, THERE, M::Unknown { migration: ID });
    let elsewhere = DirectoryAnswer::Lost(Ownership {
        owner: THERE,
        epoch: EPOCH,
        life: 0,
    });
    let steps = lost.answered(NOW, ID, 1, elsewhere);
    assert!(matches!(
        steps[0].action,
        Action::Target(_, TargetAction::Drop)
    ));
    assert!(matches!(
        steps[1].action,
        Action::Target(_, TargetAction::Finished(TargetOutcome::Dropped { .. }))
    ));
}

#[test]
fn a_move_that_is_heard_of_before_the_copy_is_whole_activates_it_then() {
    let mut collecting = table();
    prepared(&mut collecting);
    assert_eq!(collecting.moved_here(NOW, ID, EPOCH), []);
    collecting.received(NOW, THERE, ship(0, 4, b"copy"));
    let steps = collecting.target(NOW, ID, TargetEvent::StageOk);
    assert!(activates(&steps), "{steps:?}");
    assert_eq!(sent(&steps), [M::Activated { migration: ID }]);

    let mut staging = table();
    prepared(&mut staging);
    staging.received(NOW, THERE, ship(0, 4, b"copy"));
    assert_eq!(staging.moved_here(NOW, ID, EPOCH), []);
    // It is its own by the directory, and cannot be had: the source has it still.
    let why = "there is no room".to_owned();
    let steps = staging.target(NOW, ID, TargetEvent::StageFailed(why));
    assert!(!activates(&steps));
    assert!(matches!(sent(&steps)[..], [M::Refused { .. }]));
    assert_eq!(staging.moved_here(NOW, ID, EPOCH), []);
}

#[test]
fn a_target_without_word_of_the_move_says_that_it_waits() {
    let mut table = table();
    staged(&mut table);
    let later = table.deadline().unwrap();
    assert_eq!((later - NOW).0, 1_000);
    assert_eq!(sent(&table.tick(later)), [M::Staged { migration: ID }]);
    // It is asked where it stands.
    let steps = table.received(later, THERE, ship(0, 4, b"copy"));
    assert_eq!(sent(&steps), [M::Staged { migration: ID }]);
}

#[test]
fn an_agent_does_not_come_back_before_its_old_copy_is_gone() {
    let mut table = swapping();
    let answer = answered(&mut table, prepare(MigrationId(9)));
    assert!(
        matches!(&answer[..], [M::Refused { reason, .. }] if reason.contains("still has a copy")),
        "{answer:?}"
    );
    hear(&mut table, 1, owned(THERE, EPOCH));
    table.received(NOW, THERE, M::Activated { migration: ID });
    let steps = table.received(NOW, THERE, prepare(MigrationId(9)));
    assert!(matches!(
        steps[0].action,
        Action::Target(_, TargetAction::Prepare)
    ));
}

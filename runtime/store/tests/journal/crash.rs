//! The node ends at any operation, and the power with it: everything that was told to be
//! durable is there, and besides it all up to some later point, and nothing beyond.

use crate::model::{DiskRig, Heard, MemoryRig, Model, Rig, Rng, Watch, id, storm};

/// Crashes, most of them between or within operations of the volume.
const CRASHES: u64 = 5_000;
/// How often one journal is opened again.
const LIVES: u64 = 4;

fn lives<R: Rig + Default>(seed: u64) {
    let mut rng = Rng::new(seed);
    let mut rig = R::default();
    let mut model = Model::new();
    for life in 0..LIVES {
        rig.end_soon(&mut rng);
        let journal = rig.open();
        let (journal, heard) = match journal {
            Ok(journal) => {
                let watch = Watch::on(&journal);
                if life > 0 {
                    // Nothing was told yet of this life; what is there is what was left.
                    model.recover(&journal, &watch.heard());
                }
                let steps = 10 + rng.below(70);
                storm::<R>(&mut model, &journal, &watch, &mut rng, steps);
                let heard = watch.heard();
                (Some(journal), heard)
            }
            // It ended while it was opened.
            Err(_) => (None, Heard::default()),
        };
        rig = rig.crash(journal, &mut rng);
        let journal = rig
            .open()
            .unwrap_or_else(|error| panic!("opened after a crash: {error}"));
        model.recover(&journal, &heard);
        rig = rig.close(journal);
    }
}

fn crashes<R: Rig + Default>() {
    for seed in 0..CRASHES / LIVES {
        let outcome = std::panic::catch_unwind(|| lives::<R>(seed));
        outcome.unwrap_or_else(|_| panic!("seed {seed}"));
    }
}

/// What a run that was killed has named and written need not be durable when the next
/// one finds it: whatever that one rests on has to be.
#[test]
fn what_a_killed_run_has_left_is_durable_before_more_is() {
    for operations in 0..60 {
        let mut rng = Rng::new(operations);
        let mut rig = DiskRig::default();
        let mut model = Model::new();
        rig.volume.die_after(operations);
        let mut heard = Heard::default();
        if let Ok(journal) = rig.open() {
            let watch = Watch::on(&journal);
            storm::<DiskRig>(&mut model, &journal, &watch, &mut rng, 60);
            heard = watch.heard();
        }
        rig = DiskRig {
            volume: rig.volume.after_kill(),
        };
        let journal = rig.open().unwrap();
        model.recover(&journal, &heard);
        let watch = Watch::on(&journal);
        let body = rng.bytes(60);
        let number = model.append(&journal, &id(0), body).unwrap();
        DiskRig::settle(&journal, &watch, number);
        let heard = watch.heard();
        rig.volume.die_after(0);
        // The power is lost, and with it all that could be.
        let volume = rig.volume.after_power_loss(|_| 0);
        drop(journal);
        let journal = DiskRig { volume }.open();
        let journal = journal.unwrap_or_else(|why| panic!("killed after {operations}: {why}"));
        model.recover(&journal, &heard);
    }
}

#[test]
fn what_was_durable_survives_on_disk() {
    crashes::<DiskRig>();
}

#[test]
fn what_was_durable_survives_in_memory() {
    crashes::<MemoryRig>();
}

//! The node ends at any operation, and the power with it: everything that was told to be
//! durable is there, and besides it all up to some later point, and nothing beyond.

use crate::model::{DiskRig, MemoryRig, Model, Rig, Rng, Watch, storm};

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
            Err(_) => (None, crate::model::Heard::default()),
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

#[test]
fn what_was_durable_survives_on_disk() {
    crashes::<DiskRig>();
}

#[test]
fn what_was_durable_survives_in_memory() {
    crashes::<MemoryRig>();
}

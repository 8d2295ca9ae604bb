//! Journals that lose what was not synced when their node is killed.

#[path = "../../../runtime/store/tests/journal/volume.rs"]
#[allow(dead_code, reason = "the journal's own tests use the rest of it")]
mod volume;

use std::sync::Arc;

use parking_lot::Mutex;
use phoenix_core::Millis;
use phoenix_node::JournalDisk;
use phoenix_store::journal::Options;

use crate::Random;
use volume::FaultyVolume;

/// Bytes of a journal's file: small, so that there are many.
const FILE_BYTES: u64 = 256 << 10;

/// The disks of a cluster's journals, by node. What else a node keeps is not lost.
#[derive(Clone)]
pub struct Disks {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    volumes: Vec<FaultyVolume>,
    random: Random,
}

impl Disks {
    /// Those of nodes 1 to `count`.
    pub fn new(count: usize, seed: u64) -> Self {
        let inner = Inner {
            volumes: (0..count).map(|_| FaultyVolume::default()).collect(),
            random: Random::new(seed, 7),
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// The node's.
    pub fn of(&self, node: usize) -> JournalDisk {
        let options = Options::new(Arc::new(|| {
            let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
            Millis(u64::try_from(now.as_millis()).unwrap())
        }));
        JournalDisk {
            volume: Arc::new(self.inner.lock().volumes[node - 1].clone()),
            options: Options {
                file_bytes: FILE_BYTES,
                ..options
            },
        }
    }

    /// From now on nothing gets to the node's disk.
    pub fn cut(&self, node: usize) {
        self.inner.lock().volumes[node - 1].die_after(0);
    }

    /// The node has ended: of what was not synced some is there, and some is not.
    pub fn lose_power(&self, node: usize) {
        let inner = &mut *self.inner.lock();
        let random = &mut inner.random;
        let left = inner.volumes[node - 1].after_power_loss(|bound| random.below(bound));
        inner.volumes[node - 1] = left;
    }
}

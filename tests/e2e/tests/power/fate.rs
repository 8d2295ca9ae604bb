//! When the power goes: at a step of a node's life, which is an operation of its
//! journal's volume, a commit, what leaves because of it, or what a client hears.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use phoenix_core::AgentId;
use phoenix_node::{Committed, Step, Witness};
use phoenix_store::journal::{Volume, VolumeFile};

use crate::volume::FaultyVolume;

/// One life's.
pub(crate) struct Fate {
    volume: FaultyVolume,
    state: Mutex<State>,
}

struct State {
    /// Steps so far.
    steps: u64,
    /// The power goes before this one.
    at: u64,
    last: &'static str,
    /// The step before the one that was not done any more, and that one.
    struck: Option<(&'static str, &'static str)>,
    strike: Option<Box<dyn FnOnce() + Send>>,
}

/// Between which steps the power went, and how often.
pub(crate) type Tally = BTreeMap<(&'static str, &'static str), u64>;

impl Fate {
    /// The volume's power goes before step `at`, counted from 1, and then `strike` is
    /// called.
    pub(crate) fn new(
        volume: FaultyVolume,
        at: u64,
        strike: Box<dyn FnOnce() + Send>,
    ) -> Arc<Self> {
        Arc::new(Self {
            volume,
            state: Mutex::new(State {
                steps: 0,
                at,
                last: "start",
                struck: None,
                strike: Some(strike),
            }),
        })
    }

    /// A step is about to be done. Says whether there is power for it.
    pub(crate) fn step(&self, what: &'static str) -> bool {
        let mut state = self.state.lock();
        if state.struck.is_some() {
            return false;
        }
        state.steps += 1;
        if state.steps == state.at {
            // With the lock held: no step after this one is done.
            self.volume.die_after(0);
            state.struck = Some((state.last, what));
            if let Some(strike) = state.strike.take() {
                strike();
            }
            return false;
        }
        state.last = what;
        true
    }

    /// Between which steps the power went, if it has.
    pub(crate) fn struck(&self) -> Option<(&'static str, &'static str)> {
        self.state.lock().struck
    }

    pub(crate) fn steps(&self) -> u64 {
        self.state.lock().steps
    }
}

impl std::fmt::Debug for Fate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fate").finish_non_exhaustive()
    }
}

impl Witness for Fate {
    fn committed(&self, _: &Committed<'_>) {
        self.step("commit");
    }

    fn stepping(&self, _: &AgentId, step: Step) {
        self.step(match step {
            Step::HandOut => "hand-out",
            Step::Acknowledgement => "acknowledgement",
            Step::Snapshot => "snapshot",
        });
    }
}

/// A volume whose operations are steps.
pub(crate) struct Powered(pub(crate) Arc<Fate>);

impl Powered {
    /// Does nothing without power: the volume refuses.
    fn before(&self, what: &'static str) -> &FaultyVolume {
        self.0.step(what);
        &self.0.volume
    }

    fn file(&self, file: Arc<dyn VolumeFile>) -> Arc<dyn VolumeFile> {
        Arc::new(PoweredFile {
            file,
            fate: self.0.clone(),
        })
    }
}

impl Volume for Powered {
    fn place(&self) -> String {
        self.0.volume.place()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.volume.list()
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn VolumeFile>> {
        let file = self.before("create").create(name, length)?;
        Ok(self.file(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn VolumeFile>> {
        let file = self.0.volume.open(name)?;
        Ok(self.file(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.before("rename").rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.before("remove").remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.before("sync of names").sync()
    }
}

struct PoweredFile {
    file: Arc<dyn VolumeFile>,
    fate: Arc<Fate>,
}

impl VolumeFile for PoweredFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.fate.step("write");
        self.file.write_at(offset, bytes)
    }

    fn clear_from(&self, offset: u64) -> io::Result<()> {
        self.fate.step("clear");
        self.file.clear_from(offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.fate.step("sync");
        self.file.sync()
    }
}

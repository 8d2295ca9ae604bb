//! Two cores for two sides that wait for each other's threads.
//!
//! How long a thread takes to wake depends on where it last ran and on how deeply
//! that core sleeps, and both on whatever else the machine does: two samples of the
//! same thing may differ by a factor for that alone. So each side has a core of
//! its own, and neither sleeps: on one a thread runs that gives way to every other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::Context as _;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// What was started on two cores, until this is dropped.
pub(crate) struct Cores {
    /// Where this thread may run otherwise.
    all: CpuSet,
    over: Arc<AtomicBool>,
    awake: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Cores {
    /// Runs `start`, whose threads are to stay on one core, and keeps that core from
    /// sleeping; from then on this thread, and what it starts, is on another. Where
    /// there is one core only, nothing has its own, and it never sleeps anyway.
    pub(crate) fn part<T>(start: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(Self, T)> {
        let mut parted = Self::new()?;
        let [first, second] = parted.two()?;
        let started = parted.on(&first, start)?;
        sched_setaffinity(None, &second)?;
        Ok((parted, started))
    }

    /// Runs `first` and then `second`, whose threads are to stay on a core each, and
    /// keeps both cores from sleeping. This thread is on any.
    pub(crate) fn apart<T, U>(
        first: impl FnOnce() -> anyhow::Result<T>,
        second: impl FnOnce(&mut T) -> anyhow::Result<U>,
    ) -> anyhow::Result<(Self, T, U)> {
        let mut parted = Self::new()?;
        let [one, other] = parted.two()?;
        let mut first = parted.on(&one, first)?;
        let second = parted.on(&other, || second(&mut first))?;
        sched_setaffinity(None, &parted.all)?;
        Ok((parted, first, second))
    }

    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            all: sched_getaffinity(None).context("which cores there are")?,
            over: Arc::default(),
            awake: Vec::new(),
        })
    }

    /// The first two cores there are, or twice the only one.
    fn two(&self) -> anyhow::Result<[CpuSet; 2]> {
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| self.all.is_set(*core));
        let first = one(cores.next().context("there is no core")?);
        Ok([first, cores.next().map_or(first, one)])
    }

    /// Runs `start` on a core, and keeps that awake.
    fn on<T>(
        &mut self,
        core: &CpuSet,
        start: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        sched_setaffinity(None, core)?;
        let started = start()?;
        let over = self.over.clone();
        self.awake
            .push(std::thread::spawn(move || stay_awake(&over)));
        Ok(started)
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for awake in self.awake.drain(..) {
            // What it says came too late for the figures, and hurts no other row.
            let _ = awake.join();
        }
        let _ = sched_setaffinity(None, &self.all);
    }
}

fn one(core: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(core);
    set
}

/// Keeps the core busy while nobody else wants it.
fn stay_awake(over: &AtomicBool) -> anyhow::Result<()> {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle)
        .map_err(|error| anyhow::anyhow!("no thread that gives way to others: {error:?}"))?;
    while !over.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
    Ok(())
}

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

/// This thread on one core and what it started on another, until this is dropped.
pub(crate) struct Cores {
    /// Where this thread may run otherwise.
    all: CpuSet,
    over: Arc<AtomicBool>,
    awake: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Cores {
    /// Runs `start`, whose threads are to stay on one core, and keeps that core from
    /// sleeping; from then on this thread, and what it starts, is on another. Where
    /// there is one core only, nothing has its own, and it never sleeps anyway.
    pub(crate) fn part<T>(start: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(Self, T)> {
        let all = sched_getaffinity(None).context("which cores there are")?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core));
        let first = one(cores.next().context("there is no core")?);
        let second = cores.next().map_or(first, one);
        let mut parted = Self {
            all,
            over: Arc::default(),
            awake: None,
        };
        sched_setaffinity(None, &first)?;
        let started = start()?;
        let over = parted.over.clone();
        parted.awake = Some(std::thread::spawn(move || stay_awake(&over)));
        sched_setaffinity(None, &second)?;
        Ok((parted, started))
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(awake) = self.awake.take() {
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

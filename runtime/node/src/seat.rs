//! Workers' seats: who drives a worker, and how its queue changes hands.
//!
//! A worker's state is a box. The thread that drives it has the box, and leaves it
//! in the seat while it calls a guest. If the guest stays away longer than its
//! slice, the ticker starts another thread, which takes the box and drives on.
//! Whoever comes back from a guest and finds the box in the seat drives; who finds
//! it gone posts what came of the call to the inbox, like any other event, and
//! ends. So a turn is a plain call on the driver's stack, and a slow one costs its
//! neighbours a slice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_utils::atomic::AtomicCell;
use parking_lot::{Condvar, Mutex};
use phoenix_core::Nanos;

use crate::clock;
use crate::counters::Tally;
use crate::worker::{Event, Job, Step, Worker};

/// Events that may wait for a worker before whoever brings them from outside has to wait.
const INBOX_BOUND: usize = 65_536;
/// Threads of one worker that may be stuck in guests at once; beyond it a slow
/// turn holds its worker up to its deadline.
const MAX_STUCK: usize = 32;
/// Longest sleep of an idle driver: a bound on what a lost wake-up could cost.
const MAX_PARK: Duration = Duration::from_secs(1);

/// One worker's place.
pub(crate) struct Seat {
    index: usize,
    pub(crate) tally: Tally,
    /// The worker, while no thread has it.
    worker: AtomicCell<Option<Box<Worker>>>,
    inbox: Mutex<Inbox>,
    /// Something is in the inbox.
    mail: AtomicBool,
    wake: Condvar,
    room: Condvar,
    /// When the current guest call began, nanoseconds; zero if there is none.
    call_began: AtomicU64,
    /// How long its slice is, nanoseconds.
    call_slice: AtomicU64,
    /// Threads beside the one that drives.
    stuck: AtomicUsize,
    closing: AtomicBool,
    /// The last driver has gone.
    parked: AtomicBool,
}

const _: () = assert!(
    AtomicCell::<Option<Box<Worker>>>::is_lock_free(),
    "a worker changes hands twice a turn"
);

#[derive(Default)]
struct Inbox {
    /// Each with the time when it was posted.
    events: Vec<(Nanos, Event)>,
    parked: bool,
}

impl Seat {
    pub(crate) fn new(index: usize) -> Self {
        Self {
            index,
            tally: Tally::default(),
            worker: AtomicCell::new(None),
            inbox: Mutex::new(Inbox::default()),
            mail: AtomicBool::new(false),
            wake: Condvar::new(),
            room: Condvar::new(),
            call_began: AtomicU64::new(0),
            call_slice: AtomicU64::new(0),
            stuck: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            parked: AtomicBool::new(false),
        }
    }

    /// Seats `worker` and starts its first driver.
    pub(crate) fn start(self: &Arc<Self>, worker: Box<Worker>) -> std::io::Result<()> {
        self.worker.store(Some(worker));
        self.spawn_driver(|| {})
    }

    /// Starts a thread that drives the worker if it finds it in the seat, and does
    /// `otherwise` if not.
    fn spawn_driver(
        self: &Arc<Self>,
        otherwise: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<()> {
        let seat = self.clone();
        std::thread::Builder::new()
            .name(format!("worker-{}", self.index))
            .spawn(move || match seat.take() {
                Some(worker) => drive(&seat, worker),
                None => otherwise(),
            })
            .map(drop)
    }

    /// Posts an event from another worker or a callback. Never waits.
    pub(crate) fn post(&self, event: Event) {
        let now = clock::now();
        let mut inbox = self.inbox.lock();
        inbox.events.push((now, event));
        self.mail.store(true, Ordering::Release);
        if inbox.parked {
            inbox.parked = false;
            self.wake.notify_one();
        }
    }

    /// Posts an event from outside; waits while the inbox is full.
    pub(crate) fn post_from_outside(&self, event: Event) {
        let mut inbox = self.inbox.lock();
        while inbox.events.len() >= INBOX_BOUND && !self.closing.load(Ordering::Acquire) {
            self.room.wait_for(&mut inbox, MAX_PARK);
        }
        drop(inbox);
        self.post(event);
    }

    /// Ends the drivers once they have done what they are at.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.wake.notify_all();
        self.room.notify_all();
    }

    /// Waits until the driver has put the worker back for good, and drops it. A
    /// guest that is still in a turn then keeps its thread, and nothing else.
    pub(crate) fn wait_closed(&self, until: Instant) {
        while Instant::now() < until {
            if self.parked.load(Ordering::Acquire) && self.worker.take().is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(self.worker.take());
    }

    /// Drops what was posted since the worker was closed.
    pub(crate) fn clear(&self) {
        let left = std::mem::take(&mut self.inbox.lock().events);
        drop(left);
    }

    /// Lets another thread drive if the current call has had its slice. Says
    /// whether it may.
    pub(crate) fn relieve(self: &Arc<Self>, now: Nanos) -> bool {
        let began = self.call_began.load(Ordering::Acquire);
        let slice = self.call_slice.load(Ordering::Acquire);
        if began == 0 || now.0 < began.saturating_add(slice) {
            return false;
        }
        if self.stuck.load(Ordering::Acquire) >= MAX_STUCK || self.closing.load(Ordering::Acquire) {
            return false;
        }
        // Once a call. It may end, and another begin, before the new thread takes the
        // worker: that one is relieved early then, which costs a thread and no more.
        let is_on = self
            .call_began
            .compare_exchange(began, 0, Ordering::AcqRel, Ordering::Relaxed);
        if is_on.is_err() {
            return false;
        }
        self.stuck.fetch_add(1, Ordering::AcqRel);
        let seat = self.clone();
        let spawned = self.spawn_driver(move || seat.leave());
        if let Err(error) = &spawned {
            tracing::error!(worker = self.index, %error, "no thread to relieve a slow turn");
            self.leave();
        }
        spawned.is_ok()
    }

    /// A thread that does not drive ends.
    fn leave(&self) {
        self.stuck.fetch_sub(1, Ordering::AcqRel);
    }

    /// Moves what has come into `into`; returns whether anything had.
    fn collect(&self, into: &mut Vec<(Nanos, Event)>) -> bool {
        if !self.mail.load(Ordering::Acquire) {
            return false;
        }
        let mut inbox = self.inbox.lock();
        self.mail.store(false, Ordering::Release);
        let was_full = inbox.events.len() >= INBOX_BOUND;
        std::mem::swap(&mut inbox.events, into);
        drop(inbox);
        if was_full {
            self.room.notify_all();
        }
        true
    }

    /// Sleeps until something comes or `until` has come.
    fn park(&self, until: Nanos) {
        let mut inbox = self.inbox.lock();
        if !inbox.events.is_empty() || self.closing.load(Ordering::Acquire) {
            return;
        }
        let span = until.0.saturating_sub(clock::now().0);
        let span = Duration::from_nanos(span).min(MAX_PARK);
        if span.is_zero() {
            return;
        }
        inbox.parked = true;
        self.wake.wait_for(&mut inbox, span);
        inbox.parked = false;
    }

    /// Takes the worker to drive it, if no other thread has it.
    fn take(&self) -> Option<Box<Worker>> {
        let worker = self.worker.take()?;
        // The call under which it lay here is over, or has no need of relief any more.
        self.call_began.store(0, Ordering::Release);
        Some(worker)
    }

    /// Runs a job with the seat open to relief. Gives the worker back unless another
    /// thread drives it by then.
    fn call(&self, worker: Box<Worker>, job: &mut Job) -> Option<Box<Worker>> {
        let began = job.now.0.max(1);
        let slice = job.slice.nanos().0;
        self.call_slice.store(slice, Ordering::Relaxed);
        self.worker.store(Some(worker));
        self.call_began.store(began, Ordering::Release);
        job.run();
        self.take()
    }
}

/// Drives a worker until another thread does or the seat is closed.
fn drive(seat: &Seat, mut worker: Box<Worker>) {
    let mut events = Vec::new();
    loop {
        if seat.closing.load(Ordering::Acquire) {
            seat.worker.store(Some(worker));
            seat.parked.store(true, Ordering::Release);
            return;
        }
        if seat.collect(&mut events) {
            worker.receive(&mut events);
        }
        match worker.step() {
            Step::Again => {}
            Step::Run(mut job) => match seat.call(worker, &mut job) {
                Some(back) => {
                    worker = back;
                    worker.finish(job);
                }
                None => {
                    seat.leave();
                    seat.post(Event::Finished(Box::new(job)));
                    return;
                }
            },
            Step::Idle(until) => seat.park(until),
        }
    }
}

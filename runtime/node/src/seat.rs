//! Workers' seats: who drives a worker, and how its queue changes hands.
//!
//! A worker's state is a box. The thread that drives it has the box, and leaves it
//! in the seat while it calls a guest. If the guest stays away longer than its
//! slice, the ticker starts another thread, which takes the box and drives on.
//! Whoever comes back from a guest and finds the box in the seat drives; who finds
//! it gone posts what came of the call to the inbox, like any other event, and
//! ends. So a turn is a plain call on the driver's stack, and a slow one costs its
//! neighbours a slice.
//!
//! A driver that sleeps leaves the box in the seat too. Who brings something then
//! need not wake it: a [`Visit`] drives the worker on the bringer's own thread, for
//! one call of a guest and what follows from it. That thread is the one which sends
//! the answer, too. It cannot be kept from its own work: a turn that takes longer than
//! [`VISIT`] is undone, and the driver begins it again. Readers of the network visit,
//! and so does the journal's thread with the word of what is durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_utils::atomic::AtomicCell;
use parking_lot::{Condvar, Mutex};
use phoenix_core::{Millis, Nanos};

use crate::clock;
use crate::counters::Tally;
use crate::worker::{Event, Job, Step, Worker};

/// Events that may wait for a worker before whoever brings them from outside has to wait.
const INBOX_BOUND: usize = 65_536;
/// Events from which on an inbox may be full by the time more are brought.
const CROWDED: usize = INBOX_BOUND / 2;
/// Threads of one worker that may be stuck in guests at once; beyond it a slow
/// turn holds its worker up to its deadline.
const MAX_STUCK: usize = 32;
/// How long an idle driver looks out for events before it sleeps. To wake takes a
/// thread longer than it takes another agent to answer.
const LOOKOUT: Nanos = Nanos(50_000);
/// It does so if it was idle for no longer than this the last time: an agent that
/// hears something now and then is not worth a core.
const SHORT_IDLE: Nanos = Nanos(500_000);
/// Longest turn on the thread of whoever brought its message.
const VISIT: Millis = Millis(2);
/// How often a visit takes in what came of what it took in: an answer that is let go
/// may bring the next request.
const VISIT_ROUNDS: usize = 3;
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
    /// There are [`CROWDED`] events or more in it.
    crowded: AtomicBool,
    wake: Condvar,
    room: Condvar,
    /// How long the driver was idle the last time, nanoseconds.
    idle: AtomicU64,
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
    driver: Driver,
}

/// What the thread does that drives the worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Driver {
    /// It has the worker, or has put it to a guest.
    #[default]
    Drives,
    /// It sleeps until then, and the worker lies in the seat.
    Sleeps(Nanos),
    /// It sleeps, and a visit has the worker.
    Visited,
    /// It is to wake and take the worker.
    Woken,
}

impl Seat {
    pub(crate) fn new(index: usize) -> Self {
        Self {
            index,
            tally: Tally::default(),
            worker: AtomicCell::new(None),
            inbox: Mutex::new(Inbox::default()),
            mail: AtomicBool::new(false),
            crowded: AtomicBool::new(false),
            wake: Condvar::new(),
            room: Condvar::new(),
            idle: AtomicU64::new(u64::MAX),
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
            .spawn(move || match seat.take_over() {
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
        if inbox.events.len() == CROWDED {
            self.crowded.store(true, Ordering::Release);
        }
        if matches!(inbox.driver, Driver::Sleeps(_)) {
            inbox.driver = Driver::Woken;
            self.wake.notify_one();
        }
    }

    /// Takes the worker to drive it in its driver's place, if that sleeps. What is
    /// posted until [`Visit::drive`] wakes nobody.
    pub(crate) fn visit(&self) -> Option<Visit<'_>> {
        let mut inbox = self.inbox.lock();
        let Driver::Sleeps(until) = inbox.driver else {
            return None;
        };
        let worker = self.worker.take()?;
        inbox.driver = Driver::Visited;
        Some(Visit {
            seat: self,
            worker: Some(worker),
            until,
        })
    }

    /// Whether [`post_from_outside`](Self::post_from_outside) may have to wait.
    pub(crate) fn is_crowded(&self) -> bool {
        self.crowded.load(Ordering::Acquire)
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
        self.crowded.store(false, Ordering::Release);
        std::mem::swap(&mut inbox.events, into);
        drop(inbox);
        if was_full {
            self.room.notify_all();
        }
        true
    }

    /// Waits until something comes or `until` has come. Keeps the worker if the seat
    /// was closed and another thread has seen to that.
    fn rest(&self, worker: Box<Worker>, until: Nanos) -> Option<Box<Worker>> {
        let began = clock::now();
        let is_restless = self.idle.load(Ordering::Relaxed) <= SHORT_IDLE.0;
        let back = if is_restless && self.look_out(until.min(Nanos(began.0 + LOOKOUT.0))) {
            Some(worker)
        } else {
            self.park(worker, until)
        };
        let idle = clock::now().0.saturating_sub(began.0);
        self.idle.store(idle, Ordering::Relaxed);
        back
    }

    /// Whether something comes until then.
    fn look_out(&self, until: Nanos) -> bool {
        while !self.mail.load(Ordering::Acquire) {
            if clock::now() >= until {
                return false;
            }
            std::hint::spin_loop();
        }
        true
    }

    /// Sleeps until something comes or `until` has come, with the worker in the seat.
    fn park(&self, worker: Box<Worker>, until: Nanos) -> Option<Box<Worker>> {
        let mut inbox = self.inbox.lock();
        if !inbox.events.is_empty() || self.closing.load(Ordering::Acquire) {
            return Some(worker);
        }
        self.worker.store(Some(worker));
        inbox.driver = Driver::Sleeps(until);
        loop {
            let span = match inbox.driver {
                Driver::Sleeps(until) => {
                    Duration::from_nanos(until.0.saturating_sub(clock::now().0))
                }
                Driver::Drives | Driver::Visited => MAX_PARK,
                Driver::Woken => Duration::ZERO,
            };
            if !span.is_zero() {
                self.wake.wait_for(&mut inbox, span.min(MAX_PARK));
            }
            if inbox.driver == Driver::Visited && !self.closing.load(Ordering::Acquire) {
                continue;
            }
            if let Some(worker) = self.take() {
                inbox.driver = Driver::Drives;
                return Some(worker);
            }
            if self.parked.load(Ordering::Acquire) {
                return None;
            }
            // Its visitor has it, and tells when it goes.
            inbox.driver = Driver::Visited;
        }
    }

    /// Puts the worker back after a visit. Its driver sleeps on if it may.
    fn end_visit(&self, worker: Box<Worker>, until: Option<Nanos>) {
        let mut inbox = self.inbox.lock();
        self.worker.store(Some(worker));
        let closing = self.closing.load(Ordering::Acquire);
        inbox.driver = match until {
            Some(until) if inbox.events.is_empty() && !closing => Driver::Sleeps(until),
            _ => {
                self.wake.notify_one();
                Driver::Woken
            }
        };
    }

    /// Takes the worker where a driver left it who is away in a guest.
    #[cold]
    fn take_over(&self) -> Option<Box<Worker>> {
        let inbox = self.inbox.lock();
        // The driver who sleeps by it is not to be replaced.
        (inbox.driver == Driver::Drives).then(|| self.take())?
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
        if self.call_began.load(Ordering::Acquire) == began {
            self.take()
        } else {
            self.take_over()
        }
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
            Step::Idle(until) => match seat.rest(worker, until) {
                Some(back) => worker = back,
                None => return,
            },
        }
    }
}

/// A worker in the hands of a thread that brings it something.
pub(crate) struct Visit<'s> {
    seat: &'s Seat,
    /// The worker, until it is driven.
    worker: Option<Box<Worker>>,
    /// Until when its driver sleeps.
    until: Nanos,
}

impl Visit<'_> {
    /// Drives the worker through what was posted to it, up to the end of one call of a
    /// guest, and leaves the rest to its driver.
    pub(crate) fn drive(mut self) {
        let Some(mut worker) = self.worker.take() else {
            return;
        };
        let mut events = Vec::new();
        let mut next = None;
        for _ in 0..VISIT_ROUNDS {
            if self.seat.collect(&mut events) {
                worker.receive(&mut events);
            }
            match worker.step() {
                Step::Again => next = None,
                Step::Idle(until) => {
                    next = Some(until);
                    if !self.seat.mail.load(Ordering::Acquire) {
                        break;
                    }
                }
                Step::Run(job) => {
                    worker.run_briefly(job, VISIT);
                    next = worker.pause();
                    break;
                }
            }
        }
        // Its driver has to know of anything that is to happen earlier.
        let sleeps = next.is_some_and(|next| next >= self.until);
        self.seat.end_visit(worker, sleeps.then_some(self.until));
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.take() {
            self.seat.end_visit(worker, None);
        }
    }
}

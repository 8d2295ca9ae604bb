//! Workers' seats: who drives a worker, and how its queue changes hands.
//!
//! A worker's state is a box that lies in its seat. The thread that drives it
//! takes the box out, does a step, and puts it back before it calls a guest. A
//! guest that stays away longer than its slice finds the seat taken: the ticker
//! has given it to another thread, and the late result is posted to the inbox
//! like any other event. So a turn is a plain call on the driver's stack, and a
//! slow one costs its neighbours a slice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use phoenix_core::{Millis, Nanos};

use crate::clock;
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
    state: Mutex<Held>,
    inbox: Mutex<Inbox>,
    /// Something is in the inbox.
    mail: AtomicBool,
    wake: Condvar,
    room: Condvar,
    /// When the current guest call began, nanoseconds; zero if there is none.
    call_began: AtomicU64,
    /// How long its slice is, nanoseconds.
    call_slice: AtomicU64,
    stuck: AtomicUsize,
    closing: AtomicBool,
    /// The last driver has gone.
    parked: AtomicBool,
}

struct Held {
    worker: Option<Box<Worker>>,
    /// Only the thread with this number drives.
    driver: u64,
}

#[derive(Default)]
struct Inbox {
    events: Vec<Event>,
    parked: bool,
}

impl Seat {
    pub(crate) fn new(index: usize) -> Self {
        Self {
            index,
            state: Mutex::new(Held {
                worker: None,
                driver: 0,
            }),
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
        let mut held = self.state.lock();
        held.worker = Some(worker);
        held.driver = 1;
        drop(held);
        self.spawn_driver(1)
    }

    fn spawn_driver(self: &Arc<Self>, driver: u64) -> std::io::Result<()> {
        let seat = self.clone();
        std::thread::Builder::new()
            .name(format!("worker-{}", self.index))
            .spawn(move || drive(&seat, driver))
            .map(drop)
    }

    /// Posts an event from another worker or a callback. Never waits.
    pub(crate) fn post(&self, event: Event) {
        let mut inbox = self.inbox.lock();
        inbox.events.push(event);
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
            let mut held = self.state.lock();
            let worker = if self.parked.load(Ordering::Acquire) {
                held.worker.take()
            } else {
                None
            };
            drop(held);
            if worker.is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.state.lock().worker.take();
    }

    /// Gives the queue to another thread if the current call has had its slice.
    /// Says whether it did.
    pub(crate) fn relieve(self: &Arc<Self>, now: Nanos) -> bool {
        let began = self.call_began.load(Ordering::Acquire);
        let slice = self.call_slice.load(Ordering::Acquire);
        if began == 0 || now.0 < began.saturating_add(slice) {
            return false;
        }
        if self.stuck.load(Ordering::Acquire) >= MAX_STUCK || self.closing.load(Ordering::Acquire) {
            return false;
        }
        let mut held = self.state.lock();
        // The call may have ended, and another begun, in between.
        if held.worker.is_none() || self.call_began.load(Ordering::Acquire) != began {
            return false;
        }
        held.driver += 1;
        let driver = held.driver;
        self.call_began.store(0, Ordering::Release);
        drop(held);
        self.stuck.fetch_add(1, Ordering::AcqRel);
        if let Err(error) = self.spawn_driver(driver) {
            // The stuck thread would find the seat taken by nobody: give it back.
            tracing::error!(worker = self.index, %error, "no thread to relieve a slow turn");
            self.state.lock().driver -= 1;
            self.stuck.fetch_sub(1, Ordering::AcqRel);
            return false;
        }
        true
    }

    /// Moves what has come into `into`; returns whether anything had.
    fn collect(&self, into: &mut Vec<Event>) -> bool {
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
    fn park(&self, until: Millis) {
        let mut inbox = self.inbox.lock();
        if !inbox.events.is_empty() || self.closing.load(Ordering::Acquire) {
            return;
        }
        let span = Duration::from_millis(clock::now_ms().until(until).0).min(MAX_PARK);
        if span.is_zero() {
            return;
        }
        inbox.parked = true;
        self.wake.wait_for(&mut inbox, span);
        inbox.parked = false;
    }

    fn take(&self, driver: u64) -> Option<Box<Worker>> {
        let mut held = self.state.lock();
        if held.driver == driver {
            held.worker.take()
        } else {
            None
        }
    }

    fn put(&self, worker: Box<Worker>) {
        self.state.lock().worker = Some(worker);
    }

    /// Runs a job with the seat open to relief.
    fn call(&self, worker: Box<Worker>, job: &mut Job) {
        let began = job.began().0.max(1);
        let slice = job.slice().0.saturating_mul(1_000_000);
        self.call_slice.store(slice, Ordering::Relaxed);
        self.put(worker);
        self.call_began.store(began, Ordering::Release);
        job.run();
        // A relieved thread must not end the call of whoever drives now.
        let _ = self
            .call_began
            .compare_exchange(began, 0, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// Drives a worker until the seat is given to another thread or closed.
fn drive(seat: &Seat, driver: u64) {
    let mut events = Vec::new();
    let Some(mut worker) = seat.take(driver) else {
        return;
    };
    loop {
        if seat.closing.load(Ordering::Acquire) {
            seat.put(worker);
            seat.parked.store(true, Ordering::Release);
            return;
        }
        if seat.collect(&mut events) {
            worker.receive(&mut events);
        }
        match worker.step() {
            Step::Again => {}
            Step::Run(mut job) => {
                seat.call(worker, &mut job);
                match seat.take(driver) {
                    Some(back) => {
                        worker = back;
                        worker.finish(job);
                    }
                    None => {
                        seat.stuck.fetch_sub(1, Ordering::AcqRel);
                        seat.post(Event::Finished(Box::new(job)));
                        return;
                    }
                }
            }
            Step::Idle(until) => seat.park(until),
        }
    }
}

//! The executor: handlers that wait, as futures in the agent's own memory.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as Poller, Poll, Wake, Waker};

use super::shared::Shared;
use crate::failure::Failure;
use crate::payload::{Format, Payload};

/// How a waiting handler ended.
pub type Finished = Result<Payload, Failure>;

/// A waiting handler's future.
pub type HandlerFuture = Pin<Box<dyn Future<Output = Finished>>>;

/// Handlers that can wait at once: the count of an answer record has 16 bits.
/// Messages past it are deferred.
pub(crate) const MAX_TASKS: usize = u16::MAX as usize;

/// A handler that has begun and not ended.
struct Task {
    future: HandlerFuture,
    /// The turn that began it.
    began: u64,
    /// Whether the sender waits for the answer.
    is_request: bool,
    /// What the answer is written in.
    format: Format,
    handler: &'static str,
    signal: Arc<Signal>,
}

/// A slab of tasks and the queue of those that can go on.
#[derive(Default)]
pub(crate) struct Tasks {
    slots: Vec<Option<Task>>,
    free: Vec<usize>,
    live: u16,
    ready: Arc<Ready>,
}

/// Tasks in the order they were woken. A mutex only because `Waker` may be sent:
/// an agent has one thread, so it is never waited for.
#[derive(Default)]
struct Ready(Mutex<Vec<usize>>);

/// Holders of a task's signal while it waits for one ask and nothing else: the task,
/// the waker it is being polled with, and the ask.
const HOLDERS: usize = 3;

impl Task {
    /// The ask whose end alone can wake the task, which was just polled and waits. If
    /// anybody else holds its waker there is none.
    fn awaits(&self, shared: &Shared, waker: &Waker) -> Option<u64> {
        if Arc::strong_count(&self.signal) != HOLDERS || self.signal.queued.load(Ordering::Relaxed)
        {
            return None;
        }
        shared.asks.borrow().awaited(waker)
    }
}

/// What wakes one task.
struct Signal {
    task: usize,
    /// Whether it stands in the queue.
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Ready {
    fn push(&self, task: usize) {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push(task);
    }

    fn take(&self) -> Vec<usize> {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *queue)
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.ready.push(self.task);
        }
    }
}

/// A polled task's end.
pub(crate) struct Ended {
    pub(crate) task: usize,
    pub(crate) request: Option<u64>,
    pub(crate) finished: Finished,
}

impl Tasks {
    pub(crate) fn live(&self) -> u16 {
        self.live
    }

    pub(crate) fn is_full(&self) -> bool {
        usize::from(self.live) >= MAX_TASKS
    }

    /// Takes a handler in and queues its first poll.
    pub(crate) fn begin(
        &mut self,
        future: HandlerFuture,
        began: u64,
        is_request: bool,
        format: Format,
        handler: &'static str,
    ) -> usize {
        let task = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        // A new signal for each task: a waker that an earlier tenant of the slot left
        // behind can then only cause a poll too many.
        let signal = Arc::new(Signal {
            task,
            queued: AtomicBool::new(true),
            ready: Arc::clone(&self.ready),
        });
        self.ready.push(task);
        if let Some(slot) = self.slots.get_mut(task) {
            *slot = Some(Task {
                future,
                began,
                is_request,
                format,
                handler,
                signal,
            });
            self.live += 1;
        }
        task
    }

    /// Polls every task that was woken, and those they wake, until none is left.
    pub(crate) fn run(&mut self, shared: &Shared, mut ended: impl FnMut(Ended)) {
        loop {
            let woken = self.ready.take();
            if woken.is_empty() {
                return;
            }
            for task in woken {
                self.poll(task, shared, &mut ended);
            }
        }
    }

    fn poll(&mut self, at: usize, shared: &Shared, ended: &mut impl FnMut(Ended)) {
        // Out of its slot while it runs, so that it is gone if it panics.
        let Some(mut task) = self.slots.get_mut(at).and_then(Option::take) else {
            return;
        };
        task.signal.queued.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&task.signal));
        match task.future.as_mut().poll(&mut Poller::from_waker(&waker)) {
            Poll::Pending => {
                if let Some(ask) = task.awaits(shared, &waker) {
                    shared.wait(ask, task.began);
                }
                if let Some(slot) = self.slots.get_mut(at) {
                    *slot = Some(task);
                }
            }
            Poll::Ready(finished) => self.end(at, task, finished, ended),
        }
    }

    fn end(&mut self, at: usize, task: Task, finished: Finished, ended: &mut impl FnMut(Ended)) {
        self.free.push(at);
        self.live -= 1;
        ended(Ended {
            task: at,
            request: task.is_request.then_some(task.began),
            finished: finished.map_err(|failure| failure.in_format(task.format)),
        });
    }

    /// Ends every task that was woken, unpolled, with the failure that `why` gives it.
    pub(crate) fn fail_woken(
        &mut self,
        why: impl Fn(&'static str) -> Failure,
        mut ended: impl FnMut(Ended),
    ) {
        for at in self.ready.take() {
            if let Some(task) = self.slots.get_mut(at).and_then(Option::take) {
                let failure = why(task.handler);
                self.end(at, task, Err(failure), &mut ended);
            }
        }
    }

    /// Ends every task with the failure that `why` gives it.
    pub(crate) fn fail_all(
        &mut self,
        why: impl Fn(&'static str) -> Failure,
        mut ended: impl FnMut(Ended),
    ) {
        for at in 0..self.slots.len() {
            if let Some(task) = self.slots.get_mut(at).and_then(Option::take) {
                let failure = why(task.handler);
                self.end(at, task, Err(failure), &mut ended);
            }
        }
    }
}

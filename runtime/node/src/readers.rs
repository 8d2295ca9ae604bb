//! Threads that read what sleeping agents are made of, so that no worker waits for a disk.
//!
//! What is to be read waits in one queue, first come first served. Its length is bounded
//! by those who fill it: a worker has only so many reads under way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

/// Threads that read at once: enough to keep a disk busy.
const THREADS: usize = 4;

/// Something to be read, and what is done about it.
type Task = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    tasks: VecDeque<Task>,
    threads: Vec<JoinHandle<()>>,
    /// Threads that wait for something to do.
    idle: usize,
    is_closed: bool,
}

#[derive(Default)]
struct Pool {
    queue: Mutex<Queue>,
    wanted: Condvar,
}

/// The threads, which are started as they are needed.
#[derive(Default)]
pub(crate) struct Readers {
    pool: Arc<Pool>,
}

impl Readers {
    /// Has `task` run on one of the threads. It must not be dropped by itself: a closed
    /// pool, or one that gets no thread, drops what it cannot run.
    pub(crate) fn submit(&self, task: Task) {
        let mut queue = self.pool.queue.lock();
        if queue.is_closed {
            return;
        }
        if queue.idle <= queue.tasks.len() && queue.threads.len() < THREADS {
            let pool = self.pool.clone();
            let name = format!("reader-{}", queue.threads.len());
            let thread = std::thread::Builder::new()
                .name(name)
                .spawn(move || pool.run());
            queue.threads.extend(thread.ok());
        }
        if queue.threads.is_empty() {
            // The system gives no thread: it takes longer, and is done all the same.
            drop(queue);
            task();
            return;
        }
        queue.tasks.push_back(task);
        drop(queue);
        self.pool.wanted.notify_one();
    }

    /// Ends the threads. What has not begun is not done.
    pub(crate) fn close(&self) {
        let (tasks, threads) = {
            let mut queue = self.pool.queue.lock();
            queue.is_closed = true;
            (
                std::mem::take(&mut queue.tasks),
                std::mem::take(&mut queue.threads),
            )
        };
        drop(tasks);
        self.pool.wanted.notify_all();
        for thread in threads {
            // One that panicked has nothing left to give back.
            let _ = thread.join();
        }
    }
}

impl Pool {
    fn run(&self) {
        let mut queue = self.queue.lock();
        loop {
            if let Some(task) = queue.tasks.pop_front() {
                drop(queue);
                task();
                queue = self.queue.lock();
                continue;
            }
            if queue.is_closed {
                return;
            }
            queue.idle += 1;
            self.wanted.wait(&mut queue);
            queue.idle -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn all_is_done_by_a_few_threads() {
        let readers = Readers::default();
        let (done, results) = mpsc::channel();
        for number in 0..200 {
            let done = done.clone();
            readers.submit(Box::new(move || done.send(number).unwrap()));
        }
        let mut all: Vec<u32> = (0..200).map(|_| results.recv().unwrap()).collect();
        all.sort_unstable();
        assert_eq!(all, (0..200).collect::<Vec<_>>());
        assert!(readers.pool.queue.lock().threads.len() <= THREADS);
        readers.close();
        readers.submit(Box::new(move || done.send(0).unwrap()));
        assert!(results.recv().is_err(), "nothing is done after the end");
    }

    #[test]
    fn closing_waits_for_what_has_begun() {
        let readers = Readers::default();
        let (begun, has_begun) = mpsc::channel();
        let (go, may_go) = mpsc::channel::<()>();
        let ended = Arc::new(Mutex::new(false));
        let end = ended.clone();
        readers.submit(Box::new(move || {
            begun.send(()).unwrap();
            may_go.recv().unwrap();
            *end.lock() = true;
        }));
        has_begun.recv().unwrap();
        go.send(()).unwrap();
        readers.close();
        assert!(*ended.lock());
    }
}

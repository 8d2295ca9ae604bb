//! Looking out for what comes next before a thread sleeps.
//!
//! In a conversation, where each waits for the other's answer, most of the time goes
//! by until threads have woken: it takes longer than to send, to receive and to have a
//! turn. So while messages follow each other closely a reader keeps its thread awake
//! for a moment, at which it polls the sockets. It does not yield the thread: a kernel
//! takes that for a wish to wait for as long as any other thread likes to run.

use std::time::{Duration, Instant};

/// A pause is short if it was no longer than so many times the time to look out. It
/// gets shorter where somebody looks out.
const SHORT: u32 = 10;

/// Bytes read at once from which on nobody waits for an answer: a stream of messages
/// keeps threads awake without help.
const MANY: usize = 4 << 10;

/// Whether a reader is in a conversation.
pub(super) struct Lookout {
    most: Duration,
    talks: bool,
}

impl Lookout {
    /// Looks out for `most` at a time; not at all if that is zero.
    pub(super) fn new(most: Duration) -> Self {
        Self { most, talks: false }
    }

    /// Waits for what is to come, which says how many bytes came.
    pub(super) async fn wait<T>(
        &mut self,
        coming: impl Future<Output = T>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> T {
        let began = Instant::now();
        let mut coming = std::pin::pin!(coming);
        let mut came = None;
        while came.is_none() && self.talks && began.elapsed() < self.most {
            came = tokio::select! {
                biased;
                came = &mut coming => Some(came),
                () = tokio::task::yield_now() => None,
            };
        }
        let came = match came {
            Some(came) => came,
            None => coming.await,
        };
        self.talks = began.elapsed() <= self.most * SHORT && bytes(&came) < MANY;
        came
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often the thread is asked for before something comes.
    async fn polls(lookout: &mut Lookout, bytes: usize) -> usize {
        let mut polls = 0;
        let (send, receive) = tokio::sync::oneshot::channel();
        let mut receive = std::pin::pin!(receive);
        let coming = std::future::poll_fn(|context| {
            polls += 1;
            receive.as_mut().poll(context)
        });
        let sent = async {
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
            send.send(bytes).unwrap();
        };
        let (came, ()) = tokio::join!(lookout.wait(coming, |_| bytes), sent);
        assert_eq!(came.unwrap(), bytes);
        polls
    }

    #[tokio::test]
    async fn it_is_awake_in_a_conversation_only() {
        let patient = Duration::from_secs(60);
        for (most, bytes, awake) in [
            (patient, 10, true),
            (patient, MANY, false),
            (Duration::ZERO, 10, false),
        ] {
            let mut lookout = Lookout::new(most);
            let first = polls(&mut lookout, bytes).await;
            let then = polls(&mut lookout, bytes).await;
            assert_eq!(
                then > first,
                awake,
                "{first} and {then} polls for {bytes} bytes"
            );
        }
    }

    #[tokio::test]
    async fn after_a_long_pause_it_sleeps_at_once() {
        let mut lookout = Lookout::new(Duration::from_nanos(1));
        for _ in 0..2 {
            let first = polls(&mut lookout, 10).await;
            let mut sleeper = Lookout::new(Duration::ZERO);
            assert_eq!(first, polls(&mut sleeper, 10).await);
        }
    }
}

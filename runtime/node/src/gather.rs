//! Answers of several places, put together.

use std::sync::Arc;

use parking_lot::Mutex;
use phoenix_core::control::{ControlError, Done, Response};

/// Waits for the answers of several places, and answers once.
pub(crate) struct Gather {
    inner: Mutex<Gathering>,
}

struct Gathering {
    left: usize,
    parts: Vec<Response>,
    /// The first failure, where one fails all.
    failed: Option<ControlError>,
    /// Whether places that fail are left out.
    lenient: bool,
    end: Option<(Merge, Done)>,
}

type Merge = Box<dyn FnOnce(Vec<Response>) -> Response + Send>;

impl Gather {
    /// For a listing: places that fail are left out.
    pub(crate) fn lenient(
        parts: usize,
        merge: impl FnOnce(Vec<Response>) -> Response + Send + 'static,
        done: Done,
    ) -> Arc<Self> {
        Self::new(parts, true, Box::new(merge), done)
    }

    /// For what changes something: if a place fails, that is the answer, once
    /// all others have ended too.
    pub(crate) fn strict(
        parts: usize,
        merge: impl FnOnce(Vec<Response>) -> Response + Send + 'static,
        done: Done,
    ) -> Arc<Self> {
        Self::new(parts, false, Box::new(merge), done)
    }

    fn new(parts: usize, lenient: bool, merge: Merge, done: Done) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Gathering {
                left: parts,
                parts: Vec::with_capacity(parts),
                failed: None,
                lenient,
                end: Some((merge, done)),
            }),
        })
    }

    /// Where one place puts its answer.
    pub(crate) fn part(self: &Arc<Self>) -> Done {
        let gather = self.clone();
        Box::new(move |part| {
            let mut inner = gather.inner.lock();
            inner.left = inner.left.saturating_sub(1);
            match part {
                Ok(part) => inner.parts.push(part),
                Err(_) if inner.lenient => {}
                Err(error) => {
                    inner.failed.get_or_insert(error);
                }
            }
            if inner.left > 0 {
                return;
            }
            let (parts, failed) = (std::mem::take(&mut inner.parts), inner.failed.take());
            let end = inner.end.take();
            drop(inner);
            if let Some((merge, done)) = end {
                done(match failed {
                    None => Ok(merge(parts)),
                    Some(error) => Err(error),
                });
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn gathered(
        gather: impl FnOnce(usize, fn(Vec<Response>) -> Response, Done) -> Arc<Gather>,
    ) -> Result<Response, ControlError> {
        let (told, heard) = mpsc::channel();
        let count = |parts: Vec<Response>| Response::Purged {
            letters: parts.len() as u64,
        };
        let done = Box::new(move |end| told.send(end).unwrap());
        let gather = gather(3, count, done);
        gather.part()(Ok(Response::Done));
        gather.part()(Err(ControlError::Unavailable("away".to_owned())));
        assert!(heard.try_recv().is_err(), "one is still out");
        gather.part()(Ok(Response::Done));
        heard.try_recv().unwrap()
    }

    #[test]
    fn a_listing_goes_without_those_that_fail_and_a_change_does_not() {
        let two = Ok(Response::Purged { letters: 2 });
        assert_eq!(gathered(Gather::lenient), two);
        assert_eq!(
            gathered(Gather::strict),
            Err(ControlError::Unavailable("away".to_owned()))
        );
    }
}

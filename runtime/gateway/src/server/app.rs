//! What every handler shares: the way to the node, and the limits.

use std::sync::Arc;
use std::time::Duration;

use phoenix_core::Control;
use phoenix_core::attributes::EventCodec;
use phoenix_core::control::{ControlError, Request, Response};
use tokio::sync::{mpsc, oneshot, watch};

use super::Limits;
use super::admission::Admission;
use super::fault::{Code, Fault};

/// Shared by all requests.
pub(super) struct App {
    pub(super) limits: Limits,
    pub(super) admission: Admission,
    control: Arc<dyn Control>,
    events: Arc<dyn EventCodec>,
    cut: Cut,
}

/// Becomes true when requests under way must end.
pub(super) type Cut = watch::Receiver<bool>;

impl App {
    pub(super) fn new(
        limits: Limits,
        control: Arc<dyn Control>,
        events: Arc<dyn EventCodec>,
        cut: Cut,
    ) -> Self {
        Self {
            admission: Admission::new(&limits),
            limits,
            control,
            events,
            cut,
        }
    }

    /// What reads and writes events.
    pub(super) fn events(&self) -> &dyn EventCodec {
        &*self.events
    }

    /// Hands `request` to the node and does not wait for its end. What the node
    /// refuses at once is an error.
    pub(super) fn hand_over(&self, request: Request) -> Result<(), Fault> {
        let (done, mut end) = oneshot::channel();
        self.control.submit(
            request,
            // Nobody listens later on.
            Box::new(move |result| drop(done.send(result))),
        );
        match end.try_recv() {
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }

    /// Hands requests to the node and tells `each` of their ends, by their places, as
    /// they come: until all have, `wait` is over, or the API closes.
    pub(super) async fn submit_many(
        &self,
        requests: impl Iterator<Item = Request>,
        wait: Duration,
        mut each: impl FnMut(usize, Result<Response, ControlError>),
    ) {
        let (done, mut ends) = mpsc::unbounded_channel();
        let mut left = 0_usize;
        for (at, request) in requests.enumerate() {
            left += 1;
            let done = done.clone();
            self.control.submit(
                request,
                // Whoever asked may have gone away.
                Box::new(move |result| drop(done.send((at, result)))),
            );
        }
        // A request that is dropped without an end is waited for no longer.
        drop(done);
        let all = async {
            while left > 0
                && let Some((at, end)) = ends.recv().await
            {
                left -= 1;
                each(at, end);
            }
        };
        let mut cut = self.cut.clone();
        tokio::select! {
            biased;
            // What has not come by then is not known.
            _ = tokio::time::timeout(wait, all) => {}
            _ = cut.wait_for(|cut| *cut) => {}
        }
    }

    /// Hands `request` to the node and waits for its end. After `wait` the
    /// answer is `unknown`: the node may still carry it out. So it is when the
    /// API closes before the node answers.
    pub(super) async fn submit(&self, request: Request, wait: Duration) -> Result<Response, Fault> {
        let (done, end) = oneshot::channel();
        self.control.submit(
            request,
            // Whoever asked may have gone away.
            Box::new(move |result| drop(done.send(result))),
        );
        let mut cut = self.cut.clone();
        let ended = tokio::select! {
            biased;
            ended = tokio::time::timeout(wait, end) => ended,
            _ = cut.wait_for(|cut| *cut) => {
                let detail = "the node is stopping, and has not answered yet";
                return Err(Fault::new(Code::Unknown, detail));
            }
        };
        match ended {
            Ok(Ok(result)) => result.map_err(Fault::from),
            Ok(Err(_)) => Err(Fault::new(
                Code::Unknown,
                "the node stopped before it answered",
            )),
            Err(_) => Err(Fault::new(
                Code::Unknown,
                format!("the node has not answered within {wait:?}"),
            )),
        }
    }

    /// `submit` with the time that everything but messages has.
    pub(super) async fn control(&self, request: Request) -> Result<Response, Fault> {
        self.submit(request, self.limits.control_timeout).await
    }
}

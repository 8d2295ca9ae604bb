//! What every handler shares: the way to the node, and the limits.

use std::sync::Arc;
use std::time::Duration;

use phoenix_core::Control;
use phoenix_core::control::{Request, Response};
use tokio::sync::oneshot;

use super::Limits;
use super::admission::Admission;
use super::fault::{Code, Fault};

/// Shared by all requests.
pub(super) struct App {
    pub(super) limits: Limits,
    pub(super) admission: Admission,
    control: Arc<dyn Control>,
}

impl App {
    pub(super) fn new(limits: Limits, control: Arc<dyn Control>) -> Self {
        Self {
            admission: Admission::new(&limits),
            limits,
            control,
        }
    }

    /// Hands `request` to the node and waits for its end. After `wait` the
    /// answer is `unknown`: the node may still carry it out.
    pub(super) async fn submit(&self, request: Request, wait: Duration) -> Result<Response, Fault> {
        let (done, end) = oneshot::channel();
        self.control.submit(
            request,
            // Whoever asked may have gone away.
            Box::new(move |result| drop(done.send(result))),
        );
        match tokio::time::timeout(wait, end).await {
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

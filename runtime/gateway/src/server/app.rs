//! What every handler shares: the way to the node, and the limits.

use std::sync::Arc;
use std::time::Duration;

use phoenix_core::Control;
use phoenix_core::control::{Request, Response};
use tokio::sync::{oneshot, watch};

use super::Limits;
use super::admission::Admission;
use super::fault::{Code, Fault};

/// Shared by all requests.
pub(super) struct App {
    pub(super) limits: Limits,
    pub(super) admission: Admission,
    control: Arc<dyn Control>,
    cut: Cut,
}

/// Becomes true when requests under way must end.
pub(super) type Cut = watch::Receiver<bool>;

impl App {
    pub(super) fn new(limits: Limits, control: Arc<dyn Control>, cut: Cut) -> Self {
        Self {
            admission: Admission::new(&limits),
            limits,
            control,
            cut,
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

//! Room for requests and their bodies.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Limits;
use super::app::App;
use super::fault::{Code, Fault};

/// Bytes a permit of [`Admission::buffered`] stands for. A semaphore counts to
/// at least 2^29, so this bounds what can be configured at half a terabyte.
const UNIT: usize = 1 << 10;

/// Counts what is under way.
pub(super) struct Admission {
    requests: Arc<Semaphore>,
    buffered: Arc<Semaphore>,
}

impl Admission {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(limits.max_requests)),
            buffered: Arc::new(Semaphore::new(limits.max_buffered / UNIT)),
        }
    }

    /// Room for a body of at most `bytes`, until the permit is dropped.
    pub(super) fn buffer(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Fault> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        Arc::clone(&self.buffered)
            .try_acquire_many_owned(units)
            .map_err(|_| {
                Fault::new(
                    Code::Overloaded,
                    "the bodies of other requests take all the room there is (api-max-buffered)",
                )
            })
    }
}

/// Admits as many requests as the limits allow and refuses the others at once.
pub(super) async fn admit(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, Fault> {
    let _permit = app.admission.requests.try_acquire().map_err(|_| {
        Fault::new(
            Code::Overloaded,
            format!(
                "{} requests are under way already (api-max-requests)",
                app.limits.max_requests
            ),
        )
    })?;
    Ok(next.run(request).await)
}

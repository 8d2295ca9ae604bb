//! Messages that came back.

use phoenix_wit::Payload as WitPayload;

use crate::payload::Payload;

/// A message the agent sent that came back: what a handler marked `#[bounced]` gets.
///
/// It was sent exactly once and not applied, as far as is known. Asks do not come
/// back: they end with [`AskError::Bounced`](crate::AskError::Bounced).
///
/// ```
/// use phoenix_sdk::prelude::*;
///
/// #[derive(Default)]
/// struct Feed { lost: u64 }
///
/// #[agent]
/// impl Feed {
///     fn item(&mut self, item: &str, ctx: &mut Context) {
///         ctx.send("site/main", Request::new("item", item));
///     }
///
///     #[bounced]
///     fn came_back(&mut self, bounced: Bounced, ctx: &mut Context) {
///         if bounced.reason() == "no-credit" {
///             // It found no room in time: once more, later.
///             ctx.timer("again", Duration::from_secs(60), FeedRequests::item("again"));
///         } else {
///             self.lost += 1;
///         }
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounced {
    /// Whom it was for.
    pub to: String,
    /// Which handler it was for.
    pub method: String,
    /// What it carried.
    pub payload: Payload,
    /// Why it came back: a stable word, and more after a colon.
    pub why: String,
    /// Whether it may have been applied all the same.
    pub unsure: bool,
}

impl Bounced {
    /// The stable word for why it came back: `no-credit` if its receiver had no room
    /// until it was given up, `gave-up` if nothing was heard of it, `expired` if its
    /// time was over before its turn, or why it is a dead letter, as `overflow` or
    /// `no-such-kind`.
    pub fn reason(&self) -> &str {
        self.why.split(':').next().unwrap_or_default()
    }

    pub(crate) fn new(
        to: &str,
        method: &str,
        payload: WitPayload<'_>,
        why: &str,
        unsure: bool,
    ) -> Self {
        Self {
            to: to.to_owned(),
            method: method.to_owned(),
            payload: payload.into(),
            why: why.to_owned(),
            unsure,
        }
    }
}

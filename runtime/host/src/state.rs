//! What belongs to one instance and not to its guest: the data of its Store.

use crate::limits::AgentLimits;
use crate::reading::Reading;
use crate::typed::TypedTurn;
use crate::wasi::WasiState;

/// The data of an instance's Store.
pub(crate) struct State {
    /// What the guest may grow to.
    pub(crate) limits: AgentLimits,
    /// What the guest sees of the world.
    pub(crate) wasi: WasiState,
    /// What is done with the memory while the accessor shows it.
    pub(crate) reading: Option<Box<Reading>>,
    /// The turn of a typed agent.
    pub(crate) typed: TypedTurn,
}

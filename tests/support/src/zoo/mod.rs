//! Components made for one test each: broken, odd, or too much.
//!
//! [`refused`] is what a node must refuse at deployment, each with the words
//! that the refusal must contain. [`odd`] holds components that are in order
//! and yet hard to live with. All are built on one framed agent, [`framed`],
//! which counts its turns and answers each with the count.

mod bombs;
mod framed;
pub mod odd;
mod refused;

pub use bombs::{SLOW, oversized, slow_to_compile, too_many};
pub use framed::{Framed, framed};
pub use refused::{Refused, refused, with_core_export, with_export};

//! What an agent says of itself.

use phoenix_core::control::HandlerInfo;
use phoenix_wit::{AnswerReader, FrameWriter, Input, Outcome, Turn};
use serde::Deserialize;

/// Handlers one agent may have.
const MAX_HANDLERS: usize = 4_096;

/// What an agent says of itself, read and checked.
#[derive(Debug, Default)]
pub(crate) struct Description {
    pub(crate) handlers: Vec<HandlerInfo>,
    /// Where the shadow stack lies, if the agent knows: lowest address, and one past the highest.
    pub(crate) stack: Option<(u32, u32)>,
}

/// The `describe` turn's outcome, as the WIT file describes it.
#[derive(Deserialize)]
struct Said {
    handlers: Vec<SaidHandler>,
    #[serde(default)]
    stack_low: Option<u32>,
    #[serde(default)]
    stack_high: Option<u32>,
}

#[derive(Deserialize)]
struct SaidHandler {
    name: String,
    #[serde(default)]
    interleave: bool,
}

/// An input frame that asks for a description.
pub(crate) fn frame() -> Vec<u8> {
    let mut writer = FrameWriter::new(Vec::new(), "describe/describe", 0);
    writer.push(&Turn {
        number: 0,
        now: 0,
        input: Input::Describe,
    });
    writer.finish()
}

/// Reads the answer to [`frame`].
pub(crate) fn read(answer: &[u8]) -> Result<Description, String> {
    let broken = |error: phoenix_wit::FrameError| format!("its answer frame: {error}");
    let mut reader = AnswerReader::new(answer, 1).map_err(broken)?;
    let answer = reader.next_answer().map_err(broken)?;
    let payload = match answer.map(|answer| answer.outcome) {
        Some(Outcome::Ok(payload)) => payload,
        Some(Outcome::Failed(failure)) => {
            return Err(format!(
                "it answers with the failure `{}`: {}",
                failure.code, failure.message
            ));
        }
        _ => return Err("it does not answer at once".to_owned()),
    };
    let said: Said = rmp_serde::from_slice(payload.bytes)
        .map_err(|error| format!("its description is no such map: {error}"))?;
    if said.handlers.len() > MAX_HANDLERS {
        return Err(format!(
            "it has {} handlers, and {MAX_HANDLERS} are the most",
            said.handlers.len()
        ));
    }
    Ok(Description {
        handlers: said
            .handlers
            .into_iter()
            .map(|handler| HandlerInfo {
                name: handler.name.into(),
                interleave: handler.interleave,
            })
            .collect(),
        stack: said.stack_low.zip(said.stack_high),
    })
}

//! What verbs that operate a node share: the way to it, and the way to answer.

use std::process::ExitCode;

use phoenix_gateway::client::Client;

use crate::args::Global;
use crate::config::{self, Surroundings};
use crate::error::{CliError, Exit};
use crate::output::Output;

/// One run of a verb that operates a node.
pub(crate) struct Session {
    /// Whether to answer in JSON.
    pub(crate) json: bool,
    /// Where to answer.
    pub(crate) out: Output,
    /// The node.
    pub(crate) client: Client,
}

/// Runs a verb that operates a node.
pub(crate) fn with_node(
    global: &Global,
    verb: impl AsyncFnOnce(&mut Session) -> Result<Exit, CliError>,
) -> Result<ExitCode, CliError> {
    let surroundings = Surroundings::of_process(global.config.as_deref())?;
    let dir = config::data_dir(&surroundings, global.data()?)?;
    let mut session = Session {
        json: global.json,
        out: Output::new(),
        client: Client::of_data_dir(&dir, global.node_api)?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::failed(format!("cannot start: {error}")))?;
    let exit = runtime.block_on(verb(&mut session));
    // What was written before a failure is still an answer.
    let flushed = session.out.flush();
    let exit = exit?;
    flushed?;
    Ok(exit.into())
}

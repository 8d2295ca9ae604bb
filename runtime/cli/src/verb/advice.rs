//! Better advice for what went wrong, from what the node knows.
//!
//! Asking it takes another request, so it is done for failures only, and a
//! failure of that request changes nothing.

use phoenix_core::control::{LetterFilter, LetterId};
use phoenix_core::{AgentId, NodeId};
use phoenix_gateway::api::Kind;
use phoenix_gateway::client::ClientError;
use phoenix_gateway::suggest::did_you_mean;

use crate::error::CliError;
use crate::session::Session;

/// For a request about an agent.
pub(super) async fn about_agent(
    error: ClientError,
    agent: &AgentId,
    node: &mut Session,
) -> CliError {
    if !is_about_what_is_missing(&error) {
        return error.into();
    }
    let Ok(list) = node.client.kinds().await else {
        return error.into();
    };
    CliError::from(error).help_if(kind_advice(agent, &list.kinds))
}

/// For a call of a handler.
pub(super) async fn about_method(
    error: ClientError,
    agent: &AgentId,
    method: &str,
    node: &mut Session,
) -> CliError {
    let unknown_method = matches!(&error, ClientError::Refused(problem)
        if problem.failure.as_ref().is_some_and(|failure| failure.code == "unknown-method"));
    if !unknown_method {
        return about_agent(error, agent, node).await;
    }
    let Ok(list) = node.client.kinds().await else {
        return error.into();
    };
    let kind = list.kinds.iter().find(|kind| kind.kind == agent.kind());
    let help = kind.and_then(|kind| {
        let names = || kind.handlers.iter().map(|handler| handler.name.as_str());
        let all: Vec<_> = names().collect();
        did_you_mean(method, names()).or_else(|| {
            (!all.is_empty())
                .then(|| format!("the handlers of `{}` are {}", agent.kind(), all.join(", ")))
        })
    });
    CliError::from(error).help_if(help)
}

/// For a migration.
pub(super) async fn about_move(
    error: ClientError,
    agent: &AgentId,
    to: NodeId,
    node: &mut Session,
) -> CliError {
    if !is_about_what_is_missing(&error) {
        return error.into();
    }
    match other_nodes(to, node).await {
        None => about_agent(error, agent, node).await,
        Some(names) => CliError::from(error).help(names),
    }
}

/// For a request about a node.
pub(super) async fn about_node(error: ClientError, about: NodeId, node: &mut Session) -> CliError {
    if !is_about_what_is_missing(&error) {
        return error.into();
    }
    let names = other_nodes(about, node).await;
    CliError::from(error).help_if(names)
}

/// Which nodes there are, if that one is none of them.
async fn other_nodes(missing: NodeId, node: &mut Session) -> Option<String> {
    let list = node.client.nodes().await.ok()?;
    let missing = missing.to_string();
    if list.nodes.iter().any(|node| node.node == missing) {
        return None;
    }
    let names: Vec<_> = list.nodes.into_iter().map(|node| node.node).collect();
    Some(format!("the nodes are {}", names.join(", ")))
}

/// For a request about a dead letter.
pub(super) async fn about_letter(
    error: ClientError,
    letter: LetterId,
    node: &mut Session,
) -> CliError {
    if !is_about_what_is_missing(&error) {
        return error.into();
    }
    let there = LetterFilter {
        node: Some(letter.node),
        ..LetterFilter::default()
    };
    let help = match node.client.dead_letters(&there, Some(1)).await {
        Ok(list) => match list.dead_letters.first() {
            Some(oldest) => format!(
                "the oldest letter of {} is {}: `phoenix deadletters` lists all",
                letter.node, oldest.id
            ),
            None => format!("{} keeps no dead letters", letter.node),
        },
        Err(_) => "`phoenix deadletters` lists those that are kept".to_owned(),
    };
    CliError::from(error).help(help)
}

fn is_about_what_is_missing(error: &ClientError) -> bool {
    matches!(error.code(), Some("not-found" | "bounced" | "invalid"))
}

/// Whether the agent's kind may have been misspelt.
fn kind_advice(agent: &AgentId, kinds: &[Kind]) -> Option<String> {
    if kinds.iter().any(|kind| kind.kind == agent.kind()) {
        return None;
    }
    let names = || kinds.iter().map(|kind| kind.kind.as_str());
    let all: Vec<_> = names().collect();
    did_you_mean(agent.kind(), names()).or_else(|| {
        Some(if all.is_empty() {
            "no kind is deployed: `phoenix deploy FILE --kind NAME` makes one".to_owned()
        } else {
            format!("the kinds are {}", all.join(", "))
        })
    })
}

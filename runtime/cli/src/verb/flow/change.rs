//! `phoenix flow set` and `clear`

use phoenix_core::flow::FlowTarget;
use phoenix_gateway::api::{Policy, PolicyValue};
use phoenix_gateway::flow;

use super::SetArgs;
use crate::error::{CliError, Exit};
use crate::session::Session;
use crate::verb::deploy::policy_file;

pub(super) async fn set(args: &SetArgs, node: &mut Session) -> Result<Exit, CliError> {
    let policy = policy(args)?;
    let attached = node.client.set_flow(&args.target, &policy).await?;
    if node.json {
        node.out.json(&attached)?;
    } else {
        node.out
            .line(&format!("{} has a gate now", attached.target))?;
    }
    Ok(Exit::Ok)
}

/// The file's fields, then those of the command line.
fn policy(args: &SetArgs) -> Result<Policy, CliError> {
    let mut policy = match &args.policy {
        Some(path) => policy_file(path)?,
        None => Policy::default(),
    };
    for (field, value) in &args.fields {
        let read = PolicyValue::from(value.as_str());
        flow::check(field, &read).map_err(|error| {
            CliError::usage(format!("{field}={value}: {error}")).help(error.suggestion())
        })?;
        policy.0.insert(field.clone(), read);
    }
    if policy.0.is_empty() {
        return Err(CliError::usage("this limits nothing").help(
            "give fields, as in rate.amount=100; `phoenix flow set --help` lists them, and \
             `phoenix flow clear` takes a policy away",
        ));
    }
    // What a limiter lacks shows only now.
    flow::policy(&policy).map_err(|error| CliError::usage(&error).help(error.suggestion()))?;
    Ok(policy)
}

pub(super) async fn clear(target: &FlowTarget, node: &mut Session) -> Result<Exit, CliError> {
    node.client.clear_flow(target).await?;
    if node.json {
        node.out
            .json(&serde_json::json!({ "cleared": target.to_string() }))?;
    } else {
        node.out
            .line(&format!("nothing is attached to {target} any more"))?;
    }
    Ok(Exit::Ok)
}

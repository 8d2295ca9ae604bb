//! What must hold after every event, and at the end.

use phoenix_core::{MigrationId, NodeId};

use crate::world::World;

/// Checks everything that must always hold.
pub(crate) fn check(world: &World) -> Result<(), String> {
    if !world.plan.across_lives {
        one_epoch_one_runner(world)?;
    }
    if world.plan.lies {
        // Until it hears that it is dead, who was declared so runs on.
        return Ok(());
    }
    at_most_one_runs(world)?;
    if !world.plan.across_lives {
        nothing_committed_is_undone(world)?;
    }
    if !world.plan.across_lives {
        a_copy_survives(world)?;
    }
    Ok(())
}

/// Never do two copies run at once, whatever their epochs.
fn at_most_one_runs(world: &World) -> Result<(), String> {
    let running: Vec<NodeId> = world
        .nodes
        .iter()
        .filter(|(_, node)| node.running().is_some())
        .map(|(id, _)| *id)
        .collect();
    if running.len() > 1 {
        return Err(format!("the agent runs on {running:?} at once"));
    }
    Ok(())
}

/// No epoch is ever run under by two nodes, or by two lives of one node.
fn one_epoch_one_runner(world: &World) -> Result<(), String> {
    for (epoch, runners) in &world.epochs {
        if runners.len() > 1 {
            return Err(format!("{epoch:?} was run under by {runners:?}"));
        }
    }
    Ok(())
}

/// A copy that runs has every turn that was ever committed in its life, and
/// belongs to the newest life.
fn nothing_committed_is_undone(world: &World) -> Result<(), String> {
    for (id, node) in &world.nodes {
        if let Some(copy) = node.running()
            && copy.memory != world.latest
        {
            return Err(format!(
                "{id} runs {:?} where {:?} is the latest",
                copy.memory, world.latest
            ));
        }
    }
    Ok(())
}

/// Unless its owner crashed, somebody has all of the agent.
fn a_copy_survives(world: &World) -> Result<(), String> {
    if world.plan.durable {
        return the_owner_has_it(world);
    }
    let somewhere = world
        .nodes
        .values()
        .any(|node| node.memories().any(|memory| memory == world.latest));
    if world.owner_crashed || somewhere || world.lives == 0 {
        return Ok(());
    }
    Err("no node has the agent any more, and its owner has not crashed".to_owned())
}

/// Whoever owns a durable agent has all of it in its journal, whether it lives or not:
/// by what is synced of the directory, so also if all nodes crash now.
fn the_owner_has_it(world: &World) -> Result<(), String> {
    if world.lives == 0 || world.is_lost {
        return Ok(());
    }
    for state in [&world.directory.synced_state, &world.directory.state] {
        let owner = state.ownership(&world.agent).owner;
        let kept = world.nodes[&owner].journal;
        if kept.map(|kept| kept.memory) != Some(world.latest) {
            return Err(format!(
                "{owner} owns the agent, and its journal has {kept:?} where {:?} is the latest",
                world.latest
            ));
        }
    }
    Ok(())
}

/// The source lets go only of what the target has activated, or of what the
/// directory says is not its own.
pub(crate) fn released_only_after_activation(
    world: &World,
    migration: MigrationId,
    source: NodeId,
) -> Result<(), String> {
    let state = &world.directory.state;
    let elsewhere = state.ownership(&world.agent).owner != source;
    if world.activations.contains(&migration) || elsewhere {
        return Ok(());
    }
    Err(format!(
        "{source} let go of its copy before {migration} was activated"
    ))
}

/// Once the faults are over everything ends.
pub(crate) fn everything_ends(world: &World) -> Result<(), String> {
    for (id, node) in &world.nodes {
        if !node.table.is_empty() {
            return Err(format!("{id} has migrations that do not end"));
        }
        if let Some(copy) = &node.copy
            && copy.frozen.is_some()
        {
            return Err(format!("{id} has a copy that stays frozen"));
        }
        if !node.staged.is_empty() {
            return Err(format!("{id} has a copy that stays staged"));
        }
        if node.is_stored() {
            return Err(format!("{id} has a copy in its journal that stays there"));
        }
    }
    Ok(())
}

/// In the end the agent runs, where the directory says and nowhere else.
pub(crate) fn the_owner_runs_it(world: &World) -> Result<(), String> {
    at_most_one_runs(world)?;
    let owner = world.directory.state.ownership(&world.agent);
    let runner = world.runner();
    if runner != Some(owner.owner) {
        return Err(format!(
            "{owner:?} in the directory, and {runner:?} runs it"
        ));
    }
    let copy = world.nodes[&owner.owner].running();
    if copy.map(|copy| copy.epoch.generation) != Some(owner.epoch.generation) {
        return Err(format!(
            "{owner:?} in the directory, and it runs as {copy:?}"
        ));
    }
    Ok(())
}

/// In the end a message reaches the agent, whoever sends it.
pub(crate) fn everybody_is_heard(world: &World) -> Result<(), String> {
    if world.heard_from.len() == world.nodes.len() {
        return Ok(());
    }
    let routes: Vec<_> = world.nodes.iter().map(|(id, n)| (id, n.route)).collect();
    Err(format!(
        "{:?} alone are heard, and nodes point to {routes:?}",
        world.heard_from
    ))
}

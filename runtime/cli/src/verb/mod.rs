//! The verbs, one file each.

mod advice;
mod broadcast;
mod build;
mod call;
mod completions;
mod deadletters;
mod deploy;
mod flow;
mod hibernate;
mod inspect;
mod kinds;
mod logs;
mod migrate;
mod new;
pub(crate) mod node;
mod nodes;
mod pipeline;
mod ps;
mod publish;
mod reset;
mod saga;
mod send;
mod spawn;
mod stop;
mod tail;
mod token;
mod topics;

use std::process::ExitCode;

use clap::Subcommand;

use crate::args::Cli;
use crate::demo;
use crate::error::CliError;
use crate::session::with_node;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a node
    Node(Box<node::NodeArgs>),
    /// Print a token with which another node can join the cluster
    Token(token::TokenArgs),
    /// Make a component a kind, on every node
    Deploy(deploy::DeployArgs),
    /// List the kinds
    Kinds(kinds::KindsArgs),
    /// Create an agent
    Spawn(spawn::SpawnArgs),
    /// Send an agent a message and say what became of it
    Send(send::SendArgs),
    /// Ask an agent and print its answer
    Call(call::CallArgs),
    /// Ask many agents one thing, or tell them
    Broadcast(broadcast::BroadcastArgs),
    /// Publish an event on a topic
    Publish(publish::PublishArgs),
    /// Print the events of topics as they come
    Tail(tail::TailArgs),
    /// List topics, say what is kept of them, and subscribe agents
    Topics(topics::TopicsArgs),
    /// List agents
    Ps(ps::PsArgs),
    /// Show all about one agent
    Inspect(inspect::InspectArgs),
    /// Move an agent to another node while it runs
    Migrate(migrate::MigrateArgs),
    /// Put an agent to sleep
    Hibernate(hibernate::HibernateArgs),
    /// Begin an agent's life anew, from nothing
    Reset(reset::ResetArgs),
    /// End an agent, or the node
    Stop(stop::StopArgs),
    /// Show what agents and nodes log
    Logs(logs::LogsArgs),
    /// List the nodes, or declare one dead
    Nodes(nodes::NodesArgs),
    /// See what became of messages that were not applied, and send them again
    #[command(name = "deadletters", alias = "dead-letters")]
    DeadLetters(deadletters::DeadLettersArgs),
    /// Limit what agents, kinds, topics and nodes are sent
    Flow(flow::FlowArgs),
    /// Let messages go through stages, one after the other
    Pipeline(pipeline::PipelineArgs),
    /// Do steps, and undo them in reverse order if one fails
    Saga(saga::SagaArgs),
    /// Create an agent's crate
    New(new::NewArgs),
    /// Build an agent's crate into a component
    Build(build::BuildArgs),
    /// Count an access log with agents that move while they count
    Demo(demo::DemoArgs),
    /// Print completions for a shell
    Completions(completions::CompletionsArgs),
    /// Compile a component from standard input for the node that started this process
    #[command(name = node::COMPILE_VERB, hide = true)]
    CompileWorker,
}

/// Does what the command line says.
pub(crate) fn run(cli: Cli) -> Result<ExitCode, CliError> {
    let global = &cli.global;
    match cli.verb {
        Verb::Node(args) => node::run(&args, global),
        Verb::Token(args) => with_node(global, async |node| token::run(&args, node).await),
        Verb::Deploy(args) => {
            let prepared = deploy::prepare(&args)?;
            with_node(global, async |node| deploy::run(prepared, node).await)
        }
        Verb::Kinds(args) if args.samples => kinds::samples(global.json),
        Verb::Kinds(_) => with_node(global, async |node| kinds::run(node).await),
        Verb::Spawn(args) => with_node(global, async |node| spawn::run(&args, node).await),
        Verb::Send(args) => with_node(global, async |node| send::run(&args, node).await),
        Verb::Broadcast(args) => with_node(global, async |node| broadcast::run(&args, node).await),
        Verb::Call(args) => with_node(global, async |node| call::run(&args, node).await),
        Verb::Publish(args) => with_node(global, async |node| publish::run(&args, node).await),
        Verb::Tail(args) => with_node(global, async |node| tail::run(&args, node).await),
        Verb::Topics(args) => with_node(global, async |node| topics::run(&args, node).await),
        Verb::Ps(args) => with_node(global, async |node| ps::run(&args, node).await),
        Verb::Inspect(args) => with_node(global, async |node| inspect::run(&args, node).await),
        Verb::Migrate(args) => with_node(global, async |node| migrate::run(&args, node).await),
        Verb::Hibernate(args) => with_node(global, async |node| hibernate::run(&args, node).await),
        Verb::Reset(args) => with_node(global, async |node| reset::run(&args, node).await),
        Verb::Stop(args) => with_node(global, async |node| stop::run(&args, node).await),
        Verb::Logs(args) => with_node(global, async |node| logs::run(&args, node).await),
        Verb::Nodes(args) => with_node(global, async |node| nodes::run(&args, node).await),
        Verb::DeadLetters(args) => {
            with_node(global, async |node| deadletters::run(&args, node).await)
        }
        Verb::Flow(args) => with_node(global, async |node| flow::run(&args, node).await),
        Verb::Pipeline(args) => with_node(global, async |node| pipeline::run(&args, node).await),
        Verb::Saga(args) => with_node(global, async |node| saga::run(&args, node).await),
        Verb::New(args) => new::run(&args, global.json),
        Verb::Build(args) => build::run(&args, global.json),
        Verb::Demo(args) => Ok(demo::run(args)?),
        Verb::Completions(args) => completions::run(&args),
        Verb::CompileWorker => Ok(phoenix_node::compile_worker()),
    }
}

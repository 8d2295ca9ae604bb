//! `phoenix topics`

use std::time::Duration;

use phoenix_core::topics::TopicPattern;
use phoenix_core::topics::wire::MAX_LISTED_SUBSCRIPTIONS;
use phoenix_gateway::api::{
    Form, ListedSubscription, Listing, LogBounds, Overflow, Reliability, Replay, Strategy,
    Subscribe,
};
use phoenix_gateway::units::{parse_size, show_size};

use super::send::millis;
use crate::args;
use crate::error::{CliError, Exit};
use crate::output::{self, Table};
use crate::session::Session;

/// Arguments of `phoenix topics`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(
    after_help = "Without a verb it lists the spaces: the first tokens of topics, each of \
                        which has one owner, the agent topic/SPACE."
)]
pub(crate) struct TopicsArgs {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the spaces
    List,
    /// Show the topics of a space: what is kept, and what became of events
    Show(ShowArgs),
    /// Show who subscribes to topics of a space, and how far each is behind
    Subscriptions(SubscriptionsArgs),
    /// Say what is kept of topics, in place of what was said of the same pattern
    Set(SetArgs),
    /// Subscribe an agent, or agents whose keys a template takes from the event
    Subscribe(Box<SubscribeArgs>),
    /// End a subscription that was made here
    Unsubscribe(UnsubscribeArgs),
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// The space, as in orders
    space: String,
}

#[derive(Debug, clap::Args)]
struct SubscriptionsArgs {
    /// The space, as in orders [default: patterns that begin with a wildcard]
    space: Option<String>,
    /// Where to go on, as was said of the page before
    #[arg(long, value_name = "PLACE")]
    after: Option<u64>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_LISTED_SUBSCRIPTIONS)))]
    limit: u32,
    /// All of them, however many
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

#[derive(Debug, clap::Args)]
struct SetArgs {
    /// Which topics of one space, as in orders.>
    #[arg(value_parser = args::pattern)]
    pattern: TopicPattern,
    /// Keep a log, so that events can be read and replayed
    #[arg(long)]
    log: bool,
    /// Most events of a log; implies --log
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Most bytes of a log, as in 4MiB; implies --log
    #[arg(long, value_name = "SIZE", value_parser = size)]
    bytes: Option<u64>,
    /// How long a log keeps an event; implies --log
    #[arg(long, value_name = "SPAN", value_parser = args::span)]
    age: Option<Duration>,
    /// Keep each topic's last event for those that subscribe later
    #[arg(long)]
    retain: bool,
}

#[derive(Debug, clap::Args)]
struct SubscribeArgs {
    /// Which topics, as in logs.line or orders.>
    #[arg(value_parser = args::pattern)]
    pattern: TopicPattern,
    /// Who gets the events: an agent, or a template such as visitor/{data.ip}
    #[arg(long, value_name = "AGENT")]
    to: String,
    /// The handler that gets them [default: on_event]
    #[arg(long)]
    method: Option<String>,
    /// The subscription's name [default: the pattern and the agent]
    #[arg(long)]
    name: Option<String>,
    /// An expression over attributes and data: only events of which it is true
    #[arg(long, value_name = "CEL")]
    filter: Option<String>,
    /// The queue group: of its members one gets each event
    #[arg(long)]
    group: Option<String>,
    /// How the member is chosen
    #[arg(long, requires = "group")]
    strategy: Option<Strategy>,
    /// This member's part in a weighted group
    #[arg(long, requires = "group")]
    weight: Option<u32>,
    /// How hard to try: at-most-once, at-least-once or exactly-once
    #[arg(long, value_name = "GUARANTEE")]
    delivery: Option<Reliability>,
    /// What becomes of events beyond --in-flight: block, drop-oldest, drop-newest or reject
    #[arg(long, value_name = "POLICY")]
    overflow: Option<Overflow>,
    /// Most messages without a verdict
    #[arg(long, value_name = "N")]
    in_flight: Option<u32>,
    /// Where in the log to begin: new, all, `last N`, `from OFFSET` or `since MILLIS`
    #[arg(long, value_name = "WHERE")]
    replay: Option<Replay>,
    /// What the handler gets: event, or data as it was published
    #[arg(long)]
    form: Option<Form>,
}

#[derive(Debug, clap::Args)]
struct UnsubscribeArgs {
    /// Its pattern
    #[arg(value_parser = args::pattern)]
    pattern: TopicPattern,
    /// Who gets the events, as it was said
    #[arg(long, value_name = "AGENT", required_unless_present = "name")]
    to: Option<String>,
    /// Its name, if it was given one
    #[arg(long, conflicts_with = "to")]
    name: Option<String>,
}

fn size(text: &str) -> Result<u64, String> {
    use phoenix_gateway::units::SIZE_FORM;
    parse_size(text).ok_or_else(|| format!("it must be {SIZE_FORM}"))
}

pub(crate) async fn run(args: &TopicsArgs, node: &mut Session) -> Result<Exit, CliError> {
    match &args.verb {
        None | Some(Verb::List) => list(node).await,
        Some(Verb::Show(show)) => space(&show.space, node).await,
        Some(Verb::Subscriptions(args)) => subscriptions(args, node).await,
        Some(Verb::Set(set)) => configure(set, node).await,
        Some(Verb::Subscribe(subscribe)) => begin(subscribe, node).await,
        Some(Verb::Unsubscribe(unsubscribe)) => end(unsubscribe, node).await,
    }
}

async fn list(node: &mut Session) -> Result<Exit, CliError> {
    let mut all = node.client.topics(None).await?;
    while all.more
        && let Some(last) = last_space(&all.spaces, &all.silent)
    {
        let next = node.client.topics(Some(&last)).await?;
        all.spaces.extend(next.spaces);
        all.silent.extend(next.silent);
        all.more = next.more;
    }
    for space in &all.silent {
        output::remark(&format!("the owner of {space} has not answered"));
    }
    if node.json {
        node.out.json(&all)?;
        return Ok(Exit::Ok);
    }
    let columns = [
        "SPACE",
        ">EVENTS",
        ">SUBSCRIPTIONS",
        ">BEHIND",
        ">TOPICS KEPT",
        ">BYTES",
    ];
    let mut table = Table::new(&columns);
    for space in &all.spaces {
        let bytes = space.topics.iter().map(|topic| topic.bytes).sum();
        let more = if space.more { "+" } else { "" };
        table.row([
            space.space.clone(),
            space.number.to_string(),
            space.subscriptions.to_string(),
            space.behind.to_string(),
            format!("{}{more}", space.topics.len()),
            show_size(bytes),
        ]);
    }
    node.out.table(&table, "nothing is published yet")?;
    Ok(Exit::Ok)
}

/// Where the next page begins.
fn last_space(spaces: &[Listing], silent: &[String]) -> Option<String> {
    let named = spaces.iter().map(|space| &space.space);
    named.chain(silent).max().cloned()
}

async fn space(space: &str, node: &mut Session) -> Result<Exit, CliError> {
    let mut listing = node.client.space(space, None).await?;
    while listing.more
        && let Some(last) = listing.topics.last()
    {
        let next = node.client.space(space, Some(&last.topic)).await?;
        listing.topics.extend(next.topics);
        listing.more = next.more;
    }
    if node.json {
        node.out.json(&listing)?;
        return Ok(Exit::Ok);
    }
    node.out.line(&format!(
        "{} events, {} subscriptions, {} of them behind",
        listing.number, listing.subscriptions, listing.behind
    ))?;
    let counts = &listing.counts;
    let counted = [
        ("sent", counts.sent),
        ("not applied", counts.not_applied),
        ("filters failed", counts.filter_failed),
        ("without receiver", counts.no_receiver),
        ("transformations failed", counts.transform_failed),
        ("dropped", counts.dropped),
        ("missed", counts.missed),
        ("redelivered", counts.redelivered),
        ("given up", counts.given_up),
    ];
    let counted: Vec<_> = counted
        .iter()
        .filter(|(name, count)| *count > 0 || *name == "sent")
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    node.out.line(&counted.join(", "))?;
    let columns = [
        "TOPIC", "LOG", ">FIRST", ">NEXT", ">EVENTS", ">BYTES", "RETAINED",
    ];
    let mut table = Table::new(&columns);
    for topic in &listing.topics {
        let number = |number: Option<u64>| number.map_or("-".to_owned(), |it| it.to_string());
        table.row([
            topic.topic.clone(),
            topic.log.as_ref().map_or("-".to_owned(), bounds),
            number(topic.first),
            number(topic.next),
            topic.events.to_string(),
            show_size(topic.bytes),
            if topic.retained { "yes" } else { "no" }.to_owned(),
        ]);
    }
    node.out.table(&table, "nothing is kept of its topics")?;
    Ok(Exit::Ok)
}

async fn subscriptions(args: &SubscriptionsArgs, node: &mut Session) -> Result<Exit, CliError> {
    let space = args.space.as_deref();
    let max = if args.all {
        MAX_LISTED_SUBSCRIPTIONS
    } else {
        args.limit
    };
    let mut all = node.client.subscriptions(space, args.after, max).await?;
    while args.all
        && let Some(after) = all.next
    {
        let page = node.client.subscriptions(space, Some(after), max).await?;
        // An owner that repeats itself would keep us here for ever.
        if page.next.is_some_and(|next| next <= after) {
            return Err(CliError::failed(
                "the owner lists subscriptions out of order",
            ));
        }
        all.subscriptions.extend(page.subscriptions);
        all.next = page.next;
    }
    if node.json {
        node.out.json(&all)?;
        return Ok(Exit::Ok);
    }
    let columns = [
        "NAME",
        "PATTERN",
        "TO",
        "TERMS",
        ">IN FLIGHT",
        ">BEHIND",
        ">SENT",
        ">FILTERED",
        "OTHERWISE",
    ];
    let mut table = Table::new(&columns);
    for it in &all.subscriptions {
        let in_flight = match (it.in_flight, it.max_in_flight) {
            (Some(found), Some(most)) => format!("{found}/{most}"),
            _ => "-".to_owned(),
        };
        let most = if it.at_most { "<=" } else { "" };
        table.row([
            it.name.clone(),
            it.pattern.clone(),
            receiver(it),
            terms(it),
            in_flight,
            format!("{most}{}", it.behind),
            it.counts.sent.to_string(),
            it.counts.filtered.to_string(),
            otherwise(it),
        ]);
    }
    node.out.table(&table, "no subscriptions")?;
    if let Some(next) = all.next {
        node.out.flush()?;
        output::remark(&format!("there may be more: use --all, or --after {next}"));
    }
    Ok(Exit::Ok)
}

/// Whom a subscription's events go to.
fn receiver(it: &ListedSubscription) -> String {
    let to = it.to.as_deref().or(it.subscriber.as_deref());
    to.unwrap_or("-").to_owned()
}

/// What a subscription says beside its pattern and receiver, in words.
fn terms(it: &ListedSubscription) -> String {
    let strategy = it.strategy.as_ref().map(ToString::to_string);
    let weight = it.weight.filter(|weight| *weight != 1);
    let overflow = it.overflow.filter(|it| *it != Overflow::default());
    let parts = [
        it.kind.as_ref().map(|kind| format!("of kind {kind}")),
        it.group.as_ref().map(|group| format!("group {group}")),
        strategy,
        weight.map(|weight| format!("weight {weight}")),
        it.delivery.map(|delivery| delivery.to_string()),
        overflow.map(|overflow| overflow.to_string()),
        it.filter.as_ref().map(|filter| format!("if {filter}")),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    if parts.is_empty() {
        return "-".to_owned();
    }
    parts.join(", ")
}

/// What became of events that is out of the usual, in words.
fn otherwise(it: &ListedSubscription) -> String {
    let counts = &it.counts;
    let counted = [
        ("filter failed", counts.filter_failed),
        ("filter cut off", counts.filter_cut_off),
        ("without receiver", counts.no_receiver),
        ("transformation failed", counts.transform_failed),
        ("dropped", counts.dropped),
        ("missed", counts.missed),
        ("not applied", counts.not_applied),
        ("redelivered", counts.redelivered),
        ("given up", counts.given_up),
    ];
    let counted: Vec<_> = (counted.iter())
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if counted.is_empty() {
        return "-".to_owned();
    }
    counted.join(", ")
}

/// A log's bounds in words.
fn bounds(log: &LogBounds) -> String {
    let parts = [
        log.count.map(|count| format!("{count} events")),
        log.bytes.map(show_size),
        log.age_ms
            .map(|age| humantime::format_duration(Duration::from_millis(age)).to_string()),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    if parts.is_empty() {
        return "yes".to_owned();
    }
    parts.join(", ")
}

async fn configure(args: &SetArgs, node: &mut Session) -> Result<Exit, CliError> {
    let has_log = args.log || args.count.is_some() || args.bytes.is_some() || args.age.is_some();
    let log = has_log.then_some(LogBounds {
        age_ms: args.age.map(millis),
        count: args.count,
        bytes: args.bytes,
    });
    node.client
        .configure(&args.pattern, log.as_ref(), args.retain)
        .await?;
    if node.json {
        let said = serde_json::json!({
            "pattern": args.pattern.as_str(), "log": log, "retain": args.retain,
        });
        node.out.json(&said)?;
        return Ok(Exit::Ok);
    }
    let log = match &log {
        Some(log) => format!("a log ({})", bounds(log)),
        None => "no log".to_owned(),
    };
    let retain = if args.retain { ", the last event" } else { "" };
    node.out
        .line(&format!("{} keeps {log}{retain}", args.pattern))?;
    Ok(Exit::Ok)
}

async fn begin(args: &SubscribeArgs, node: &mut Session) -> Result<Exit, CliError> {
    let subscription = Subscribe {
        to: Some(args.to.clone()),
        method: args.method.clone(),
        name: args.name.clone(),
        filter: args.filter.clone(),
        group: args.group.clone(),
        strategy: args.strategy.clone(),
        weight: args.weight,
        delivery: args.delivery,
        overflow: args.overflow,
        in_flight: args.in_flight,
        replay: args.replay,
        form: args.form,
        ..Subscribe::to_pattern(args.pattern.as_str())
    };
    let subscribed = node.client.subscribe(&subscription).await?;
    if node.json {
        node.out.json(&subscribed)?;
    } else {
        node.out
            .line(&format!("{} is subscribed", subscribed.name))?;
    }
    Ok(Exit::Ok)
}

async fn end(args: &UnsubscribeArgs, node: &mut Session) -> Result<Exit, CliError> {
    let name = match (&args.name, &args.to) {
        (Some(name), _) => name.clone(),
        (None, to) => Subscribe {
            to: to.clone(),
            ..Subscribe::to_pattern(args.pattern.as_str())
        }
        .name(),
    };
    let ended = node.client.unsubscribe(&args.pattern, &name).await?;
    if !ended.was {
        return Err(
            CliError::failed(format!("there is no subscription `{name}`"))
                .help("`phoenix topics subscriptions SPACE` shows those there are"),
        );
    }
    if node.json {
        node.out.json(&ended)?;
    } else {
        node.out.line(&format!("{name} is no longer subscribed"))?;
    }
    Ok(Exit::Ok)
}

//! `phoenix publish`

use std::time::Duration;

use phoenix_core::topics::TopicName;
use phoenix_gateway::api::{Attribute, Published};
use phoenix_gateway::client::NewEvent;

use crate::args;
use crate::error::{CliError, Exit};
use crate::payload::{self, As};
use crate::session::Session;

/// Arguments of `phoenix publish`.
#[derive(Debug, clap::Args)]
pub(crate) struct PublishArgs {
    /// The topic, as in orders.eu.created
    #[arg(value_parser = args::topic)]
    topic: TopicName,
    /// Its data: JSON, a word, @FILE or - for standard input
    #[arg(value_name = "DATA", allow_negative_numbers = true)]
    payload: Option<String>,
    /// What kind of event it is, as in order.created
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// What it is about: a consistent hash may go by it
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// What filters may look at besides the data: a number, true, false or a text
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = args::setting)]
    attributes: Vec<(String, String)>,
    /// Keep it, in place of the last one, for those that subscribe later
    #[arg(long)]
    retain: bool,
    /// After which time it is of no use
    #[arg(long, value_name = "SPAN", value_parser = args::span)]
    ttl: Option<Duration>,
    /// How long to wait until it is committed
    #[arg(long, value_name = "SPAN", default_value = "5s", value_parser = args::span)]
    timeout: Duration,
    /// How DATA is to be read, where that does not show
    #[arg(long = "as", value_name = "TYPE")]
    as_what: Option<As>,
}

pub(crate) async fn run(args: &PublishArgs, node: &mut Session) -> Result<Exit, CliError> {
    let data = payload::read(args.payload.as_deref(), args.as_what)?;
    let attributes = args.attributes.iter();
    let event = NewEvent {
        content_type: data.content_type,
        data: data.bytes,
        event_type: args.event_type.clone(),
        key: args.key.clone(),
        attributes: attributes
            .map(|(name, value)| (name.clone(), attribute(value)))
            .collect(),
        retain: args.retain,
        ttl: args.ttl,
    };
    let published = node
        .client
        .publish(&args.topic, &event, args.timeout)
        .await?;
    if node.json {
        node.out.json(&published)?;
    } else {
        node.out.line(&sentence(&published))?;
    }
    Ok(Exit::Ok)
}

/// What a value on the command line is.
fn attribute(text: &str) -> Attribute {
    if let Ok(flag) = text.parse() {
        return Attribute::Bool(flag);
    }
    if let Ok(number) = text.parse() {
        return Attribute::Int(number);
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Attribute::Float(number),
        _ => Attribute::Text(text.to_owned()),
    }
}

fn sentence(published: &Published) -> String {
    let Published {
        topic,
        number,
        offset,
        matched,
        ..
    } = published;
    let offset = offset.map_or_else(String::new, |offset| format!(", offset {offset}"));
    let subscriptions = match matched {
        1 => "1 subscription matches".to_owned(),
        count => format!("{count} subscriptions match"),
    };
    format!("{topic} event {number}{offset}: {subscriptions}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_what_they_look_like() {
        assert_eq!(attribute("true"), Attribute::Bool(true));
        assert_eq!(attribute("-7"), Attribute::Int(-7));
        assert_eq!(attribute("0.5"), Attribute::Float(0.5));
        for text in ["eu", "", "NaN", "inf", "True"] {
            assert_eq!(attribute(text), Attribute::Text(text.to_owned()));
        }
    }
}

//! `phoenix tail`

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use phoenix_core::topics::{EventView, Filter, Outcome, TopicName, TopicPattern, Value};
use phoenix_core::{ContentType, Millis};
use phoenix_gateway::api::{Attribute, Events, Format, ReadData, ReadEvent, Replay};
use phoenix_gateway::client::ReadFrom;
use phoenix_gateway::units::parse_duration;

use super::logs::stamp;
use super::send::millis;
use crate::args;
use crate::error::{CliError, Exit};
use crate::output;
use crate::session::Session;

/// How long one request waits for events.
const WAIT: Duration = Duration::from_secs(30);
/// Events of one request.
const PAGE: u32 = 1_000;

/// Arguments of `phoenix tail`.
#[derive(Debug, clap::Args)]
#[command(after_help = FROM_HELP)]
pub(crate) struct TailArgs {
    /// Which topics of one space, as in orders.* or orders.>
    #[arg(value_parser = args::pattern)]
    pattern: TopicPattern,
    /// Where to begin: now, all, `last N`, `from OFFSET` or `since TIME`
    #[arg(long, value_name = "WHERE", default_value = "now", value_parser = from)]
    from: Replay,
    /// Only events of which this is true: an expression over `attributes`, `data`, `topic`,
    /// `type`, `key` and `publisher`
    #[arg(long, value_name = "CEL", value_parser = filter)]
    filter: Option<Filter>,
    /// End after so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// End when there are no more events, and do not wait for new ones
    #[arg(long)]
    no_follow: bool,
}

const FROM_HELP: &str = "Events of topics with a log can be read as long as the log has them, others for a short \
     while. TIME is a span, as in `since 10m`, or an instant, as in `since 2026-01-01T00:00:00Z`.";

fn filter(text: &str) -> Result<Filter, String> {
    Filter::new(text).map_err(|bad| bad.to_string())
}

/// Where to begin, as people write it.
fn from(text: &str) -> Result<Replay, String> {
    const FORM: &str = "write now, all, `last N`, `from OFFSET` or `since TIME`, where TIME is \
                        as in 10m or 2026-01-01T00:00:00Z";
    if text == "now" {
        return Ok(Replay::New);
    }
    let Some(time) = text.strip_prefix("since ") else {
        return text.parse().map_err(|_| FORM.to_owned());
    };
    let since = match parse_duration(time) {
        Some(span) => SystemTime::now().checked_sub(span),
        None => humantime::parse_rfc3339_weak(time).ok(),
    };
    let span = since.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    span.map(|span| Replay::Since(millis(span)))
        .ok_or_else(|| FORM.to_owned())
}

pub(crate) async fn run(args: &TailArgs, node: &mut Session) -> Result<Exit, CliError> {
    if matches!(args.from, Replay::From(_)) && args.pattern.only().is_none() {
        let text = format!(
            "an offset is one topic's, and `{}` has wildcards",
            args.pattern
        );
        return Err(CliError::usage(text).help("use all, `last N` or `since TIME`"));
    }
    let mut tail = Tail::new(args);
    let mut at = ReadFrom {
        after: (args.from != Replay::New).then_some(0),
        epoch: None,
    };
    let mut is_caught_up = at.after.is_none();
    loop {
        let wait = if is_caught_up && !args.no_follow {
            WAIT
        } else {
            Duration::ZERO
        };
        let read = node.client.events(&args.pattern, at, PAGE, wait).await?;
        remark_on(&read, at);
        at = ReadFrom {
            after: Some(read.next),
            epoch: Some(read.epoch),
        };
        let is_last = read.events.is_empty();
        for event in read.events {
            if args
                .filter
                .as_ref()
                .is_none_or(|filter| is_wanted(filter, &event))
            {
                tail.take(event, node)?;
            }
        }
        if is_last && !is_caught_up {
            is_caught_up = true;
            tail.caught_up(node)?;
        }
        node.out.flush()?;
        if tail.is_full() || (is_last && args.no_follow) {
            return Ok(Exit::Ok);
        }
    }
}

/// Whether a filter is true of an event. One that it cannot judge is left out, as it is
/// for subscriptions.
fn is_wanted(filter: &Filter, event: &ReadEvent) -> bool {
    let Ok(topic) = TopicName::new(&event.topic) else {
        return false;
    };
    let (content_type, data) = match (&event.data, event.format) {
        (ReadData::Value(_), Format::None) => (ContentType::None, Vec::new()),
        (ReadData::Value(value), Format::Json | Format::MessagePack) => {
            (ContentType::Json, value.to_string().into_bytes())
        }
        _ => (ContentType::Binary, Vec::new()),
    };
    let attributes = event.attributes.iter().map(|(name, value)| {
        let value = match value {
            Attribute::Bool(flag) => Value::Bool(*flag),
            Attribute::Int(number) => Value::Int(*number),
            Attribute::Float(number) => Value::Double(*number),
            Attribute::Text(text) => Value::Text(text.as_str().into()),
        };
        (name.as_str(), value)
    });
    let time = Millis(event.time);
    let view = EventView::new(&topic, &event.publisher, time, content_type, &data)
        .with_type(event.event_type.as_deref())
        .with_key(event.key.as_deref())
        .with_number(event.number)
        .with_attributes(attributes);
    filter.test(&view) == Outcome::Matches
}

/// Says what is missing between two answers.
fn remark_on(read: &Events, asked: ReadFrom) {
    if asked.epoch.is_some_and(|epoch| epoch != read.epoch) {
        output::remark("the owner of the topics began anew: events are numbered anew");
    }
    // Whoever begins with the oldest knows that there were others.
    if let Some(gap) = read.gap.filter(|_| asked.epoch.is_some()) {
        let text = format!("events {} to {} are not kept any more", gap.from, gap.to);
        output::remark(&text);
    }
}

/// What is shown, and what is to be.
struct Tail {
    from: Replay,
    left: u64,
    /// The last events, until it is known which are.
    last: Option<VecDeque<ReadEvent>>,
}

impl Tail {
    fn new(args: &TailArgs) -> Self {
        Self {
            from: args.from,
            left: args.limit.unwrap_or(u64::MAX),
            last: matches!(args.from, Replay::Last(_)).then(VecDeque::new),
        }
    }

    fn is_full(&self) -> bool {
        self.left == 0
    }

    fn take(&mut self, event: ReadEvent, node: &mut Session) -> Result<(), CliError> {
        let is_wanted = match self.from {
            Replay::From(offset) => event.offset.is_none_or(|at| at >= offset),
            Replay::Since(millis) => event.time >= millis,
            Replay::New | Replay::All | Replay::Last(_) => true,
        };
        if let (Some(last), Replay::Last(count)) = (&mut self.last, self.from) {
            last.push_back(event);
            if last.len() as u64 > count {
                last.pop_front();
            }
            return Ok(());
        }
        if is_wanted {
            self.show(&event, node)?;
        }
        Ok(())
    }

    fn caught_up(&mut self, node: &mut Session) -> Result<(), CliError> {
        for event in self.last.take().into_iter().flatten() {
            self.show(&event, node)?;
        }
        Ok(())
    }

    fn show(&mut self, event: &ReadEvent, node: &mut Session) -> Result<(), CliError> {
        if self.left == 0 {
            return Ok(());
        }
        self.left -= 1;
        if node.json {
            node.out.json(event)
        } else {
            node.out.line(&sentence(event))
        }
    }
}

fn sentence(event: &ReadEvent) -> String {
    let at = SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_millis(event.time))
        .map_or_else(|| event.time.to_string(), stamp);
    let mut text = format!("{at} {} #{}", event.topic, event.number);
    let named = [
        ("offset", event.offset.map(|offset| offset.to_string())),
        ("type", event.event_type.clone()),
        ("key", event.key.clone()),
    ];
    for (name, value) in named {
        if let Some(value) = value {
            text.push_str(&format!(" {name}={value}"));
        }
    }
    for (name, value) in &event.attributes {
        let value = serde_json::to_string(value).unwrap_or_default();
        text.push_str(&format!(" {name}={value}"));
    }
    text.push_str(&format!(" {}", event.publisher));
    match (&event.data, event.format) {
        (ReadData::Value(value), Format::Json | Format::MessagePack) => {
            text.push_str(&format!(" {value}"));
        }
        (ReadData::Value(serde_json::Value::String(hex)), Format::Binary) => {
            text.push_str(&format!(" 0x{hex}"));
        }
        _ => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_begin_is_read_as_it_is_written() {
        assert_eq!(from("now"), Ok(Replay::New));
        assert_eq!(from("all"), Ok(Replay::All));
        assert_eq!(from("last 5"), Ok(Replay::Last(5)));
        assert_eq!(from("from 17"), Ok(Replay::From(17)));
        let instant = from("since 2026-01-01T00:00:00Z");
        assert_eq!(instant, Ok(Replay::Since(1_767_225_600_000)));
        let ago = from("since 10m");
        assert!(matches!(ago, Ok(Replay::Since(at)) if at > 1_767_225_600_000));
        for text in [
            "",
            "later",
            "last",
            "last x",
            "from -1",
            "since",
            "since then",
        ] {
            let error = from(text).unwrap_err();
            assert!(error.contains("since TIME"), "{error}");
        }
    }

    fn event() -> ReadEvent {
        ReadEvent {
            topic: "orders.eu".to_owned(),
            publisher: "client/operator".to_owned(),
            number: 12,
            offset: Some(3),
            time: 1_767_225_600_000,
            event_type: Some("order".to_owned()),
            key: None,
            attributes: [("n".to_owned(), phoenix_gateway::api::Attribute::Int(1))].into(),
            format: Format::Json,
            data: ReadData::Value(serde_json::json!({ "total": 5 })),
        }
    }

    #[test]
    fn a_filter_sees_all_of_an_event() {
        for (text, wanted) in [
            ("data.total == 5 && attributes.n == 1", true),
            ("type == 'order' && topic == 'orders.eu'", true),
            ("data.total > 5", false),
            ("data.missing == 1", false),
        ] {
            assert_eq!(
                is_wanted(&filter(text).unwrap(), &event()),
                wanted,
                "{text}"
            );
        }
        assert!(filter("data.total +").is_err());
    }

    #[test]
    fn an_event_is_a_line() {
        let event = event();
        assert_eq!(
            sentence(&event),
            "2026-01-01T00:00:00.000Z orders.eu #12 offset=3 type=order n=1 client/operator \
             {\"total\":5}"
        );
        let bytes = ReadEvent {
            format: Format::Binary,
            data: ReadData::Value("00ff".into()),
            ..event
        };
        assert!(sentence(&bytes).ends_with(" client/operator 0x00ff"));
    }
}

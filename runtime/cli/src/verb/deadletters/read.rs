//! `phoenix deadletters list` and `show`

use std::time::{Duration, SystemTime};

use phoenix_core::control::LetterId;
use phoenix_gateway::api::{ContentType, DeadLetter, LetterBody, Payload};

use super::ListArgs;
use crate::error::{CliError, Exit};
use crate::output::escape::escape_bytes;
use crate::output::{Table, remark};
use crate::session::Session;
use crate::verb::advice;
use crate::verb::logs::stamp;

pub(super) async fn list(args: &ListArgs, node: &mut Session) -> Result<Exit, CliError> {
    let filter = args.filter.filter();
    let list = node.client.dead_letters(&filter, Some(args.limit)).await?;
    if node.json {
        node.out.json(&list)?;
        return Ok(Exit::Ok);
    }
    if list.dead_letters.is_empty() {
        node.out.line("no dead letters")?;
    }
    for letter in &list.dead_letters {
        for line in brief(letter) {
            node.out.line(&line)?;
        }
    }
    if list.more {
        remark("there are more: raise --limit, or narrow by --kind, --agent, --reason or --node");
    }
    Ok(Exit::Ok)
}

/// A line about the letter, and under it the beginning of what it carried and of
/// what is known.
fn brief(letter: &DeadLetter) -> Vec<String> {
    let mut lines = vec![format!(
        "{} {} {} from {} to {} {}, tried {} times",
        letter.id,
        at(letter.at_ms),
        letter.reason,
        letter.from,
        letter.to,
        method(letter),
        letter.attempts
    )];
    let payload = &letter.payload;
    match (&payload.json, payload.bytes) {
        (Some(json), _) => lines.push(format!("    payload: {}", beginning(&json.to_string()))),
        (None, 0) => {}
        (None, bytes) => lines.push(format!("    payload: {bytes} bytes")),
    }
    if !letter.detail.is_empty() {
        lines.push(format!("    {}", beginning(&letter.detail)));
    }
    lines
}

/// The first line of `text`, and no more than a terminal's width of it.
fn beginning(text: &str) -> String {
    const MOST: usize = 120;
    let line = text.lines().next().unwrap_or_default();
    let mut shown: String = line.chars().take(MOST).collect();
    if shown.len() < text.trim_end().len() {
        shown.push_str(" …");
    }
    shown
}

pub(super) async fn show(letter: LetterId, node: &mut Session) -> Result<Exit, CliError> {
    let letter = match node.client.dead_letter(letter).await {
        Ok(letter) => letter,
        Err(error) => return Err(advice::about_letter(error, letter, node).await),
    };
    if node.json {
        node.out.json(&letter)?;
        return Ok(Exit::Ok);
    }
    node.out.table(&table(&letter), "")?;
    node.out.line(&heading(&letter.payload))?;
    for line in carried(&letter.payload)?.lines() {
        node.out.line(&format!("    {line}"))?;
    }
    if !letter.detail.is_empty() {
        node.out.line("detail")?;
        for line in letter.detail.lines() {
            node.out.line(&format!("    {line}"))?;
        }
    }
    Ok(Exit::Ok)
}

fn table(letter: &DeadLetter) -> Table {
    let mut from = letter.from.clone();
    if let Some(life) = letter.incarnation {
        from = format!(
            "{from}, incarnation {}.{}.{}",
            life.generation, life.boot, life.count
        );
    }
    if let Some(through) = &letter.through {
        from = format!("{from}, through {through}");
    }
    let mut rows = vec![
        ("dead letter", letter.id.clone()),
        ("ended", at(letter.at_ms)),
        ("reason", letter.reason.clone()),
        ("tried", format!("{} times", letter.attempts)),
        ("from", from),
        ("to", letter.to.clone()),
        ("handler", method(letter).to_owned()),
    ];
    if let Some(by) = &letter.resent_by {
        rows.push(("sent again by", by.clone()));
    }
    rows.push(match &letter.stream {
        Some(place) => (
            "stream",
            format!(
                "lane {}, number {}, worth trying until {}",
                place.lane.as_str(),
                place.number,
                at(place.give_up_ms)
            ),
        ),
        None => ("stream", "none: sent at most once".to_owned()),
    });
    if let Some(ask) = &letter.ask {
        let until = at(ask.deadline_ms);
        rows.push(("asked by", format!("{}, until {until}", ask.reply_to)));
    }
    let mut table = Table::plain();
    for (name, value) in rows {
        table.row([name, &value]);
    }
    table
}

fn heading(payload: &Payload) -> String {
    match payload.content_type {
        ContentType::None => "payload: none".to_owned(),
        ContentType::Json => format!("payload: JSON, {} bytes", payload.bytes),
        ContentType::MessagePack => format!("payload: MessagePack, {} bytes", payload.bytes),
        ContentType::Binary => format!("payload: {} bytes", payload.bytes),
    }
}

/// The payload as text: the value it is, or its bytes with all that is no text escaped.
fn carried(payload: &Payload) -> Result<String, CliError> {
    if let Some(json) = &payload.json {
        return serde_json::to_string_pretty(json)
            .map_err(|error| CliError::failed(format!("cannot write the payload: {error}")));
    }
    let base64 = payload.base64.as_deref().unwrap_or_default();
    Ok(match data_encoding::BASE64.decode(base64.as_bytes()) {
        Ok(bytes) => escape_bytes(&bytes),
        Err(_) => base64.to_owned(),
    })
}

fn method(letter: &DeadLetter) -> &str {
    match letter.body {
        LetterBody::Message | LetterBody::Spawn => &letter.method,
        LetterBody::Reply => "(a reply)",
    }
}

fn at(millis: u64) -> String {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_millis(millis))
        .map_or_else(|| millis.to_string(), stamp)
}

//! From core's types to the API's, one function a type.

use std::io::Cursor;

use phoenix_core::flow::{Fill, FlowInfo, GateInfo, Unit};
use phoenix_core::{
    Body, ContentType, Incarnation, Lane, Level, Payload, PeerPath, Reply, ReplyTo, Sender, control,
};

use crate::{api, policy};

/// Payloads larger than this, in bytes, are shown by their beginning.
const MAX_SHOWN: usize = 64 << 10;
/// How much of a larger one is shown, in bytes.
const SHOWN_BEGINNING: usize = 1 << 10;

pub(crate) fn kind(info: control::KindInfo) -> api::Kind {
    api::Kind {
        kind: info.kind.to_string(),
        component: info.component.to_string(),
        component_bytes: info.component_bytes,
        world: if info.framed {
            api::World::AgentFramed
        } else {
            api::World::Agent
        },
        handlers: info
            .handlers
            .into_iter()
            .map(|handler| api::Handler {
                name: handler.name.to_string(),
                interleave: handler.interleave,
            })
            .collect(),
        policy: policy::shape(&info.policy),
        gates: Vec::new(),
    }
}

pub(crate) fn agent(info: control::AgentInfo) -> api::Agent {
    api::Agent {
        agent: info.agent.to_string(),
        node: info.node.to_string(),
        status: match info.status {
            control::AgentStatus::Resident => api::AgentStatus::Resident,
            control::AgentStatus::Hibernated => api::AgentStatus::Hibernated,
            control::AgentStatus::Moving => api::AgentStatus::Moving,
            control::AgentStatus::BackingOff => api::AgentStatus::BackingOff,
            control::AgentStatus::Quarantined => api::AgentStatus::Quarantined,
            control::AgentStatus::Stored => api::AgentStatus::Stored,
        },
        // None was stored before its first turn.
        turns: (info.turns > 0 || info.status != control::AgentStatus::Stored)
            .then_some(info.turns),
        mailbox: info.mailbox,
        bytes: info.bytes,
        disk_bytes: info.disk_bytes,
    }
}

pub(crate) fn agent_detail(detail: control::AgentDetail) -> api::AgentDetail {
    api::AgentDetail {
        agent: agent(detail.info),
        component: detail.component.to_string(),
        incarnation: incarnation(detail.incarnation),
        generation: detail.generation,
        pending: detail.pending,
        open_asks: detail.open_asks,
        asks: detail.asks.into_iter().map(open_ask).collect(),
        requests: detail.requests.into_iter().map(open_request).collect(),
        lanes: detail.mailbox.lanes.into_iter().map(mailbox_lane).collect(),
        ends: detail.mailbox.ends,
        holding: detail.mailbox.holding,
        held: detail.mailbox.held,
        outbox: detail.outbox,
        outbox_bytes: detail.outbox_bytes,
        outbox_held: detail.outbox_held,
        timers: detail.timers,
        next_timers: detail.next_timers.into_iter().map(timer).collect(),
        streams_in: detail.streams_in,
        streams_out: detail.streams_out,
        traps: detail.traps,
        last_trap: detail.last_trap.map(|text| text.to_string()),
        unmovable: detail.unmovable.map(|text| text.to_string()),
        gates: detail.gates.into_iter().map(flow).collect(),
        counters: detail.counters.into_iter().collect(),
    }
}

fn open_ask(info: control::AskInfo) -> api::OpenAsk {
    api::OpenAsk {
        ask: info.ask,
        to: info.to.to_string(),
        made_ms: info.made.0,
        deadline_ms: info.deadline.0,
        handler: info.handler,
    }
}

fn timer(info: control::TimerInfo) -> api::Timer {
    api::Timer {
        timer: info.timer.to_string(),
        method: info.method.to_string(),
        due_ms: info.due.0,
        schedule: info.schedule.to_string(),
        catch_up: info.catch_up.to_string(),
    }
}

fn open_request(info: control::RequestInfo) -> api::OpenRequest {
    api::OpenRequest {
        handler: info.handler,
        from: asker(&info.from),
        ask: info.ask,
        deadline_ms: info.deadline.0,
    }
}

/// Where an answer goes, in words.
fn asker(reply_to: &ReplyTo) -> String {
    match reply_to {
        ReplyTo::Agent(agent, _) => agent.to_string(),
        ReplyTo::Client(node) => format!("a client at {node}"),
    }
}

fn lane(lane: Lane) -> api::Lane {
    match lane {
        Lane::High => api::Lane::High,
        Lane::Normal => api::Lane::Normal,
        Lane::Low => api::Lane::Low,
        Lane::Bulk => api::Lane::Bulk,
        Lane::Reply => api::Lane::Reply,
    }
}

fn mailbox_lane(info: control::LaneInfo) -> api::MailboxLane {
    api::MailboxLane {
        lane: lane(info.lane),
        messages: info.messages,
        bytes: info.bytes,
        spilled: info.spilled,
        spilled_bytes: info.spilled_bytes,
    }
}

pub(crate) fn verdict(verdict: control::Verdict) -> api::Verdict {
    match verdict {
        control::Verdict::Applied => api::Verdict::Applied,
        control::Verdict::Dead { code, detail } => api::Verdict::Dead {
            code: code.to_string(),
            detail: detail.to_string(),
        },
        control::Verdict::Refused { expected, reason } => api::Verdict::Refused {
            expected,
            reason: reason.to_string(),
        },
        control::Verdict::Unknown => api::Verdict::Unknown,
    }
}

pub(crate) fn log_line(line: control::LogLine) -> api::LogLine {
    api::LogLine {
        number: line.number,
        at_ms: line.at.0,
        level: match line.level {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
        .to_owned(),
        agent: line.agent.map(|agent| agent.to_string()),
        text: line.text.to_string(),
    }
}

pub(crate) fn node(info: control::NodeInfo) -> api::Node {
    api::Node {
        node: info.node.to_string(),
        address: info.address,
        connected: info.connected,
        directory: info.directory,
        dead: info.dead,
        boot: info.boot,
        version: info.version,
        resident: info.resident,
        hibernated: info.hibernated,
        uptime_ms: info.uptime.0,
        path: info.path.map(path),
        gate: info.gate.map(|gate| flow(*gate)),
    }
}

pub(crate) fn flow(info: FlowInfo) -> api::Flow {
    api::Flow {
        target: info.target.to_string(),
        node: info.node.to_string(),
        deployed: info.deployed,
        policy: crate::flow::shape(&info.policy),
        gate: info.gate.map(|info| gate(*info)),
    }
}

fn gate(info: GateInfo) -> api::Gate {
    api::Gate {
        rate: info.rate.map(fill),
        window: info.window.map(fill),
        shared: info.shared.map(|share| api::Share {
            name: share.limit.to_string(),
            left: share.left,
            asked: share.asked,
            granted: share.granted,
            lapsed: share.lapsed,
        }),
        breaker: info.breaker.map(|breaker| api::Breaker {
            state: breaker.state.to_string(),
            since_ms: breaker.since.0,
            cause: breaker.cause.to_string(),
            until_ms: breaker.until.map(|until| until.0),
            ok: breaker.ok,
            failed: breaker.failed,
            probes: breaker.probes,
            probes_ok: breaker.probes_ok,
            opened: breaker.opened,
        }),
        running: info.running,
        concurrent: info.concurrent,
        waiting: info.waiting,
        last_failure: info.last_failure.map(|last| api::LastFailure {
            at_ms: last.at.0,
            code: last.code.to_string(),
            text: last.text.to_string(),
        }),
        counters: info.counters.into_iter().collect(),
    }
}

fn fill(fill: Fill) -> api::Fill {
    api::Fill {
        unit: match fill.unit {
            Unit::Messages => "messages",
            Unit::Bytes => "bytes",
        }
        .to_owned(),
        left: fill.left,
        of: fill.of,
    }
}

fn path(path: PeerPath) -> api::Path {
    api::Path {
        protocol: path.protocol.map(|protocol| protocol.to_string()),
        bulk: path.bulk.map(|protocol| protocol.to_string()),
        datagrams: path.datagrams,
        round_trip_us: path
            .round_trip
            .map(|time| time.as_micros().try_into().unwrap_or(u64::MAX)),
        reason: path.reason,
    }
}

/// A dead letter whose payload `show` shows.
pub(crate) fn dead_letter(
    letter: &control::DeadLetter,
    show: impl Fn(&Payload) -> api::Payload,
) -> api::DeadLetter {
    let envelope = &*letter.envelope;
    let (body, method, payload, ask) = match &envelope.body {
        Body::Message {
            method,
            payload,
            ask,
        } => (
            api::LetterBody::Message,
            &**method,
            show(payload),
            ask.as_deref(),
        ),
        Body::Spawn { config, ask } => (
            api::LetterBody::Spawn,
            "spawn",
            show(config),
            ask.as_deref(),
        ),
        Body::Reply { reply, .. } => {
            let payload = match reply {
                Reply::Ok(payload) => show(payload),
                _ => show(&Payload::default()),
            };
            (api::LetterBody::Reply, "", payload, None)
        }
        Body::Bounce(bounce) => (
            api::LetterBody::Message,
            &*bounce.method,
            show(&bounce.payload),
            None,
        ),
    };
    let from = envelope.first_sender();
    let (agents, through) = match from {
        Sender::Agent(_, life) => (Some(incarnation(*life)), None),
        Sender::Client(_, node) => (None, Some(node.to_string())),
        Sender::System => (None, None),
    };
    api::DeadLetter {
        id: letter.id.to_string(),
        node: letter.id.node.to_string(),
        number: letter.id.number,
        at_ms: letter.at.0,
        reason: letter.reason.to_string(),
        detail: letter.detail.to_string(),
        attempts: letter.attempts,
        from: from.to_string(),
        incarnation: agents,
        through,
        resent_by: envelope
            .original()
            .is_some()
            .then(|| envelope.sender().to_string()),
        to: envelope.receiver().to_string(),
        body,
        method: method.to_owned(),
        payload,
        stream: envelope.sequence.map(|sequence| api::StreamPlace {
            lane: lane(envelope.stream.lane),
            number: sequence.number,
            give_up_ms: sequence.give_up.0,
        }),
        ask: ask.map(|ask| api::Asked {
            id: ask.id,
            reply_to: asker(&ask.reply_to),
            deadline_ms: ask.deadline.0,
        }),
        event: None,
    }
}

pub(crate) fn replayed(replayed: control::Replayed) -> api::Replayed {
    api::Replayed {
        id: replayed.letter.to_string(),
        verdict: verdict(replayed.verdict),
    }
}

pub(crate) fn incarnation(incarnation: Incarnation) -> api::Incarnation {
    api::Incarnation {
        generation: incarnation.generation,
        boot: incarnation.boot,
        count: incarnation.count,
    }
}

/// A payload, shown as a value where it has a JSON form, and by its beginning
/// where it is large.
pub(crate) fn payload(payload: &Payload) -> api::Payload {
    if payload.bytes.len() <= MAX_SHOWN {
        return whole_payload(payload);
    }
    let beginning = payload.bytes.get(..SHOWN_BEGINNING).unwrap_or_default();
    api::Payload {
        content_type: content_type(payload.content_type),
        bytes: payload.bytes.len() as u64,
        json: None,
        base64: Some(data_encoding::BASE64.encode(beginning)),
    }
}

/// A payload, shown as a value where it has a JSON form.
pub(crate) fn whole_payload(payload: &Payload) -> api::Payload {
    let json = as_json(payload);
    let base64 = (json.is_none() && !payload.bytes.is_empty())
        .then(|| data_encoding::BASE64.encode(&payload.bytes));
    api::Payload {
        content_type: content_type(payload.content_type),
        bytes: payload.bytes.len() as u64,
        json,
        base64,
    }
}

fn as_json(payload: &Payload) -> Option<serde_json::Value> {
    match payload.content_type {
        ContentType::Json => serde_json::from_slice(&payload.bytes).ok(),
        ContentType::MessagePack => message_pack_as_json(&payload.bytes),
        ContentType::None | ContentType::Binary => None,
    }
}

/// The JSON form of a MessagePack value, if it has one: no map keys but texts
/// and numbers, no extension types, no more nesting than JSON readers take.
pub(crate) fn message_pack_as_json(bytes: &[u8]) -> Option<serde_json::Value> {
    /// One less than serde_json reads by default.
    const MAX_DEPTH: usize = 127;
    let mut reader = rmp_serde::Deserializer::new(Cursor::new(bytes));
    reader.set_max_depth(MAX_DEPTH);
    let value = serde::Deserialize::deserialize(&mut reader).ok()?;
    // What follows the value would be lost.
    (reader.position() == bytes.len() as u64).then_some(value)
}

pub(crate) fn content_type(content_type: ContentType) -> api::ContentType {
    match content_type {
        ContentType::None => api::ContentType::None,
        ContentType::MessagePack => api::ContentType::MessagePack,
        ContentType::Json => api::ContentType::Json,
        ContentType::Binary => api::ContentType::Binary,
    }
}

pub(crate) fn core_content_type(content_type: api::ContentType) -> ContentType {
    match content_type {
        api::ContentType::None => ContentType::None,
        api::ContentType::MessagePack => ContentType::MessagePack,
        api::ContentType::Json => ContentType::Json,
        api::ContentType::Binary => ContentType::Binary,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(content_type: ContentType, bytes: Vec<u8>) -> api::Payload {
        payload(&Payload {
            content_type,
            bytes: bytes.into(),
        })
    }

    #[test]
    fn message_pack_is_shown_as_json_where_it_can_be() {
        let bytes = rmp_serde::to_vec(&("a", 7)).unwrap();
        let payload = shown(ContentType::MessagePack, bytes);
        assert_eq!(payload.json, Some(serde_json::json!(["a", 7])));
        assert_eq!(payload.base64, None);
    }

    #[test]
    fn other_bytes_are_shown_as_base64() {
        assert_eq!(
            shown(ContentType::Binary, vec![1, 2]).base64.unwrap(),
            "AQI="
        );
        // Two values where one is expected; a map whose key is a list.
        for bytes in [vec![1, 2], vec![0x81, 0x91, 1, 2]] {
            assert_eq!(shown(ContentType::MessagePack, bytes).json, None);
        }
    }

    #[test]
    fn a_large_payload_is_shown_by_its_beginning() {
        let payload = shown(ContentType::Json, vec![b'1'; MAX_SHOWN + 1]);
        assert_eq!(payload.bytes, 65_537);
        assert!(payload.base64.unwrap().len() < 2 * SHOWN_BEGINNING);
    }

    #[test]
    fn deep_nesting_ends_in_base64_and_not_in_a_crash() {
        let mut bytes = vec![0x91; 10_000];
        bytes.push(0xc0);
        let payload = shown(ContentType::MessagePack, bytes);
        assert_eq!(payload.json, None);
    }
}

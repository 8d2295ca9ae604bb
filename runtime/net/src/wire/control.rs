//! What operators ask, as one node passes it on to another.

use std::time::Duration;

use phoenix_core::control::{
    AgentDetail, AgentInfo, AgentStatus, AskInfo, ClientMessage, ControlError, DeadLetter,
    HandlerInfo, KindInfo, LaneInfo, LetterFilter, LetterId, Letters, LogLine, MailboxInfo,
    NodeInfo, Replayed, Request, RequestInfo, Response, TimerInfo, Verdict,
};
use phoenix_core::journal::SnapshotEvery;
use phoenix_core::taxonomy::{Consistency, Guarantee, Ordering, Overrides};
use phoenix_core::{
    ClientOptions, KindPolicy, Level, Overflow, PeerPath, Protocol, Schedule, SpawnPolicy,
};

use super::codec::{Wire, choice, record};
use super::input::{Input, Malformed};
use super::output::Output;

choice!(Level as "a level" {
    0 => Error,
    1 => Warn,
    2 => Info,
    3 => Debug,
    4 => Trace,
});

choice!(SpawnPolicy as "a spawn policy" {
    0 => OnMessage,
    1 => Explicit,
});

choice!(Overflow as "an overflow policy" {
    0 => Reject,
    1 => DropOldest,
    2 => DropNewest,
    3 => Spill,
    4 => Redirect(to),
});

choice!(Schedule as "a retry schedule" {
    0 => Fixed { wait },
    1 => Linear { first, step, most },
    2 => Exponential { first, most },
});

record!(SnapshotEvery { turns, bytes });

record!(KindPolicy {
    spawn,
    movable,
    durable,
    snapshot_every,
    memory_bytes,
    table_elements,
    turn_deadline,
    turn_slice,
    max_message,
    batch_messages,
    batch_bytes,
    turn_effects,
    answer_bytes,
    mailbox_messages,
    mailbox_bytes,
    mailbox_high,
    mailbox_low,
    overflow,
    spill_bytes,
    outbox_messages,
    outbox_bytes,
    open_asks,
    open_requests,
    timers,
    streams,
    turn_log_bytes,
    rollback_bytes,
    idle_after,
    max_attempts,
    give_up_after,
    retry,
    retry_jitter,
    retry_attempts,
    treatment,
    flow,
    subscriptions,
});

choice!(Consistency as "a consistency" {
    0 => Strong,
    1 => Causal,
    2 => Eventual,
});

choice!(Ordering as "an ordering" {
    0 => Total,
    1 => Causal,
    2 => Fifo,
    3 => Unordered,
});

choice!(Guarantee as "a delivery guarantee" {
    0 => AtMostOnce,
    1 => AtLeastOnce,
    2 => ExactlyOnce,
});

record!(Overrides {
    priority,
    consistency,
    ordering,
    delivery,
});

choice!(Request as "a request" {
    0 => Deploy { kind, component, policy },
    1 => Kinds,
    2 => Spawn { agent, config, on },
    3 => Send { client, messages, timeout },
    4 => Call { client, agent, method, payload, timeout, options },
    5 => Agents { kind, node, after, limit },
    6 => Inspect { agent },
    7 => Migrate { agent, to },
    8 => Hibernate { agent },
    9 => Stop { agent },
    10 => Logs { agent, node, after, limit },
    11 => Nodes,
    12 => DeadLetters { filter, limit },
    13 => JoinToken { valid_for },
    14 => Counters,
    15 => Shutdown,
    16 => DeadLetter { letter },
    17 => ReplayDeadLetters { letters, limit, timeout },
    18 => PurgeDeadLetters { letters },
    19 => Reset { agent, config, force },
    20 => DeclareDead { node },
    21 => SetFlow { target, policy },
    22 => ClearFlow { target },
    23 => Flows { target, scope, node },
});

record!(ClientMessage {
    agent,
    method,
    payload,
    sequence,
    options,
});

record!(ClientOptions {
    overrides,
    ttl,
    expiry,
    report_expired,
    give_up,
    key,
    attributes,
});

choice!(Verdict as "a verdict" {
    0 => Applied,
    1 => Dead { code, detail },
    2 => Refused { expected, reason },
    3 => Unknown,
});

choice!(Response as "a response" {
    0 => Done,
    1 => Deployed(kind),
    2 => Kinds(kinds),
    3 => Spawned { node },
    4 => Sent(verdicts),
    5 => Called(reply),
    6 => Agents(agents),
    7 => Agent(detail),
    8 => Migrated { migration, from, to, pause_us, bytes },
    9 => Hibernated { bytes },
    10 => Logs(lines),
    11 => Nodes(nodes),
    12 => DeadLetters { letters, more },
    13 => JoinToken(token),
    14 => Counters(counters),
    15 => DeadLetter(letter),
    16 => Replayed(replayed),
    17 => Purged { letters },
    18 => Reset { node, incarnation, dead_letters },
    19 => DeclaredDead { node, boot, agents },
    20 => Flows(flows),
});

record!(KindInfo {
    kind,
    component,
    component_bytes,
    framed,
    handlers,
    policy,
});
record!(HandlerInfo { name, interleave });

choice!(AgentStatus as "an agent's status" {
    0 => Resident,
    1 => Hibernated,
    2 => Moving,
    3 => BackingOff,
    4 => Quarantined,
    5 => Stored,
});

record!(AgentInfo {
    agent,
    node,
    status,
    turns,
    mailbox,
    bytes,
    disk_bytes
});

record!(MailboxInfo {
    lanes,
    ends,
    holding,
    held
});

record!(LaneInfo {
    lane,
    messages,
    bytes,
    spilled,
    spilled_bytes,
});

record!(AskInfo {
    ask,
    to,
    made,
    deadline,
    handler,
});

record!(TimerInfo {
    timer,
    method,
    due,
    schedule,
    catch_up,
});

record!(RequestInfo {
    handler,
    from,
    ask,
    deadline,
});

record!(AgentDetail {
    info,
    component,
    incarnation,
    generation,
    pending,
    open_asks,
    asks,
    requests,
    mailbox,
    outbox,
    outbox_bytes,
    outbox_held,
    timers,
    next_timers,
    streams_in,
    streams_out,
    traps,
    last_trap,
    unmovable,
    gates,
    counters,
});

record!(LogLine {
    number,
    at,
    level,
    agent,
    text
});

record!(NodeInfo {
    node,
    address,
    connected,
    directory,
    dead,
    boot,
    version,
    resident,
    hibernated,
    uptime,
    path,
    gate,
});

choice!(Protocol as "a protocol" {
    0 => Process,
    1 => Quic,
    2 => Http2,
});

/// In microseconds.
impl Wire for Duration {
    fn put(&self, out: &mut Output) {
        out.number(u64::try_from(self.as_micros()).unwrap_or(u64::MAX));
    }
    fn get(input: &mut Input) -> Result<Self, Malformed> {
        u64::get(input).map(Self::from_micros)
    }
}

record!(PeerPath {
    node,
    protocol,
    bulk,
    datagrams,
    round_trip,
    reason,
});

record!(LetterId { node, boot, number });

record!(DeadLetter {
    id,
    at,
    reason,
    detail,
    attempts,
    envelope,
});

record!(LetterFilter {
    node,
    kind,
    agent,
    reason,
});

choice!(Letters as "dead letters" {
    0 => One(letter),
    1 => Matching(filter),
});

record!(Replayed { letter, verdict });

choice!(ControlError as "a control error" {
    0 => Invalid(text),
    1 => NotFound(text),
    2 => Conflict(text),
    3 => Unavailable(text),
    4 => Unknown(text),
    5 => Internal(text),
});

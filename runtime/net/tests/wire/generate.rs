//! Messages made up from a seed, every variant of everything among them.

mod flow;

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use phoenix_core::attributes::Value;
use phoenix_core::control::{
    AgentDetail, AgentInfo, AgentStatus, AskInfo, ClientMessage, ControlError, DeadLetter,
    HandlerInfo, KindInfo, LaneInfo, LetterFilter, LetterId, Letters, LogLine, MailboxInfo,
    NodeInfo, Replayed, Request, RequestInfo, Response, TimerInfo, Verdict,
};
use phoenix_core::directory::{DirectoryAnswer, DirectoryCommand, Ownership};
use phoenix_core::journal::SnapshotEvery;
use phoenix_core::migration::MigrationMessage;
use phoenix_core::taxonomy::{Consistency, Guarantee, Ordering, Overrides};
use phoenix_core::{
    Acknowledgement, AgentId, Ask, AskLink, AskNotice, Attributes, Body, Bounce, ClientId,
    ClientOptions, ContentType, DeadReason, Digest, Envelope, Epoch, Expiry, Extras, Failure,
    Incarnation, KindName, KindPolicy, Lane, Level, MAX_PROBE_LINKS, Member, MigrationId, Millis,
    NodeId, Notice, Original, Overflow, Payload, PeerMessage, PeerPath, Probe, Protocol, Refusal,
    Reply, ReplyTo, Schedule, Sender, Sequence, SkipReason, SpawnPolicy, StreamKey,
};

/// SplitMix64 (Steele, Lea, Flood).
pub(crate) struct Generator(pub(crate) u64);

impl Generator {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    /// Numbers of every length.
    fn number(&mut self) -> u64 {
        let bits = self.below(65);
        if bits == 0 {
            0
        } else {
            self.next() >> (64 - bits)
        }
    }

    fn small(&mut self) -> u32 {
        u32::try_from(self.number() & 0xffff_ffff).unwrap()
    }

    fn flag(&mut self) -> bool {
        self.next() & 1 == 1
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    fn option<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.flag().then(|| make(self))
    }

    fn list<T>(&mut self, most: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = self.below(most + 1);
        (0..count).map(|_| make(self)).collect()
    }

    fn text(&mut self) -> String {
        let length = self.pick(&[0, 1, 5, 30]);
        (0..length)
            .map(|_| self.pick(&['a', 'é', '\n', '"', '漢', '\0']))
            .collect()
    }

    fn shared_text(&mut self) -> Arc<str> {
        self.text().into()
    }

    pub(crate) fn bytes(&mut self) -> Bytes {
        // On both sides of what is copied and what is kept as it is.
        let length = self.pick(&[0, 1, 100, 4_095, 4_096, 20_000]);
        let first = self.next().to_le_bytes()[0];
        (0..length)
            .map(|at: usize| first ^ at.to_le_bytes()[0])
            .collect()
    }

    fn agent(&mut self) -> AgentId {
        let (kind, key) = (self.pick(&["visitor", "a", "x-1_y"]), self.below(4));
        AgentId::new(&format!("{kind}/{key}é")).unwrap()
    }

    fn kind(&mut self) -> KindName {
        KindName::new(self.pick(&["counter", "b-2"])).unwrap()
    }

    fn client(&mut self) -> ClientId {
        ClientId::new(self.pick(&["c", "Client.7_x-y"])).unwrap()
    }

    fn node(&mut self) -> NodeId {
        NodeId(self.small())
    }

    fn millis(&mut self) -> Millis {
        Millis(self.number())
    }

    fn migration(&mut self) -> MigrationId {
        MigrationId((u128::from(self.next()) << 64) | u128::from(self.next()))
    }

    fn digest(&mut self) -> Digest {
        Digest::of(&self.next().to_le_bytes())
    }

    fn incarnation(&mut self) -> Incarnation {
        Incarnation {
            generation: self.number(),
            boot: self.number(),
            count: self.number(),
        }
    }

    fn payload(&mut self) -> Payload {
        use ContentType::{Binary, Json, MessagePack, None};
        Payload {
            content_type: self.pick(&[None, MessagePack, Json, Binary]),
            bytes: self.bytes().into(),
        }
    }

    fn failure(&mut self) -> Failure {
        Failure {
            code: self.shared_text(),
            message: self.shared_text(),
            details: self.payload(),
        }
    }

    fn sender(&mut self) -> Sender {
        match self.below(3) {
            0 => Sender::Agent(self.agent(), self.incarnation()),
            1 => Sender::Client(self.client(), self.node()),
            _ => Sender::System,
        }
    }

    fn lane(&mut self) -> Lane {
        self.pick(&[Lane::High, Lane::Normal, Lane::Low, Lane::Bulk, Lane::Reply])
    }

    fn reply(&mut self) -> Reply {
        match self.below(6) {
            0 => Reply::Ok(self.payload()),
            1 => Reply::Failed(Box::new(self.failure())),
            2 => Reply::Timeout,
            3 => Reply::Bounced(self.shared_text()),
            4 => Reply::Deadlock,
            _ => Reply::Unavailable(self.shared_text()),
        }
    }

    fn reply_to(&mut self) -> ReplyTo {
        if self.flag() {
            ReplyTo::Agent(self.agent(), self.incarnation())
        } else {
            ReplyTo::Client(self.node())
        }
    }

    /// One that a client is given, which no envelope carries too.
    fn answer(&mut self) -> Reply {
        match self.below(7) {
            0 => Reply::TurnedDown(Box::new(self.turned_down())),
            _ => self.reply(),
        }
    }

    fn ask(&mut self) -> Ask {
        Ask {
            id: self.number(),
            reply_to: self.reply_to(),
            deadline: self.millis(),
        }
    }

    fn stream(&mut self) -> Arc<StreamKey> {
        StreamKey::shared(self.sender(), self.agent(), self.lane())
    }

    /// Attributes as a client may say them, of every kind.
    fn attributes(&mut self) -> Attributes {
        let mut attributes = Attributes::new();
        let mut set = |name: &str, value: Value| attributes.set(name, &value).unwrap();
        for (name, values) in [
            ("id", ["A234-1234-1234", "é 1"]),
            ("source", ["https://example.com/cart", "/cart#%41"]),
            (
                "type",
                ["com.example.order.created", "phoenix.data.order.add"],
            ),
            ("subject", ["order 7", "a/b/c"]),
            (
                "time",
                ["2018-04-05T17:31:00Z", "1969-12-31T23:59:59.000000001Z"],
            ),
            ("dataschema", ["https://example.com/order.xsd", "urn:x"]),
            ("tracestate", ["rojo=00f067aa0ba902b7", "a=1,b@c= 2"]),
            ("causationid", ["A234-1234-1233", "\"%\""]),
            ("correlationid", ["cart 12", "漢"]),
            ("priority", ["high", "bulk"]),
            ("delivery", ["at-least-once", "exactly-once"]),
            ("consistency", ["strong", "eventual"]),
            ("ordering", ["fifo", "unordered"]),
            ("partitionkey", ["eu", "us"]),
            (
                "deadline",
                ["1970-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z"],
            ),
            ("comexampletext", ["", "a \\ \"b\" \u{2028}"]),
            ("comexampletrue", ["true", "-7"]),
        ] {
            if self.below(3) == 0 {
                set(name, Value::text(self.pick(&values)));
            }
        }
        if self.flag() {
            let parent = format!("00-{:032x}-{:016x}-01", self.next(), self.next() | 1);
            set("traceparent", Value::text(parent));
        } else {
            // A state without its parent is none.
            attributes.set_trace_parent(None);
        }
        if self.flag() {
            let number = Value::Integer(self.small().cast_signed());
            attributes.set("comexamplenumber", &number).unwrap();
            let flag = Value::Boolean(self.flag());
            attributes.set("comexampleflag", &flag).unwrap();
        }
        attributes
    }

    /// An envelope that says nothing twice, as the host makes them: its event is
    /// exactly it. Its payload may be large, and of every kind.
    pub(crate) fn plain_envelope(&mut self) -> Envelope {
        let mut envelope = Arc::unwrap_or_clone(self.envelope());
        self.make_plain(&mut envelope);
        envelope
    }

    fn make_plain(&mut self, envelope: &mut Envelope) {
        let at = |millis: &mut Millis, number: u64| {
            *millis = if number & 7 == 0 {
                Millis::NEVER
            } else {
                Millis(number % 253_402_300_800_000)
            };
        };
        if let Some(sequence) = &mut envelope.sequence {
            at(&mut sequence.give_up, self.next());
        }
        let mut asks = false;
        let mut content = None;
        match &mut envelope.body {
            Body::Message { payload, ask, .. }
            | Body::Spawn {
                config: payload,
                ask,
            } => {
                if let Some(ask) = ask {
                    at(&mut ask.deadline, self.next());
                    asks = true;
                }
                content = Some(payload);
            }
            Body::Bounce(bounce) => content = Some(&mut bounce.payload),
            Body::Reply { reply, .. } => match reply {
                Reply::Ok(payload) => content = Some(payload),
                Reply::Failed(failure) => content = Some(&mut failure.details),
                _ => {}
            },
        }
        let content = content.map_or(ContentType::None, |payload| {
            *payload = self.event_payload();
            payload.content_type
        });
        let is_client = matches!(envelope.sender(), Sender::Client(..));
        let guarantee = if envelope.sequence.is_some() {
            "exactly-once"
        } else {
            "at-most-once"
        };
        let Some(extras) = &mut envelope.extras else {
            return;
        };
        if let Some(expiry) = &mut extras.expiry {
            // Never is not said.
            expiry.at.0 = self.next() % 253_402_300_800_000;
        }
        let mut plain = Attributes::new();
        let said = extras.attributes.take().unwrap_or_default();
        for (name, value) in said.fields() {
            let said = match name {
                "id" | "source" => is_client,
                "priority" => false,
                "delivery" => value != Value::text(guarantee),
                "deadline" => !asks,
                _ => true,
            };
            if said {
                plain.set(name, &value).unwrap();
            }
        }
        if self.flag() {
            let media_type = match content {
                ContentType::Json => "application/problem+json; charset=utf-8",
                ContentType::MessagePack => "application/x-msgpack",
                ContentType::Binary => "Text/Plain",
                ContentType::None => "application/xml",
            };
            plain
                .set("datacontenttype", &Value::text(media_type))
                .unwrap();
        }
        extras.attributes = plain.shared();
        if **extras == Extras::default() {
            envelope.extras = None;
        }
    }

    /// A payload that is what its content type says, or not.
    fn event_payload(&mut self) -> Payload {
        use ContentType::{Binary, Json, MessagePack};
        let texts: [&'static [u8]; 8] = [
            b"{\"by\": [1, 2.5, \"\\u00e9\"]}",
            b"null",
            b"\"text\"",
            b" {}\n",
            b"{\"half\":",
            b"",
            "é\n\0".as_bytes(),
            b"\xff\xfe",
        ];
        match self.below(4) {
            0 => Payload::default(),
            1 => Payload {
                content_type: self.pick(&[MessagePack, Json, Binary]),
                bytes: self.bytes().into(),
            },
            _ => Payload {
                content_type: self.pick(&[Json, Json, Binary]),
                bytes: self.pick(&texts).into(),
            },
        }
    }

    fn envelope(&mut self) -> Arc<Envelope> {
        Arc::new(Envelope {
            stream: self.stream(),
            sequence: self.option(|g| {
                let number = g.number().max(1);
                Sequence {
                    number,
                    base: NonZeroU64::new(number - g.number() % number).unwrap(),
                    give_up: g.millis(),
                }
            }),
            body: match self.below(4) {
                0 => Body::Message {
                    method: self.pick(&["add", "a", ""]).into(),
                    payload: self.payload(),
                    ask: self.option(|g| Box::new(g.ask())),
                },
                1 => Body::Reply {
                    ask: self.number(),
                    asker: self.incarnation(),
                    reply: self.reply(),
                },
                2 => Body::Bounce(Box::new(Bounce {
                    to: self.agent(),
                    method: self.shared_text().into(),
                    payload: self.payload(),
                    reason: self.shared_text(),
                    unsure: self.flag(),
                })),
                _ => Body::Spawn {
                    config: self.payload(),
                    ask: self.option(|g| Box::new(g.ask())),
                },
            },
            extras: self.option(|g| {
                Box::new(Extras {
                    expiry: g.option(|g| Expiry {
                        at: g.millis(),
                        report: g.flag(),
                    }),
                    original: g.option(|g| Original {
                        sender: g.sender(),
                        receiver: g.agent(),
                        number: g.option(Self::number),
                        redirects: g.pick(&[0, 4, 255]),
                    }),
                    attributes: g.option(Self::attributes).and_then(Attributes::shared),
                })
            }),
        })
    }

    fn dead_reason(&mut self) -> DeadReason {
        match self.below(13) {
            0 => DeadReason::Trapped(self.shared_text()),
            1 => DeadReason::NoSuchKind,
            2 => DeadReason::NoSuchAgent,
            3 => DeadReason::Stopped,
            4 => DeadReason::TooLarge,
            5 => DeadReason::Forgotten,
            6 => DeadReason::InitFailed(self.shared_text()),
            7 => DeadReason::Quarantined(self.shared_text()),
            8 => DeadReason::Reset,
            9 => DeadReason::Overflow,
            10 => DeadReason::Expired,
            11 => DeadReason::NoCredit,
            _ => DeadReason::GaveUp,
        }
    }

    fn acknowledgement(&mut self) -> Acknowledgement {
        Acknowledgement {
            stream: self.stream(),
            notice: match self.below(4) {
                0 => Notice::Applied {
                    after: self.number(),
                    through: self.number(),
                },
                1 => Notice::Skipped {
                    number: self.number(),
                    reason: match self.below(5) {
                        4 => SkipReason::TurnedDown(self.shared_text()),
                        0 => SkipReason::Expired,
                        1 => SkipReason::Cancelled,
                        2 => SkipReason::Redirected,
                        _ => SkipReason::Dead(self.dead_reason()),
                    },
                },
                2 => Notice::Credit {
                    taken: self.number(),
                    window: self.number(),
                },
                _ => Notice::Refused {
                    expected: self.number(),
                    number: self.number(),
                    refusal: match self.below(5) {
                        0 => Refusal::MailboxFull,
                        1 => Refusal::OutOfOrder,
                        2 => Refusal::Busy,
                        3 => Refusal::JournalFull,
                        _ => Refusal::Flow(self.flow_notice()),
                    },
                },
            },
        }
    }

    fn step(&mut self) -> MigrationMessage {
        use MigrationMessage as M;
        let migration = self.migration();
        match self.below(10) {
            0 => M::Prepare {
                migration,
                agent: self.agent(),
                component: self.digest(),
                durable: self.flag(),
            },
            1 => M::Ready { migration },
            2 => M::Ship {
                migration,
                offset: self.number(),
                total: self.number(),
                bytes: self.bytes(),
            },
            3 => M::Staged { migration },
            4 => M::Refused {
                migration,
                reason: self.text(),
            },
            5 => M::Activate {
                migration,
                epoch: self.epoch(),
            },
            6 => M::Activated { migration },
            7 => M::Released { migration },
            8 => M::Cancelled { migration },
            _ => M::Unknown { migration },
        }
    }

    fn epoch(&mut self) -> Epoch {
        Epoch {
            generation: self.number(),
            term: self.number(),
        }
    }

    fn command(&mut self) -> DirectoryCommand {
        use DirectoryCommand as C;
        let (agent, migration, generation) = (self.agent(), self.migration(), self.number());
        match self.below(7) {
            0 => C::Place {
                agent,
                prefer: self.option(Self::node),
            },
            1 => C::Move {
                agent,
                migration,
                generation,
                from: self.node(),
                to: self.node(),
            },
            2 => C::Abort {
                agent,
                migration,
                generation,
                from: self.node(),
            },
            3 => C::Settle { agent, migration },
            4 => C::Claim {
                agent,
                migration,
                by: self.node(),
            },
            5 => C::Reclaim {
                agent,
                migration,
                by: self.node(),
            },
            _ => C::Forget { agent, generation },
        }
    }

    fn directory_answer(&mut self) -> DirectoryAnswer {
        let ownership = Ownership {
            owner: self.node(),
            epoch: self.epoch(),
            life: self.number(),
        };
        match self.below(4) {
            0 => DirectoryAnswer::Owned(ownership),
            1 => DirectoryAnswer::Lost(ownership),
            2 => DirectoryAnswer::Unclaimed(self.migration()),
            _ => DirectoryAnswer::InDoubt(self.text()),
        }
    }

    fn policy(&mut self) -> Box<KindPolicy> {
        Box::new(KindPolicy {
            spawn: self.pick(&[SpawnPolicy::OnMessage, SpawnPolicy::Explicit]),
            movable: self.flag(),
            durable: self.flag(),
            snapshot_every: SnapshotEvery {
                turns: self.small(),
                bytes: self.number(),
            },
            memory_bytes: self.number(),
            turn_deadline: self.millis(),
            batch_messages: self.small(),
            mailbox_bytes: self.number(),
            mailbox_high: self.small(),
            mailbox_low: self.small(),
            overflow: match self.below(5) {
                0 => Overflow::Reject,
                1 => Overflow::DropOldest,
                2 => Overflow::DropNewest,
                3 => Overflow::Spill,
                _ => Overflow::Redirect(self.agent()),
            },
            spill_bytes: self.number(),
            max_attempts: self.small(),
            retry: match self.below(3) {
                0 => Schedule::Fixed {
                    wait: self.millis(),
                },
                1 => Schedule::Linear {
                    first: self.millis(),
                    step: self.millis(),
                    most: self.millis(),
                },
                _ => Schedule::Exponential {
                    first: self.millis(),
                    most: self.millis(),
                },
            },
            retry_jitter: self.small(),
            retry_attempts: self.small(),
            treatment: self.overrides(),
            flow: self.option(Self::flow_policy),
            ..KindPolicy::default()
        })
    }

    fn overrides(&mut self) -> Overrides {
        Overrides {
            priority: self.option(|g| g.pick(&Lane::MESSAGES)),
            consistency: self.option(|g| g.pick(Consistency::ALL)),
            ordering: self.option(|g| g.pick(Ordering::ALL)),
            delivery: self.option(|g| g.pick(Guarantee::ALL)),
        }
    }

    fn client_options(&mut self) -> Box<ClientOptions> {
        Box::new(ClientOptions {
            overrides: self.overrides(),
            ttl: self.option(Self::millis),
            expiry: self.option(Self::millis),
            report_expired: self.flag(),
            give_up: self.option(Self::millis),
            key: self.option(Self::shared_text),
            attributes: self.option(|g| Arc::new(g.attributes())),
        })
    }

    fn kind_info(&mut self) -> KindInfo {
        KindInfo {
            kind: self.kind(),
            component: self.digest(),
            component_bytes: self.number(),
            framed: self.flag(),
            handlers: self.list(3, |g| HandlerInfo {
                name: g.shared_text(),
                interleave: g.flag(),
            }),
            policy: self.policy(),
        }
    }

    fn request(&mut self) -> Request {
        use Request as R;
        let (agent, client) = (self.agent(), self.client());
        let (node, limit) = (self.option(Self::node), self.small());
        match self.below(24) {
            20 => R::SetFlow {
                target: self.flow_target(),
                policy: self.flow_policy(),
            },
            21 => R::ClearFlow {
                target: self.flow_target(),
            },
            22 => R::Flows {
                target: self.option(Self::flow_target),
                scope: self.option(Self::flow_scope),
                node,
            },
            0 => R::Deploy {
                kind: self.kind(),
                component: self.bytes(),
                policy: self.policy(),
            },
            1 => R::Kinds,
            2 => R::Spawn {
                agent,
                config: self.payload(),
                on: node,
            },
            3 => R::Send {
                client,
                messages: self.list(3, |g| ClientMessage {
                    agent: g.agent(),
                    method: g.shared_text(),
                    payload: g.payload(),
                    sequence: g.option(Self::number),
                    options: g.option(Self::client_options),
                }),
                timeout: self.millis(),
            },
            4 => R::Call {
                client,
                agent,
                method: self.shared_text(),
                payload: self.payload(),
                timeout: self.millis(),
                options: self.option(Self::client_options),
            },
            5 => R::Agents {
                kind: self.option(Self::kind),
                node,
                after: self.option(Self::agent),
                limit,
            },
            6 => R::Inspect { agent },
            7 => R::Migrate {
                agent,
                to: self.node(),
            },
            8 => R::Hibernate { agent },
            9 => R::Stop { agent },
            10 => R::Logs {
                agent: self.option(Self::agent),
                node,
                after: self.option(Self::number),
                limit,
            },
            11 => R::Nodes,
            12 => R::DeadLetters {
                filter: self.letter_filter(),
                limit,
            },
            13 => R::JoinToken {
                valid_for: self.millis(),
            },
            14 => R::Counters,
            15 => R::Shutdown,
            16 => R::DeadLetter {
                letter: self.letter_id(),
            },
            17 => R::ReplayDeadLetters {
                letters: self.letters(),
                limit,
                timeout: self.millis(),
            },
            18 => R::PurgeDeadLetters {
                letters: self.letters(),
            },
            19 => R::Reset {
                agent,
                config: self.payload(),
                force: self.flag(),
            },
            _ => R::DeclareDead { node: self.node() },
        }
    }

    fn agent_info(&mut self) -> AgentInfo {
        use AgentStatus::{BackingOff, Hibernated, Moving, Quarantined, Resident, Stored};
        AgentInfo {
            agent: self.agent(),
            node: self.node(),
            status: self.pick(&[
                Resident,
                Hibernated,
                Moving,
                BackingOff,
                Quarantined,
                Stored,
            ]),
            turns: self.number(),
            mailbox: self.number(),
            bytes: self.number(),
            disk_bytes: self.number(),
        }
    }

    fn agent_detail(&mut self) -> Box<AgentDetail> {
        Box::new(AgentDetail {
            info: self.agent_info(),
            component: self.digest(),
            incarnation: self.incarnation(),
            generation: self.number(),
            pending: self.number(),
            open_asks: self.number(),
            asks: self.list(3, |g| AskInfo {
                ask: g.number(),
                to: g.agent(),
                made: g.millis(),
                deadline: g.millis(),
                handler: g.option(Self::number),
            }),
            requests: self.list(3, |g| RequestInfo {
                handler: g.number(),
                from: g.reply_to(),
                ask: g.number(),
                deadline: g.millis(),
            }),
            mailbox: MailboxInfo {
                lanes: self.list(4, |g| LaneInfo {
                    lane: g.lane(),
                    messages: g.number(),
                    bytes: g.number(),
                    spilled: g.number(),
                    spilled_bytes: g.number(),
                }),
                ends: self.number(),
                holding: self.flag(),
                held: self.number(),
            },
            outbox: self.number(),
            outbox_bytes: self.number(),
            outbox_held: self.number(),
            timers: self.number(),
            next_timers: self.list(2, |g| TimerInfo {
                timer: g.number(),
                method: g.text().into(),
                due: g.millis(),
                schedule: g.text().into(),
                catch_up: g.text().into(),
            }),
            streams_in: self.number(),
            streams_out: self.number(),
            traps: self.number(),
            last_trap: self.option(Self::shared_text),
            unmovable: self.option(Self::shared_text),
            gates: self.list(2, Self::flow_info),
            counters: self.list(3, |g| (g.text(), g.number())),
        })
    }

    fn log_line(&mut self) -> LogLine {
        use Level::{Debug, Error, Info, Trace, Warn};
        LogLine {
            number: self.number(),
            at: self.millis(),
            level: self.pick(&[Error, Warn, Info, Debug, Trace]),
            agent: self.option(Self::agent),
            text: self.shared_text(),
        }
    }

    fn node_info(&mut self) -> NodeInfo {
        NodeInfo {
            node: self.node(),
            address: self.text(),
            connected: self.flag(),
            directory: self.flag(),
            dead: self.flag(),
            boot: self.option(Self::number),
            version: self.text(),
            resident: self.number(),
            hibernated: self.number(),
            uptime: self.millis(),
            path: self.option(|g| PeerPath {
                node: g.node(),
                protocol: g.option(Self::protocol),
                bulk: g.option(Self::protocol),
                datagrams: g.flag(),
                round_trip: g.option(|g| Duration::from_micros(g.number())),
                reason: g.text(),
            }),
            gate: self.option(|g| Box::new(g.flow_info())),
        }
    }

    fn protocol(&mut self) -> Protocol {
        self.pick(&[Protocol::Process, Protocol::Quic, Protocol::Http2])
    }

    fn dead_letter(&mut self) -> DeadLetter {
        DeadLetter {
            id: self.letter_id(),
            at: self.millis(),
            reason: self.shared_text(),
            detail: self.shared_text(),
            attempts: self.small(),
            envelope: self.envelope(),
        }
    }

    fn letter_id(&mut self) -> LetterId {
        LetterId {
            node: self.node(),
            boot: self.number(),
            number: self.number(),
        }
    }

    fn letter_filter(&mut self) -> LetterFilter {
        LetterFilter {
            node: self.option(Self::node),
            kind: self.option(Self::kind),
            agent: self.option(Self::agent),
            reason: self.option(Self::shared_text),
        }
    }

    fn letters(&mut self) -> Letters {
        if self.flag() {
            Letters::One(self.letter_id())
        } else {
            Letters::Matching(self.letter_filter())
        }
    }

    fn verdict(&mut self) -> Verdict {
        match self.below(4) {
            0 => Verdict::Applied,
            1 => Verdict::Dead {
                code: self.shared_text(),
                detail: self.shared_text(),
            },
            2 => Verdict::Refused {
                expected: self.option(Self::number),
                reason: self.shared_text(),
            },
            _ => Verdict::Unknown,
        }
    }

    fn response(&mut self) -> Result<Response, ControlError> {
        use Response as R;
        if self.below(4) == 0 {
            let make = self.pick(&[
                ControlError::Invalid as fn(String) -> ControlError,
                ControlError::NotFound,
                ControlError::Conflict,
                ControlError::Unavailable,
                ControlError::Unknown,
                ControlError::Internal,
            ]);
            return Err(make(self.text()));
        }
        Ok(match self.below(21) {
            0 => R::Done,
            20 => R::Flows(self.list(3, Self::flow_info)),
            1 => R::Deployed(self.kind_info()),
            2 => R::Kinds(self.list(3, Self::kind_info)),
            3 => R::Spawned { node: self.node() },
            4 => R::Sent(self.list(5, Self::verdict)),
            5 => R::Called(self.answer()),
            6 => R::Agents(self.list(3, Self::agent_info)),
            7 => R::Agent(self.agent_detail()),
            8 => R::Migrated {
                migration: self.migration(),
                from: self.node(),
                to: self.node(),
                pause_us: self.number(),
                bytes: self.number(),
            },
            9 => R::Hibernated {
                bytes: self.number(),
            },
            10 => R::Logs(self.list(3, Self::log_line)),
            11 => R::Nodes(self.list(3, Self::node_info)),
            12 => R::DeadLetters {
                letters: self.list(3, Self::dead_letter),
                more: self.flag(),
            },
            13 => R::JoinToken(self.text()),
            14 => R::Counters(self.list(3, |g| (g.text(), g.number()))),
            15 => R::DeadLetter(Box::new(self.dead_letter())),
            16 => R::Replayed(self.list(3, |g| Replayed {
                letter: g.letter_id(),
                verdict: g.verdict(),
            })),
            17 => R::Purged {
                letters: self.number(),
            },
            18 => R::Reset {
                node: self.node(),
                incarnation: self.incarnation(),
                dead_letters: self.number(),
            },
            _ => R::DeclaredDead {
                node: self.node(),
                boot: self.number(),
                agents: self.number(),
            },
        })
    }

    fn ask_link(&mut self) -> AskLink {
        AskLink {
            asker: self.agent(),
            incarnation: self.incarnation(),
            ask: self.number(),
            made: self.millis(),
            lane: self.lane(),
            number: self.number(),
        }
    }

    fn ask_notice(&mut self) -> AskNotice {
        if self.flag() {
            return AskNotice::Cancel {
                to: self.agent(),
                ask: self.ask_link(),
            };
        }
        AskNotice::Probe(Box::new(Probe {
            to: self.agent(),
            sent: self.millis(),
            budget: self.number() as u16,
            again: self.option(|g| g.number() as u16),
            links: self.list(MAX_PROBE_LINKS, Self::ask_link),
        }))
    }

    /// How many kinds of messages there are.
    pub(crate) const VARIANTS: usize = 24;

    /// A message of one of the kinds.
    pub(crate) fn message(&mut self, variant: usize) -> PeerMessage {
        use PeerMessage as P;
        match variant {
            0 => P::Deliver(self.list(8, Self::envelope)),
            1 => P::Acknowledge(self.list(8, Self::acknowledgement)),
            2 => P::Answer {
                ask: self.number(),
                reply: self.answer(),
            },
            3 => P::Moved {
                agent: self.agent(),
                to: self.node(),
                generation: self.number(),
            },
            4 => P::Marker {
                agent: self.agent(),
                origin: self.node(),
                marker: self.number(),
            },
            5 => P::MarkerSeen {
                agent: self.agent(),
                marker: self.number(),
            },
            6 => P::Migration(self.step()),
            7 => P::DirectoryAsk {
                id: self.number(),
                command: self.command(),
            },
            8 => P::DirectoryAnswer {
                id: self.number(),
                answer: self.directory_answer(),
            },
            9 => P::ComponentWanted {
                component: self.digest(),
            },
            10 => P::ComponentPart {
                component: self.digest(),
                offset: self.number(),
                total: self.number(),
                bytes: self.bytes(),
            },
            11 => P::Kind(self.kind_info()),
            12 => P::Members(self.list(4, |g| Member {
                node: g.node(),
                address: g.text(),
            })),
            13 => P::ControlAsk {
                id: self.number(),
                request: self.request(),
            },
            14 => P::ControlAnswer {
                id: self.number(),
                response: Box::new(self.response()),
            },
            15 => P::Forward {
                origin: self.node(),
                envelopes: self.list(8, Self::envelope),
            },
            16 => P::ForwardVerdicts {
                hops: self.number() as u8,
                acknowledgements: self.list(8, Self::acknowledgement),
            },
            17 => P::ComponentMissing {
                component: self.digest(),
            },
            18 => P::DeclaredDead {
                node: self.node(),
                boot: self.number(),
            },
            19 => P::Leaving,
            21 => P::Flows(self.attached_flows()),
            22 => P::LeaseAsk(self.lease_ask()),
            23 => P::LeaseGrant(self.lease_grant()),
            _ => P::AskNotice {
                hops: self.number() as u8,
                notice: self.ask_notice(),
            },
        }
    }
}

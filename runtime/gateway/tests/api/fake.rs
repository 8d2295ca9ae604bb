//! A node that is none: it answers every request from a script, and remembers
//! what it was asked.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};

use phoenix_core::control::{
    AgentDetail, AgentInfo, AgentStatus, Control, ControlError, DeadLetter, Done, HandlerInfo,
    KindInfo, LaneInfo, LetterId, Letters, LogLine, MailboxInfo, NodeInfo, Replayed, Request,
    Response, TimerInfo, Verdict,
};
use phoenix_core::flow::{
    BreakerInfo, BreakerState, Fill, FlowField, FlowFields, FlowInfo, FlowNotice, FlowScope,
    FlowValue, GateInfo, LastFailure, TurnedDown, TurnedDownBy, Unit,
};
use phoenix_core::{
    AgentId, Ask, Body, ClientId, ContentType, Digest, Envelope, Extras, Failure, Incarnation,
    KindName, KindPolicy, Lane, Level, MigrationId, Millis, NodeId, Original, Payload, PeerPath,
    Protocol, Reply, ReplyTo, Sender, Sequence, StreamKey,
};

type Answer = Box<dyn Fn(&Request) -> Option<Result<Response, ControlError>> + Send + Sync>;

/// The pretended node.
#[derive(Default)]
pub(crate) struct FakeControl {
    /// What it was asked, in order.
    pub(crate) asked: Mutex<Vec<Request>>,
    /// Asked first; `None` falls back to [`usual`].
    pub(crate) script: Mutex<Option<Answer>>,
    /// Requests it keeps without answering, if it was told to.
    pub(crate) held: Mutex<Option<Vec<Done>>>,
}

impl FakeControl {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// From now on `answer` comes first.
    pub(crate) fn script(
        &self,
        answer: impl Fn(&Request) -> Option<Result<Response, ControlError>> + Send + Sync + 'static,
    ) {
        *self.script.lock().unwrap() = Some(Box::new(answer));
    }

    /// From now on it fails with this.
    pub(crate) fn fail(&self, error: ControlError) {
        self.script(move |_| Some(Err(error.clone())));
    }

    /// From now on calls end like this.
    pub(crate) fn reply(&self, reply: Reply) {
        self.script(move |_| Some(Ok(Response::Called(reply.clone()))));
    }

    /// From now on requests are kept.
    pub(crate) fn hold(&self) {
        *self.held.lock().unwrap() = Some(Vec::new());
    }

    /// How many are kept.
    pub(crate) fn holding(&self) -> usize {
        self.held.lock().unwrap().as_ref().map_or(0, Vec::len)
    }

    /// Answers or drops what is kept, and keeps no more.
    pub(crate) fn release(&self, answer: Option<Response>) {
        for done in self.held.lock().unwrap().take().unwrap_or_default() {
            if let Some(answer) = &answer {
                done(Ok(answer.clone()));
            }
        }
    }

    /// The last thing it was asked.
    pub(crate) fn last(&self) -> Request {
        self.asked.lock().unwrap().last().cloned().unwrap()
    }

    /// How often it was asked anything.
    pub(crate) fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Control for FakeControl {
    fn submit(&self, request: Request, done: Done) {
        self.asked.lock().unwrap().push(request.clone());
        if let Some(held) = self.held.lock().unwrap().as_mut() {
            held.push(done);
            return;
        }
        let scripted = {
            let script = self.script.lock().unwrap();
            script.as_ref().and_then(|script| script(&request))
        };
        done(scripted.unwrap_or_else(|| usual(request)));
    }
}

/// What a healthy node with one kind, one agent and two nodes says.
pub(crate) fn usual(request: Request) -> Result<Response, ControlError> {
    Ok(match request {
        Request::Deploy {
            kind,
            component,
            policy,
        } => Response::Deployed(KindInfo {
            component: Digest::of(&component),
            component_bytes: component.len() as u64,
            policy,
            kind,
            ..counter()
        }),
        Request::Kinds => Response::Kinds(vec![counter()]),
        Request::Spawn { on, .. } => Response::Spawned {
            node: on.unwrap_or(NodeId(1)),
        },
        Request::Send { messages, .. } => {
            Response::Sent(messages.iter().map(|_| Verdict::Applied).collect())
        }
        // Answers with what it was given.
        Request::Call { payload, .. } => Response::Called(Reply::Ok(payload)),
        Request::Agents { after, limit, .. } => Response::Agents(
            (0..250)
                .map(|key| alice(&format!("counter/{key:03}")))
                .filter(|info| after.as_ref().is_none_or(|after| info.agent > *after))
                .take(limit as usize)
                .collect(),
        ),
        Request::Inspect { agent } => Response::Agent(Box::new(detail(agent.as_str()))),
        Request::Migrate { to, .. } => Response::Migrated {
            migration: MigrationId(7),
            from: NodeId(1),
            to,
            pause_us: 180,
            bytes: 2_048,
        },
        Request::Hibernate { .. } => Response::Hibernated { bytes: 301 },
        Request::Reset { .. } => Response::Reset {
            node: NodeId(1),
            incarnation: LIFE,
            dead_letters: 2,
        },
        Request::Stop { .. } | Request::Shutdown => Response::Done,
        Request::Logs { after, .. } => Response::Logs(
            log()
                .into_iter()
                .filter(|line| after.is_none_or(|after| line.number > after))
                .collect(),
        ),
        Request::Nodes => Response::Nodes(vec![node(1), node(2)]),
        Request::DeclareDead { node } => Response::DeclaredDead {
            node,
            boot: 5,
            agents: 40,
        },
        Request::DeadLetters { limit, .. } => Response::DeadLetters {
            letters: [9, 10]
                .map(dead_letter)
                .into_iter()
                .take(limit as usize)
                .collect(),
            more: limit < 2,
        },
        Request::DeadLetter { letter: id } => Response::DeadLetter(Box::new(letter(id)?)),
        Request::ReplayDeadLetters { letters, .. } => {
            let verdict = Verdict::Applied;
            Response::Replayed(match letters {
                Letters::One(id) => vec![Replayed {
                    letter: letter(id)?.id,
                    verdict,
                }],
                Letters::Matching(_) => [9, 10]
                    .map(|number| Replayed {
                        letter: dead_letter(number).id,
                        verdict: verdict.clone(),
                    })
                    .into(),
            })
        }
        Request::PurgeDeadLetters { letters } => Response::Purged {
            letters: match letters {
                Letters::One(id) => letter(id).map(|_| 1)?,
                Letters::Matching(_) => 2,
            },
        },
        Request::SetFlow { .. } | Request::ClearFlow { .. } => Response::Done,
        Request::Flows { scope, .. } => Response::Flows(match scope {
            None => vec![flow()],
            Some(_) => Vec::new(),
        }),
        Request::JoinToken { .. } => Response::JoinToken("phx1-secret".to_owned()),
        Request::Counters => Response::Counters(vec![
            ("mailbox.rejected".to_owned(), 0),
            ("turns".to_owned(), 42),
        ]),
    })
}

pub(crate) fn counter() -> KindInfo {
    KindInfo {
        kind: KindName::new("counter").unwrap(),
        component: Digest([0xab; 32]),
        component_bytes: 65_536,
        framed: true,
        handlers: vec![
            HandlerInfo {
                name: "add".into(),
                interleave: false,
            },
            HandlerInfo {
                name: "total".into(),
                interleave: true,
            },
        ],
        policy: Box::new(KindPolicy::default()),
    }
}

pub(crate) fn alice(id: &str) -> AgentInfo {
    AgentInfo {
        agent: AgentId::new(id).unwrap(),
        node: NodeId(1),
        status: AgentStatus::Resident,
        turns: 3,
        mailbox: 0,
        bytes: 1 << 20,
        disk_bytes: 0,
    }
}

pub(crate) fn detail(id: &str) -> AgentDetail {
    AgentDetail {
        info: alice(id),
        component: Digest([0xab; 32]),
        incarnation: LIFE,
        generation: 4,
        pending: 5,
        open_asks: 6,
        asks: Vec::new(),
        requests: Vec::new(),
        mailbox: MailboxInfo {
            lanes: Lane::MESSAGES
                .map(|lane| LaneInfo {
                    lane,
                    messages: 12,
                    bytes: 1_800,
                    spilled: 13,
                    spilled_bytes: 1_950,
                })
                .to_vec(),
            ends: 14,
            holding: true,
            held: 15,
        },
        outbox: 7,
        outbox_bytes: 1_050,
        outbox_held: 1,
        timers: 8,
        next_timers: vec![TimerInfo {
            timer: u64::MAX,
            method: "flush".into(),
            due: Millis(1_700_000_060_000),
            schedule: "every 60000 ms".into(),
            catch_up: "once".into(),
        }],
        streams_in: 9,
        streams_out: 10,
        traps: 1,
        last_trap: Some("unreachable\u{1b}[31m executed".into()),
        unmovable: None,
        gates: vec![flow()],
        counters: vec![("expired".to_owned(), 11)],
    }
}

pub(crate) fn log() -> Vec<LogLine> {
    vec![
        LogLine {
            number: 1,
            at: Millis(1_700_000_000_000),
            level: Level::Info,
            agent: None,
            text: "ready".into(),
        },
        LogLine {
            number: 2,
            at: Millis(1_700_000_000_001),
            level: Level::Warn,
            agent: Some(AgentId::new("counter/alice").unwrap()),
            text: "odd\u{9b}31m".into(),
        },
    ]
}

pub(crate) fn node(number: u32) -> NodeInfo {
    NodeInfo {
        node: NodeId(number),
        address: format!("127.0.0.1:740{number}"),
        connected: number == 1,
        directory: number == 1,
        dead: number == 2,
        boot: (number == 1).then_some(3),
        version: if number == 1 { "0.1.0" } else { "" }.to_owned(),
        resident: 10,
        hibernated: 20,
        uptime: Millis(61_000),
        path: (number != 1).then(|| PeerPath {
            node: NodeId(number),
            protocol: Some(Protocol::Http2),
            bulk: Some(Protocol::Http2),
            datagrams: false,
            round_trip: Some(std::time::Duration::from_micros(840)),
            reason: "http2: no QUIC handshake within 1 s, last tried 3 s ago".to_owned(),
        }),
        gate: None,
    }
}

/// A kind's gate whose breaker is open.
pub(crate) fn flow() -> FlowInfo {
    let mut fields = FlowFields::default();
    for (name, value) in [("rate.amount", 100), ("breaker.calls", 20)] {
        fields.set(FlowField::named(name).unwrap(), FlowValue::Number(value));
    }
    let at = Millis(1_700_000_000_000);
    FlowInfo {
        target: "kind:counter".parse().unwrap(),
        node: NodeId(1),
        deployed: true,
        policy: Arc::new(fields.build().unwrap()),
        gate: Some(Box::new(GateInfo {
            rate: Some(Fill {
                unit: Unit::Messages,
                left: 17,
                of: 100,
            }),
            window: None,
            shared: None,
            breaker: Some(BreakerInfo {
                state: BreakerState::Open,
                since: at,
                cause: "12 of 20 failed, the last with trap".into(),
                until: Some(at + Millis(5_000)),
                ok: 0,
                failed: 0,
                probes: 0,
                probes_ok: 0,
                opened: 1,
            }),
            running: 3,
            concurrent: None,
            waiting: 2,
            last_failure: Some(LastFailure {
                at,
                code: "trap".into(),
                text: "odd\u{9b}31m\n  at add".into(),
            }),
            counters: vec![
                ("admitted".to_owned(), 83),
                ("refused-breaker".to_owned(), 40),
            ],
        })),
    }
}

/// One of two letters: a client's message, and an agent's ask that another
/// replay sent again, in a form that is no JSON.
pub(crate) fn dead_letter(number: u64) -> DeadLetter {
    let body = match number {
        9 => Body::Message {
            method: "add".into(),
            payload: json("5"),
            ask: None,
        },
        _ => Body::Message {
            method: "import\u{9b}31m".into(),
            payload: Payload {
                content_type: ContentType::Binary,
                bytes: b"a\x1b[2J\nb\xff"[..].into(),
            },
            ask: Some(Box::new(Ask {
                id: 4,
                reply_to: ReplyTo::Agent(AgentId::new("site/main").unwrap(), LIFE),
                deadline: Millis(1_700_000_005_000),
            })),
        },
    };
    let client = |id| Sender::Client(ClientId::new(id).unwrap(), NodeId(1));
    let first = number == 9;
    DeadLetter {
        id: LetterId {
            node: NodeId(1),
            boot: 3,
            number,
        },
        at: Millis(1_700_000_000_000),
        reason: "trapped".into(),
        detail: "wasm trap: unreachable\n  at add".into(),
        attempts: 3,
        envelope: Arc::new(Envelope {
            stream: StreamKey::shared(
                client(if first { "x" } else { "replay-node-1.3.2" }),
                AgentId::new("counter/alice").unwrap(),
                Lane::Normal,
            ),
            sequence: Some(Sequence {
                number: 4,
                base: NonZeroU64::new(2).unwrap(),
                give_up: Millis(1_700_000_600_000),
            }),
            body,
            extras: (!first).then(|| {
                let original = Original {
                    sender: Sender::Agent(AgentId::new("site/main").unwrap(), LIFE),
                    receiver: AgentId::new("counter/alice").unwrap(),
                    number: Some(4),
                    redirects: 0,
                };
                Box::new(Extras {
                    original: Some(original),
                    ..Extras::default()
                })
            }),
        }),
    }
}

const LIFE: Incarnation = Incarnation {
    generation: 1,
    boot: 2,
    count: 3,
};

/// Letters 9 and 10 are there.
fn letter(id: LetterId) -> Result<DeadLetter, ControlError> {
    match id.number {
        9 | 10 => Ok(dead_letter(id.number)),
        _ => Err(ControlError::NotFound(format!("there is no {id}"))),
    }
}

pub(crate) fn json(text: &str) -> Payload {
    Payload {
        content_type: ContentType::Json,
        bytes: text.as_bytes().into(),
    }
}

pub(crate) fn failure(code: &str, message: &str) -> Reply {
    Reply::Failed(Box::new(Failure {
        code: code.into(),
        message: message.into(),
        details: json("{\"have\":3}"),
    }))
}

/// What a kind's gate says to a call.
pub(crate) fn turned_down(by: TurnedDownBy, retry_after: u64) -> Reply {
    Reply::TurnedDown(Box::new(TurnedDown {
        notice: FlowNotice {
            at: FlowScope::Kind,
            by,
            retry_after: Millis(retry_after),
        },
        text: "kind:counter: in the gate's words".into(),
    }))
}

//! Between two nodes on loopback: messages in batches from transport to transport,
//! beside quinn alone with as many bytes and beside a NATS server, and a request with
//! its reply between agents, beside quinn's echo.

use std::num::NonZeroU64;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use phoenix_core::{
    AgentId, Body, ContentType, Envelope, Incarnation, Lane, Millis, NodeId, Payload, PeerMessage,
    SendRefused, Sender, Sequence, StreamKey, Transport, TransportEvents,
};
use phoenix_net::wire::{self, Output};
use phoenix_net::{Authority, Identity, PeerTransport, TransportConfig, join};
use phoenix_support::guest;
use tempfile::TempDir;

use super::{NEVER, each, each_micros};
use crate::cores::Cores;
use crate::measure::{Pair, Row, Side};
use crate::ours::Ours;
use crate::peers::nats::Nats;
use crate::peers::quic::Line;

/// Longest anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Messages in one batch, as a worker's commit hands them over.
const BATCH: u64 = 64;
/// Batches a sample.
const BATCHES: u64 = 400;
/// Bytes of one message's payload.
const PAYLOAD: usize = 1 << 10;

/// Round trips a sample.
const TRIPS: u32 = 2_000;
/// Bytes of the peer's echo: a small command's frame.
const ECHO: usize = 64;

/// Messages one way.
pub(super) fn one_way() -> Row {
    Row {
        name: "cross_node_one_way",
        what: "a message of 1 KiB from node to node, in batches",
        unit: "ns",
        peer_name: "a bare quinn stream of as many bytes",
        // Half its throughput.
        bar: 2.0,
        aim: 1.2,
        max_rounds: u32::MAX,
        open: || {
            let mut nodes = Nodes::connected()?;
            let line = Line::new()?;
            let bytes = batch_bytes()? * usize::try_from(BATCHES)?;
            let count = u32::try_from(BATCH * BATCHES)?;
            Ok(Pair {
                ours: Box::new(move || Ok(each(nodes.send()?, count))),
                peer: Ok(Box::new(move || Ok(each(line.stream(bytes)?, count)))),
            })
        },
    }
}

/// The same messages through a broker. Both sides may batch as they like, and hand
/// each message to a program at the other end; ours are encrypted.
pub(super) fn against_nats() -> Row {
    Row {
        name: "cross_node_vs_nats",
        what: "a message of 1 KiB from node to node, in batches",
        unit: "ns",
        peer_name: "one nats-server, published and subscribed to with async-nats",
        bar: 1.0,
        aim: 0.5,
        max_rounds: u32::MAX,
        open: || {
            let mut nodes = Nodes::connected()?;
            let messages = BATCH * BATCHES;
            let count = u32::try_from(messages)?;
            let nats = Nats::start(usize::try_from(messages)?);
            Ok(Pair {
                ours: Box::new(move || Ok(each(nodes.send()?, count))),
                peer: nats.map(|mut nats| -> Box<dyn Side> {
                    Box::new(move || Ok(each(nats.publish(messages, PAYLOAD)?, count)))
                }),
            })
        },
    }
}

/// Requests and replies.
pub(super) fn request_reply() -> Row {
    Row {
        name: "cross_node_request_reply",
        what: "a request and its reply between two resident agents of two nodes",
        unit: "µs",
        peer_name: "a bare quinn echo of 64 bytes within one runtime",
        bar: 2.0,
        aim: 1.2,
        max_rounds: u32::MAX,
        open: || {
            let (cores, first, second) = Cores::apart(Ours::first, |first| first.joined())?;
            first.deploy("ping", guest("ping"), NEVER)?;
            first.spawn("ping/a")?;
            // The other node may still be compiling what was deployed.
            let until = Instant::now() + PATIENCE;
            while let Err(error) = second.spawn("ping/b") {
                anyhow::ensure!(Instant::now() < until, "{error:#}");
                std::thread::sleep(Duration::from_millis(20));
            }
            let line = Line::new()?;
            let apart = Line::apart()?;
            Ok(Pair {
                ours: Box::new(Rally {
                    first,
                    _second: second,
                    _cores: cores,
                    apart,
                }),
                peer: Ok(Box::new(move || {
                    Ok(each_micros(line.echo(ECHO, TRIPS)?, TRIPS))
                })),
            })
        },
    }
}

/// Requests and replies between the agents of two nodes.
struct Rally {
    first: Ours,
    _second: Ours,
    _cores: Cores,
    /// An echo whose ends are apart as the nodes are. The row's peer has both on one
    /// thread, which no pair of nodes can.
    apart: Line,
}

impl Side for Rally {
    fn sample(&mut self) -> anyhow::Result<f64> {
        let begun = Instant::now();
        let right: u32 = self.first.call("ping/a", "rally", &("ping/b", TRIPS))?;
        let span = begun.elapsed();
        anyhow::ensure!(right == TRIPS, "{right} of {TRIPS} replies were right");
        Ok(each_micros(span, TRIPS))
    }

    fn details(&self) -> Vec<String> {
        let echo = self.apart.echo(ECHO, TRIPS);
        let echo = echo.map(|span| format!("{:.1} µs", each_micros(span, TRIPS)));
        let echo = echo.unwrap_or_else(|error| format!("{error:#}"));
        vec![format!("a bare quinn echo between two cores: {echo}")]
    }
}

/// Two transports, connected.
struct Nodes {
    sender: Arc<PeerTransport>,
    receiver: NodeId,
    /// Counts of messages that came.
    counts: mpsc::Receiver<u64>,
    /// The number of the next message.
    number: u64,
    _receiving: Arc<PeerTransport>,
    _dir: TempDir,
}

/// Tells how many messages came.
struct Counts(mpsc::Sender<u64>);

impl TransportEvents for Counts {
    fn received(&self, _: NodeId, messages: Vec<PeerMessage>) {
        let count = messages.iter().map(|message| match message {
            PeerMessage::Deliver(envelopes) => envelopes.len() as u64,
            _ => 0,
        });
        // Nobody listens any more if the bench has given up.
        let _ = self.0.send(count.sum());
    }

    fn connected(&self, _: NodeId, _: u64) {
        let _ = self.0.send(0);
    }

    fn disconnected(&self, _: NodeId) {}
}

impl Nodes {
    fn connected() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let [first, second] = ["1", "2"].map(|name| dir.path().join(name));
        let authority = Arc::new(Authority::create(&first)?);
        let identity = Identity::open(&first)?.context("the first node has no identity")?;
        let listen = "127.0.0.1:0".parse()?;
        let mut config = TransportConfig::new(listen, identity, 1);
        config.authority = Some(authority.clone());
        let (told, connected) = mpsc::channel();
        let sender = PeerTransport::bind(config, Arc::new(Counts(told)))?;
        let address = sender.local_address().to_string();
        let token = authority.issue_token(&address, PATIENCE)?;
        let identity = join(&token, &second, "127.0.0.1:0")?;
        let receiver = identity.node();
        let (told, counts) = mpsc::channel();
        let config = TransportConfig::new(listen, identity, 1);
        let receiving = PeerTransport::bind(config, Arc::new(Counts(told)))?;
        sender.learn(receiving.member());
        connected.recv_timeout(PATIENCE)?;
        Ok(Self {
            sender,
            receiver,
            counts,
            number: 0,
            _receiving: receiving,
            _dir: dir,
        })
    }

    /// Sends a sample's messages and waits until all have come.
    fn send(&mut self) -> anyhow::Result<Duration> {
        let batches: Vec<PeerMessage> = (0..BATCHES)
            .map(|_| {
                let batch = batch(self.number);
                self.number += BATCH;
                batch
            })
            .collect();
        let begun = Instant::now();
        for batch in batches {
            loop {
                match self.sender.send(self.receiver, batch.clone()) {
                    Ok(()) => break,
                    Err(SendRefused::Full) => std::thread::yield_now(),
                    Err(refused) => return Err(refused.into()),
                }
            }
        }
        let mut missing = BATCH * BATCHES;
        while missing > 0 {
            let count = self.counts.recv_timeout(PATIENCE)?;
            missing = missing
                .checked_sub(count)
                .context("more came than was sent")?;
        }
        Ok(begun.elapsed())
    }
}

/// A batch of messages of one stream, numbered from `number` on.
fn batch(number: u64) -> PeerMessage {
    let id = |text: &str| {
        AgentId::new(text).unwrap_or_else(|_| unreachable!("a kind and a key are an id"))
    };
    let life = Incarnation {
        generation: 1,
        boot: 1,
        count: 1,
    };
    let sender = Sender::Agent(id("flood/a"), life);
    let stream = StreamKey::shared(sender, id("sink/a"), Lane::Normal);
    let envelopes = (0..BATCH).map(|at| {
        Arc::new(Envelope {
            stream: stream.clone(),
            sequence: Some(Sequence {
                number: number + at + 1,
                base: NonZeroU64::MIN.saturating_add(number),
                give_up: Millis(1_767_268_800_000),
            }),
            body: Body::Message {
                method: "hear".into(),
                payload: Payload {
                    content_type: ContentType::Binary,
                    bytes: vec![7; PAYLOAD].into(),
                },
                ask: None,
            },
            extras: None,
        })
    });
    PeerMessage::Deliver(envelopes.collect())
}

/// Bytes of a batch's frames.
fn batch_bytes() -> anyhow::Result<usize> {
    let mut out = Output::new();
    wire::encode(&batch(0), wire::FRAME_BYTES, &mut out)?;
    Ok(out.len())
}

//! Messages between agents, and what becomes of them.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU64;
use std::sync::Arc;

use phoenix_wit::ContentType;
use smol_str::SmolStr;

use crate::attributes::Attributes;
use crate::flow::{FlowNotice, TurnedDown};
use crate::{AgentId, ClientId, Data, Incarnation, Millis, NodeId};

/// Bytes and how to read them. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// How to read `bytes`.
    pub content_type: ContentType,
    /// The bytes.
    pub bytes: Data,
}

impl Payload {
    /// Borrows it in the contract's form.
    pub fn as_wit(&self) -> phoenix_wit::Payload<'_> {
        phoenix_wit::Payload {
            content_type: self.content_type,
            bytes: &self.bytes,
        }
    }
}

/// An error that reaches whoever asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// A stable word a program can match on.
    pub code: Arc<str>,
    /// A sentence for a person.
    pub message: Arc<str>,
    /// More, for programs; often empty.
    pub details: Payload,
}

/// Who sent a message; the host vouches for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// An agent.
    Agent(AgentId, Incarnation),
    /// An outside client of a node's API. The client's streams are its own, whichever
    /// node it came through: the node is only where acknowledgements go.
    Client(ClientId, NodeId),
    /// The host itself.
    System,
}

/// As agents see it.
impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(id, _) => f.write_str(id.as_str()),
            Self::Client(client, _) => write!(f, "client/{}", client.as_str()),
            Self::System => f.write_str("sys/node"),
        }
    }
}

/// A sender as the speaker of its streams: two are equal if a message of the one
/// follows on a message of the other.
#[derive(Debug)]
pub(crate) struct Speaker<S>(pub(crate) S);

impl<S: Borrow<Sender>> PartialEq for Speaker<S> {
    fn eq(&self, other: &Self) -> bool {
        match (self.0.borrow(), other.0.borrow()) {
            (Sender::Agent(id, incarnation), Sender::Agent(other, its)) => {
                id == other && incarnation == its
            }
            (Sender::Client(id, _), Sender::Client(other, _)) => id == other,
            (Sender::System, Sender::System) => true,
            _ => false,
        }
    }
}

impl<S: Borrow<Sender>> Eq for Speaker<S> {}

impl<S: Borrow<Sender>> Hash for Speaker<S> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.0.borrow() {
            Sender::Agent(id, incarnation) => (0u8, id, incarnation).hash(state),
            Sender::Client(id, _) => (1u8, id).hash(state),
            Sender::System => 2u8.hash(state),
        }
    }
}

/// Which of a pair's parallel streams a message takes. Order is promised within a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Lane {
    /// Control traffic.
    High = 0,
    /// Everything else.
    #[default]
    Normal = 1,
    /// What can wait.
    Low = 2,
    /// What nobody would miss.
    Bulk = 3,
    /// Replies. They come before all messages and find room always: whoever waits
    /// for one may be unable to make any.
    Reply = 4,
}

/// A reliable message's place in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// From 1, without gaps.
    pub number: u64,
    /// The lowest number the sender still keeps: everything below it has its
    /// verdict. A receiver that knows nothing of the stream begins here.
    pub base: NonZeroU64,
    /// When the sender gives it up, since 1970-01-01 UTC.
    pub give_up: Millis,
}

impl Lane {
    /// Those of messages, the most urgent first.
    pub const MESSAGES: [Self; 4] = [Self::High, Self::Normal, Self::Low, Self::Bulk];

    /// All, the most urgent first.
    pub const ALL: [Self; 5] = [Self::Reply, Self::High, Self::Normal, Self::Low, Self::Bulk];

    /// How many are more urgent: its place in [`Lane::ALL`].
    pub const fn rank(self) -> usize {
        match self {
            Self::Reply => 0,
            Self::High => 1,
            Self::Normal => 2,
            Self::Low => 3,
            Self::Bulk => 4,
        }
    }
}

impl Sequence {
    /// Whether it is a number a stream can have; readers refuse others.
    pub fn is_valid(&self) -> bool {
        self.base.get() <= self.number
    }
}

/// One message on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Who sent it to whom, on which lane. Messages that follow each other share it.
    pub stream: Arc<StreamKey>,
    /// Its place in its stream; `None` for at-most-once.
    pub sequence: Option<Sequence>,
    /// What it says.
    pub body: Body,
    /// What few messages carry; boxed, so that the others stay small.
    pub extras: Option<Box<Extras>>,
}

/// There are many of them, and each is moved several times.
const _: () = assert!(size_of::<Envelope>() <= 128);

/// What few messages carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// When it is of no use any more.
    pub expiry: Option<Expiry>,
    /// Whose message it is, if its sender sends on, or again, what another one
    /// sent. The receiver sees the other one; streams and verdicts are those of
    /// its sender.
    pub original: Option<Original>,
    /// What it says about itself that does not follow from the rest.
    pub attributes: Option<Arc<Attributes>>,
}

/// When a message is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// From then on it is not put to its receiver, since 1970-01-01 UTC.
    pub at: Millis,
    /// Whether its sender asked to know: it is a dead letter then.
    pub report: bool,
}

/// A message's identity before its receiver redirected it, or before it was a
/// dead letter that is sent again.
///
/// A receiver sends it on in a stream of its own, once, with the commit that
/// closes the original: so whoever gets it knows a repeated one by that stream,
/// as any other. A dead letter that is sent again has a stream of its own too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// Who sent it.
    pub sender: Sender,
    /// Whom it was for.
    pub receiver: AgentId,
    /// Its number in the stream of the two, on the lane it is on still; `None`
    /// for at-most-once.
    pub number: Option<u64>,
    /// How often it was redirected, at most [`MAX_REDIRECTS`].
    pub redirects: u8,
}

/// How often a message may be redirected. Full agents that point at each other
/// must not pass it round for ever: after that it waits with its sender.
pub const MAX_REDIRECTS: u8 = 4;

/// What an envelope carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// For a handler.
    Message {
        /// Which one.
        method: SmolStr,
        /// What for.
        payload: Payload,
        /// Set if the sender waits for an answer.
        ask: Option<Box<Ask>>,
    },
    /// The end of an ask of the receiver's.
    Reply {
        /// The asker's number for it.
        ask: u64,
        /// The incarnation that asked; another one drops the reply.
        asker: Incarnation,
        /// How it ended.
        reply: Reply,
    },
    /// Creation by name: runs `init` with this if the agent does not live yet.
    Spawn {
        /// What `init` gets.
        config: Payload,
        /// Set if somebody waits for the end of it.
        ask: Option<Box<Ask>>,
    },
    /// A message of the receiver's own that came back. Only an agent's own node
    /// makes one.
    Bounce(Box<Bounce>),
}

impl Body {
    /// The ask it carries, if somebody waits for its answer.
    #[inline]
    pub fn ask(&self) -> Option<&Ask> {
        match self {
            Self::Message { ask, .. } | Self::Spawn { ask, .. } => ask.as_deref(),
            Self::Reply { .. } | Self::Bounce(_) => None,
        }
    }

    /// Whether it ends what its receiver began: it waits in no lane of messages.
    #[inline]
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Reply { .. } | Self::Bounce(_))
    }
}

/// A message that came back to the agent that sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounce {
    /// Whom it was for.
    pub to: AgentId,
    /// Which handler it was for.
    pub method: SmolStr,
    /// What it carried.
    pub payload: Payload,
    /// Why it came back, in a stable word.
    pub reason: Arc<str>,
    /// Whether it may have been applied all the same: nothing was heard of it.
    pub unsure: bool,
}

/// That somebody waits for an answer, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The asker's number for it.
    pub id: u64,
    /// Where the answer goes.
    pub reply_to: ReplyTo,
    /// When the asker stops waiting, since 1970-01-01 UTC.
    pub deadline: Millis,
}

/// Where an answer goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReplyTo {
    /// To an agent, in its outbox-backed stream.
    Agent(AgentId, Incarnation),
    /// To a client waiting at a node's API. Best effort: the client's time-out is `unknown`.
    Client(NodeId),
}

/// How an ask ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The other agent replied.
    Ok(Payload),
    /// Its handler failed. Boxed: messages are as large as their largest form.
    Failed(Box<Failure>),
    /// The deadline passed.
    Timeout,
    /// It never reached the agent.
    Bounced(Arc<str>),
    /// The answer would have had to wait for the asker.
    Deadlock,
    /// Never proposed, safe to retry.
    Unavailable(Arc<str>),
    /// The same, to a client, by a gate that did not let it pass. Agents get
    /// [`Reply::Unavailable`] with the gate's words.
    TurnedDown(Box<TurnedDown>),
}

/// A stream: messages of one sender's incarnation to one receiver on one lane.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StreamKey {
    /// Who sends.
    pub sender: Sender,
    /// Who receives.
    pub receiver: AgentId,
    /// On which lane.
    pub lane: Lane,
}

impl StreamKey {
    /// The stream's key, as its messages share it.
    pub fn shared(sender: Sender, receiver: AgentId, lane: Lane) -> Arc<Self> {
        Arc::new(Self {
            sender,
            receiver,
            lane,
        })
    }
}

/// What a receiver's node tells a sender about a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Which stream.
    pub stream: Arc<StreamKey>,
    /// What became of it.
    pub notice: Notice,
}

/// What became of messages of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// All of these were applied that their sender still keeps.
    Applied {
        /// They are those above this number: at it, and before, some were not.
        after: u64,
        /// The last of them.
        through: u64,
    },
    /// This one was closed without being applied. Final.
    Skipped {
        /// Which.
        number: u64,
        /// Why.
        reason: SkipReason,
    },
    /// Not taken now. Everything from `expected` on is to be sent again, later.
    Refused {
        /// The next number the receiver will take.
        expected: u64,
        /// The one that came and was not taken: each time it is sent is refused
        /// once at most.
        number: u64,
        /// Why.
        refusal: Refusal,
    },
    /// How much more of the stream the receiver wants. It says so when its
    /// mailbox passes its high mark, and again when it is down to the low one;
    /// a sender that hears nothing for long tries again with one message. So
    /// this may be lost, repeated and late.
    Credit {
        /// The last number it has taken.
        taken: u64,
        /// How many it wants beyond that: none means to hold.
        window: u64,
    },
}

/// Why a message was closed without being applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// Its give-up instant passed before its turn came.
    Expired,
    /// Its asker had given up before its turn came.
    Cancelled,
    /// It is a dead letter.
    Dead(DeadReason),
    /// The mailbox was full and its receiver sent it on: whoever has it now
    /// answers for it.
    Redirected,
    /// A gate did not let it pass, and its sender, which waits for an answer, is
    /// to hear of it rather than to try again. In the gate's words.
    TurnedDown(Arc<str>),
}

/// Why a message is a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadReason {
    /// It trapped as often as the kind allows.
    Trapped(Arc<str>),
    /// The agent's kind is not deployed.
    NoSuchKind,
    /// The kind wants explicit creation and the agent does not live.
    NoSuchAgent,
    /// The agent was stopped while it waited.
    Stopped,
    /// It is larger than the kind allows.
    TooLarge,
    /// Its stream is one the receiver has forgotten or has never seen the start of.
    Forgotten,
    /// `init` failed or trapped.
    InitFailed(Arc<str>),
    /// The agent is quarantined.
    Quarantined(Arc<str>),
    /// The sender gave up without hearing.
    GaveUp,
    /// The agent was reset while it waited.
    Reset,
    /// The mailbox was full, and the kind drops what has no room.
    Overflow,
    /// Its time was over before its turn came, and its sender asked to know.
    Expired,
    /// The sender gave it up before the receiver had room for it: it never left.
    NoCredit,
}

impl DeadReason {
    /// The words for all of them.
    pub const CODES: [&'static str; 13] = [
        "trapped",
        "no-such-kind",
        "no-such-agent",
        "stopped",
        "too-large",
        "forgotten",
        "init-failed",
        "quarantined",
        "gave-up",
        "reset",
        "overflow",
        "expired",
        "no-credit",
    ];

    /// The stable word for it, one of [`DeadReason::CODES`].
    pub fn code(&self) -> &'static str {
        match self {
            Self::Trapped(_) => "trapped",
            Self::NoSuchKind => "no-such-kind",
            Self::NoSuchAgent => "no-such-agent",
            Self::Stopped => "stopped",
            Self::TooLarge => "too-large",
            Self::Forgotten => "forgotten",
            Self::InitFailed(_) => "init-failed",
            Self::Quarantined(_) => "quarantined",
            Self::GaveUp => "gave-up",
            Self::Reset => "reset",
            Self::Overflow => "overflow",
            Self::Expired => "expired",
            Self::NoCredit => "no-credit",
        }
    }

    /// What more there is to say.
    pub fn detail(&self) -> &str {
        match self {
            Self::Trapped(why) | Self::InitFailed(why) | Self::Quarantined(why) => why,
            _ => "",
        }
    }
}

/// Why a message was not taken; the sender keeps it and tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The mailbox is at its bound.
    MailboxFull,
    /// It came before others of its stream, and the room for such is used up.
    OutOfOrder,
    /// The node cannot take it just now: starting, draining, or at its agents' limit.
    Busy,
    /// A gate does not let it pass now.
    Flow(FlowNotice),
    /// Its agent is durable, and the journal of its node has no room.
    JournalFull,
}

impl Refusal {
    /// How long it is of no use to try again.
    pub fn retry_after(self) -> Millis {
        match self {
            Self::Flow(notice) => notice.retry_after,
            Self::MailboxFull | Self::OutOfOrder | Self::Busy | Self::JournalFull => Millis(0),
        }
    }
}

impl Envelope {
    /// What it costs beside its texts and payload, bytes.
    pub(crate) const OVERHEAD: usize = 128;

    /// Bytes it counts for in a mailbox or outbox.
    #[inline(always)]
    pub fn size(&self) -> usize {
        match (&self.body, &self.extras) {
            (
                Body::Message {
                    method, payload, ..
                },
                None,
            ) => Self::OVERHEAD + method.len() + payload.bytes.len(),
            _ => self.rarer_size(),
        }
    }

    fn rarer_size(&self) -> usize {
        let extras = self.extras.as_ref().map_or(0, |extras| {
            let attributes = extras.attributes.as_ref();
            Self::OVERHEAD + attributes.map_or(0, |attributes| attributes.size())
        });
        Self::OVERHEAD
            + extras
            + match &self.body {
                Body::Message {
                    method, payload, ..
                } => method.len() + payload.bytes.len(),
                Body::Spawn { config, .. } => config.bytes.len(),
                Body::Reply { reply, .. } => match reply {
                    Reply::Ok(payload) => payload.bytes.len(),
                    Reply::Failed(failure) => {
                        failure.code.len() + failure.message.len() + failure.details.bytes.len()
                    }
                    Reply::Bounced(why) | Reply::Unavailable(why) => why.len(),
                    Reply::TurnedDown(why) => why.text.len(),
                    Reply::Timeout | Reply::Deadlock => 0,
                },
                Body::Bounce(bounce) => {
                    Self::OVERHEAD + bounce.method.len() + bounce.payload.bytes.len()
                }
            }
    }

    /// What a journal's entry has of it beside what its frame has of it, bytes at most.
    pub(crate) fn noted_bytes(&self) -> usize {
        let sender = match self.sender() {
            Sender::Agent(id, _) => id.as_str().len(),
            Sender::Client(id, _) => id.as_str().len(),
            Sender::System => 0,
        };
        let extras = self.extras.as_ref().map_or(0, |extras| {
            let attributes = extras.attributes.as_ref();
            // Whom it was for first, and who sent it then.
            8 * Self::OVERHEAD + attributes.map_or(0, |attributes| attributes.size())
        });
        // Twice the sender: the entry has the stream's watermark too.
        Self::OVERHEAD + 2 * sender + self.receiver().as_str().len() + extras
    }

    /// Bytes of what it asks the receiver to take, which `max-message` bounds. A
    /// reply was asked for, and is bounded where it is made.
    pub(crate) fn asked_bytes(&self) -> usize {
        match &self.body {
            Body::Message { payload, .. } => payload.bytes.len(),
            Body::Spawn { config, .. } => config.bytes.len(),
            Body::Reply { .. } | Body::Bounce(_) => 0,
        }
    }

    /// Who sent it.
    pub fn sender(&self) -> &Sender {
        &self.stream.sender
    }

    /// Who the receiver is told it is from: of a message that was sent on, or again,
    /// for another one not whoever did that.
    pub fn first_sender(&self) -> &Sender {
        self.original()
            .map_or(self.sender(), |original| &original.sender)
    }

    /// Whom it is for.
    pub fn receiver(&self) -> &AgentId {
        &self.stream.receiver
    }

    /// When it is of no use any more, if that was said.
    pub fn expiry(&self) -> Option<Expiry> {
        self.extras.as_ref()?.expiry
    }

    /// Whose message it is, if its sender sends on, or again, what another one sent.
    pub fn original(&self) -> Option<&Original> {
        self.extras.as_ref()?.original.as_ref()
    }

    /// What it says about itself that does not follow from the rest.
    pub fn attributes(&self) -> Option<&Arc<Attributes>> {
        self.extras.as_ref()?.attributes.as_ref()
    }
}

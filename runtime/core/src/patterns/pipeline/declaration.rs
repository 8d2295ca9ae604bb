//! What a pipeline is declared to be.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use phoenix_wit::Payload;
use serde::{Deserialize, Serialize};

use super::{
    IN_FLIGHT, KIND, MAX_HELD, MAX_IN_FLIGHT, MAX_MESSAGE, MAX_PARALLEL, MAX_SPREAD, MAX_STAGES,
    MESSAGE,
};
use crate::patterns::declaration::{BadDeclaration, Place, Retry, Tries};
use crate::topics::{EventView, Template, TopicName};
use crate::{KindName, Millis};

/// What a pipeline is to be, as people and agents write it. [`check`](Self::check) says
/// whether it can be.
///
/// In TOML, where names may have `-` for `_`:
///
/// ```toml
/// in-flight = 64
///
/// [[stage]]
/// name = "parse"
/// to = "parser/main"
/// method = "parse"
///
/// [[stage]]
/// name = "store"
/// to = "store"
/// spread = 8
/// method = "put"
/// parallel = 8
/// retry = { attempts = 5, schedule = "exponential:100ms..10s" }
/// on-error = "dead-letter"
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declaration {
    /// The stages, in their order: 1 to [`MAX_STAGES`].
    #[serde(rename = "stages", alias = "stage")]
    pub stages: Vec<StageDeclaration>,
    /// Messages that may be in the pipeline at once: 1 to [`MAX_IN_FLIGHT`], [`IN_FLIGHT`]
    /// if nothing is said. Who pushes more waits.
    #[serde(default, alias = "in-flight")]
    pub in_flight: Option<u32>,
    /// Largest message, as it is pushed or a stage makes it, bytes: up to [`MAX_MESSAGE`],
    /// [`MESSAGE`] if nothing is said. So many messages as may be in flight have to fit
    /// into [`MAX_HELD`].
    #[serde(default, alias = "max-message")]
    pub max_message: Option<u32>,
}

/// What one stage is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageDeclaration {
    /// What it is called, by which a new declaration knows it again.
    pub name: String,
    /// The agent, `kind/key`, or a [`Template`] with fields of the message in braces, as in
    /// `visitor/{data.ip}`; with `spread`, the kind.
    pub to: String,
    /// Spreads messages over so many agents of the kind by a hash of their data, 1 to
    /// [`MAX_SPREAD`]; their keys are `0`, `1`, and so on.
    #[serde(default)]
    pub spread: Option<u32>,
    /// The handler that is asked. It is given the message as it is, and what it answers
    /// goes on; of one that answers nothing, the message goes on as it was.
    pub method: String,
    /// How long an answer is waited for, milliseconds: up to an hour, 5,000 if nothing is
    /// said.
    #[serde(default, alias = "timeout-ms")]
    pub timeout_ms: Option<u32>,
    /// Messages it works on at once, by different agents: 1 to [`MAX_PARALLEL`], 1 if
    /// nothing is said. One agent has one message at a time.
    #[serde(default)]
    pub parallel: Option<u32>,
    /// When a message is tried again that failed; never if nothing is said.
    #[serde(default)]
    pub retry: Option<Retry>,
    /// Whether to try again what may have been done although no answer came; it is if
    /// nothing is said. If not, that counts as the last try.
    #[serde(default)]
    pub repeatable: Option<bool>,
    /// What becomes of a message that failed at its last try; `halt` if nothing is said.
    #[serde(default, alias = "on-error")]
    pub on_error: Option<OnError>,
}

/// What becomes of a message that a stage does not take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnError {
    /// It is left out, and counted.
    Skip,
    /// It goes on to the next stage as it was.
    Pass,
    /// It is put aside: `status` counts it, and `dead_letters` shows it.
    DeadLetter,
    /// The pipeline halts before it, until it is resumed.
    #[default]
    Halt,
}

/// A checked declaration.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) stages: Vec<Stage>,
    pub(super) in_flight: usize,
    pub(super) max_message: usize,
}

/// A checked stage.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    pub(super) name: Arc<str>,
    pub(super) to: Target,
    pub(super) method: Arc<str>,
    pub(super) timeout_ms: u32,
    pub(super) parallel: u32,
    pub(super) tries: Tries,
    pub(super) repeatable: bool,
    pub(super) on_error: OnError,
}

/// Whom a stage asks.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Agent(Arc<str>),
    Spread { kind: KindName, agents: u32 },
    Template(Template),
}

impl Target {
    /// The agent that data from somebody is for; otherwise why there is none.
    pub(super) fn agent(&self, source: &str, data: Payload<'_>) -> Result<String, String> {
        match self {
            Self::Agent(agent) => Ok(agent.as_ref().to_owned()),
            Self::Spread { kind, agents } => {
                let hash = blake3::hash(data.bytes);
                let (first, _) = hash
                    .as_bytes()
                    .split_first_chunk()
                    .unwrap_or((&[0; 8], &[]));
                let key = u64::from_le_bytes(*first) % u64::from(*agents);
                Ok(format!("{kind}/{key}"))
            }
            Self::Template(template) => {
                let topic = TopicName::new(KIND).map_err(|bad| bad.to_string())?;
                let (content_type, bytes) = (data.content_type, data.bytes);
                let event = EventView::new(&topic, source, Millis(0), content_type, bytes);
                let agent = template.target(&event).map_err(|none| none.to_string())?;
                Ok(agent.as_str().to_owned())
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(agent) => f.write_str(agent),
            Self::Spread { kind, .. } => write!(f, "{kind}/*"),
            Self::Template(template) => f.write_str(template.as_str()),
        }
    }
}

impl Declaration {
    /// Checks every stage and every bound.
    ///
    /// # Errors
    /// The first thing that is wrong, where, and what is accepted there.
    pub fn check(&self) -> Result<(), BadDeclaration> {
        self.plan().map(|_| ())
    }

    pub(super) fn plan(&self) -> Result<Plan, BadDeclaration> {
        let whole = Place {
            what: "pipeline",
            number: 0,
            name: "",
        };
        let stages = self.stages.len() as u64;
        whole.range("stages", stages, 1, MAX_STAGES as u64)?;
        let in_flight = self.in_flight.unwrap_or(IN_FLIGHT);
        whole.range("in_flight", in_flight.into(), 1, MAX_IN_FLIGHT.into())?;
        let max_message = self.max_message.unwrap_or(MESSAGE);
        whole.range("max_message", max_message.into(), 1, MAX_MESSAGE.into())?;
        let held = u64::from(in_flight) * u64::from(max_message);
        if held > MAX_HELD {
            let why = format!(
                "{in_flight} messages of {max_message} bytes (max_message) are {held} bytes, and \
                 {MAX_HELD} is the most: choose fewer or smaller ones"
            );
            return Err(whole.bad("in_flight", why));
        }
        let mut names = BTreeSet::new();
        let mut checked = Vec::with_capacity(self.stages.len());
        for (number, stage) in (1..).zip(&self.stages) {
            let place = Place {
                what: "stage",
                number,
                name: &stage.name,
            };
            checked.push(stage.checked(&place)?);
            if !names.insert(&*stage.name) {
                return Err(place.bad("name", "another stage has it already"));
            }
        }
        Ok(Plan {
            stages: checked,
            in_flight: in_flight as usize,
            max_message: max_message as usize,
        })
    }
}

impl StageDeclaration {
    /// A stage that asks one agent, and of which nothing else is said.
    pub fn new(name: impl Into<String>, to: impl Into<String>, method: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            to: to.into(),
            spread: None,
            method: method.into(),
            timeout_ms: None,
            parallel: None,
            retry: None,
            repeatable: None,
            on_error: None,
        }
    }

    fn checked(&self, place: &Place<'_>) -> Result<Stage, BadDeclaration> {
        place.check_name("name")?;
        place.check_method("method", &self.method)?;
        let parallel = self.parallel.unwrap_or(1);
        place.range("parallel", parallel.into(), 1, MAX_PARALLEL.into())?;
        Ok(Stage {
            name: self.name.as_str().into(),
            to: self.target(place)?,
            method: self.method.as_str().into(),
            timeout_ms: place.timeout("timeout_ms", self.timeout_ms)?,
            parallel,
            tries: Tries::of(self.retry.as_ref(), "retry", place)?,
            repeatable: self.repeatable.unwrap_or(true),
            on_error: self.on_error.unwrap_or_default(),
        })
    }

    fn target(&self, place: &Place<'_>) -> Result<Target, BadDeclaration> {
        let Some(agents) = self.spread else {
            if self.to.contains(['{', '}']) {
                let template = Template::new(&self.to).map_err(|why| place.bad("to", why))?;
                return Ok(Target::Template(template));
            }
            place.agent("to", &self.to)?;
            return Ok(Target::Agent(self.to.as_str().into()));
        };
        place.range("spread", agents.into(), 1, MAX_SPREAD.into())?;
        let kind = KindName::new(&self.to).map_err(|why| place.bad("to", why))?;
        if kind.as_str() == KIND {
            let why = "messages are spread over agents of a kind that is deployed";
            return Err(place.bad("to", why));
        }
        Ok(Target::Spread { kind, agents })
    }
}

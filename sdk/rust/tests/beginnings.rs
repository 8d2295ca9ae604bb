//! How agents begin: `Default`, `#[init]`, and beginnings that fail.
#![allow(missing_docs, reason = "the agents here are examples")]

mod common;

use common::{Ended, Guest, borrowed, json, packed, request};
use phoenix_sdk::Payload;
use phoenix_sdk::prelude::*;
use phoenix_sdk::testing::TestContext;
use phoenix_wit::Input;
use serde::{Deserialize, Serialize};

#[derive(Default)]
pub struct Plain(u32);

#[agent]
impl Plain {
    fn bump(&mut self) -> u32 {
        self.0 += 1;
        self.0
    }
}

#[derive(Serialize, Deserialize)]
pub struct Settings {
    #[serde(default = "ten")]
    limit: u64,
}

fn ten() -> u64 {
    10
}

pub struct Limited {
    limit: u64,
    owner: String,
}

#[derive(Debug, AgentError)]
pub enum BadSettings {
    #[error("a limit of {limit} is no limit")]
    NoLimit { limit: u64 },
}

#[agent]
impl Limited {
    #[init]
    fn begin(settings: Settings, ctx: &mut Context) -> Result<Self, BadSettings> {
        if settings.limit == 0 {
            return Err(BadSettings::NoLimit { limit: 0 });
        }
        ctx.timer("wake", Duration::from_secs(1), LimitedRequests::limit());
        Ok(Self {
            limit: settings.limit,
            owner: ctx.key().to_owned(),
        })
    }

    fn limit(&self) -> u64 {
        self.limit
    }
}

pub struct Named(String);

#[agent]
impl Named {
    #[init]
    fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    fn name(&self) -> &str {
        &self.0
    }
}

pub struct Bare;

#[agent]
impl Bare {
    #[init]
    fn begin() -> Self {
        Self
    }

    fn ping(&self) {}
}

#[test]
fn default_takes_no_configuration() {
    let test = TestContext::<Plain>::with_config("plain/a", &());
    assert!(test.is_ok());
    let failure = TestContext::<Plain>::with_config("plain/a", &7).unwrap_err();
    assert_eq!(failure.code(), "bad-payload");
    assert!(failure.message().contains("no configuration"), "{failure}");
}

#[test]
fn init_gets_its_configuration_and_acts() {
    let test = TestContext::<Limited>::with_config("limited/bob", &Settings { limit: 3 });
    let mut test = test.unwrap();
    assert_eq!(test.call(LimitedRequests::limit()), Ok(3));
    assert_eq!(test.with(|agent| agent.owner.clone()), "bob");
    assert_eq!(test.timers().len(), 1);
}

#[test]
fn a_configuration_of_defaults_may_be_absent() {
    let mut test = TestContext::<Limited>::new("limited/bob");
    assert_eq!(test.call(LimitedRequests::limit()), Ok(10));
}

#[test]
fn other_forms_of_init() {
    let mut test = TestContext::<Named>::with_config("named/a", "zoe").unwrap();
    assert_eq!(test.call(NamedRequests::name()), Ok("zoe".to_owned()));
    let mut test = TestContext::<Bare>::new("bare/a");
    assert_eq!(test.call(BareRequests::ping()), Ok(()));
}

#[test]
fn an_agent_whose_init_failed_answers_with_that() {
    let mut guest = Guest::<Limited>::new();
    let zero = packed(Settings { limit: 0 });
    let failed = guest.one(Input::Init {
        config: borrowed(&zero),
    });
    let Ended::Failed(failure) = failed.ended else {
        panic!("a limit of 0 is refused");
    };
    assert_eq!(failure.code(), "no-limit");
    assert_eq!(failure.message(), "a limit of 0 is no limit");
    let Ended::Failed(failure) = guest.one(request("limit", &Payload::none())).ended else {
        panic!("there is no agent");
    };
    assert_eq!(failure.code(), "not-initialized");
    assert!(failure.message().contains("a limit of 0"), "{failure}");
}

#[test]
fn the_first_message_begins_an_agent() {
    let mut guest = Guest::<Limited>::new();
    let answer = guest.one(request("limit", &json("null")));
    assert_eq!(answer.ended, Ended::Ok(json("10")));
}

#[test]
fn a_second_init_changes_nothing() {
    let mut guest = Guest::<Plain>::new();
    guest.one(request("bump", &Payload::none()));
    let none = phoenix_wit::Payload::NONE;
    assert_eq!(
        guest.one(Input::Init { config: none }).ended,
        Ended::Ok(Payload::none())
    );
    let answer = guest.one(request("bump", &Payload::none()));
    assert_eq!(answer.ended, Ended::Ok(packed(2_u8)));
}

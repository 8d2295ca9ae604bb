//! `#[derive(AgentError)]`: what the caller gets of each shape of error.
#![allow(missing_docs, reason = "the agents here are examples")]

use phoenix_sdk::AgentError as _;
use phoenix_sdk::prelude::*;
use phoenix_sdk::testing::TestContext;
use serde::Deserialize;

#[derive(Debug, AgentError)]
pub enum BankError {
    #[error("the account holds {balance}, and {wanted} was wanted")]
    Overdrawn { balance: u64, wanted: u64 },
    #[error("there is no account {0}")]
    #[code("no-account")]
    Missing(String),
    #[error("{0} and {1:?} {{differ}}")]
    TwoThings(u8, String),
    #[error("closed")]
    ClosedForToday,
    #[error("the ledger: {0}")]
    Ledger(#[from] AskError),
    #[error(transparent)]
    Other(#[from] Failure),
}

#[derive(Debug, AgentError)]
#[error("{name} is taken")]
pub struct NameTakenError {
    name: String,
}

#[derive(Default)]
pub struct Bank;

#[agent]
impl Bank {
    fn withdraw(&mut self, amount: u64) -> Result<(), BankError> {
        Err(BankError::Overdrawn {
            balance: 3,
            wanted: amount,
        })
    }

    async fn audit(&mut self, ctx: &mut Context) -> Result<u64, BankError> {
        let total: u64 = ctx
            .ask("ledger/main", Request::new("total", ()).returns())
            .await?;
        if total == 0 {
            Err(Failure::new("empty", "nothing there"))?;
        }
        Ok(total)
    }
}

#[derive(Debug, PartialEq, Deserialize)]
struct Overdrawn {
    balance: u64,
    wanted: u64,
}

#[test]
fn every_shape_has_a_code_a_message_and_details() {
    let failure = BankError::Overdrawn {
        balance: 3,
        wanted: 5,
    }
    .into_failure();
    assert_eq!(failure.code(), "overdrawn");
    assert_eq!(failure.message(), "the account holds 3, and 5 was wanted");
    assert_eq!(
        failure.details_as::<Overdrawn>(),
        Ok(Overdrawn {
            balance: 3,
            wanted: 5
        })
    );

    let failure = BankError::Missing("bob".to_owned()).into_failure();
    assert_eq!(
        (failure.code(), failure.message()),
        ("no-account", "there is no account bob")
    );
    assert_eq!(failure.details_as::<String>(), Ok("bob".to_owned()));

    let failure = BankError::TwoThings(1, "b".to_owned()).into_failure();
    assert_eq!(
        (failure.code(), failure.message()),
        ("two-things", "1 and \"b\" {differ}")
    );
    assert_eq!(
        failure.details_as::<(u8, String)>(),
        Ok((1, "b".to_owned()))
    );

    let failure = Failure::from(BankError::ClosedForToday);
    assert_eq!(
        (failure.code(), failure.message()),
        ("closed-for-today", "closed")
    );
    assert!(failure.details().is_none());

    let failure = BankError::from(AskError::Deadlock).into_failure();
    assert_eq!(failure.code(), "ledger");
    assert!(failure.message().starts_with("the ledger: "));

    let inner = Failure::new("a", "b").with_details(&1);
    assert_eq!(BankError::from(inner.clone()).into_failure(), inner);

    let taken = NameTakenError {
        name: "bob".to_owned(),
    };
    assert_eq!(taken.to_string(), "bob is taken");
    assert_eq!(taken.into_failure().code(), "name-taken");
}

#[test]
fn errors_reach_the_caller_in_its_format() {
    let mut test = TestContext::<Bank>::new("bank/main");
    let failure = test.call_json("withdraw", "5").unwrap_err();
    assert_eq!(failure.details().bytes(), br#"{"balance":3,"wanted":5}"#);
    let failure = test.call(BankRequests::withdraw(5)).unwrap_err();
    assert_eq!(failure.details_as::<Overdrawn>().unwrap().wanted, 5);
    let failure = test.send(BankRequests::withdraw(5)).unwrap_err();
    assert_eq!(failure.code(), "overdrawn");
}

#[test]
fn question_marks_work_in_handlers_that_wait() {
    let mut test = TestContext::<Bank>::new("bank/main");
    test.answer_next::<u64>("ledger/main", "total", Err(AskError::Timeout));
    test.answer_next("ledger/main", "total", Ok(0_u64));
    test.answer_next("ledger/main", "total", Ok(9_u64));
    assert_eq!(
        test.call(BankRequests::audit()).unwrap_err().code(),
        "ledger"
    );
    assert_eq!(
        test.call(BankRequests::audit()).unwrap_err().code(),
        "empty"
    );
    assert_eq!(test.call(BankRequests::audit()), Ok(9));
}

/// As an asker knows the bank's errors.
#[derive(Debug, PartialEq, AgentError, RemoteError)]
pub enum Known {
    #[error("the account holds {balance}, and {wanted} was wanted")]
    Overdrawn { balance: u64, wanted: u64 },
    #[error("there is no account {0}")]
    #[code("no-account")]
    Missing(String),
    #[error("{0} and {1:?} {{differ}}")]
    TwoThings(u8, String),
    #[error("closed")]
    ClosedForToday,
    #[error("the ledger: {0}")]
    Ledger(#[from] AskError),
    #[error(transparent)]
    Taken(Taken),
}

#[derive(Debug, PartialEq, AgentError, RemoteError)]
#[error("{name} is taken")]
pub struct Taken {
    name: String,
}

#[test]
fn what_an_error_carries_is_read_back() {
    let name = "bob".to_owned();
    for error in [
        Known::Overdrawn {
            balance: 3,
            wanted: 5,
        },
        Known::Missing(name.clone()),
        Known::TwoThings(1, "b".to_owned()),
        Known::ClosedForToday,
        Known::Taken(Taken { name: name.clone() }),
    ] {
        let text = error.to_string();
        let failure = error.into_failure();
        let back = Known::from_failure(&failure).unwrap_or_else(|| panic!("{failure:?}"));
        assert_eq!(back.to_string(), text);
        assert_eq!(back.into_failure(), failure);
    }
    // What it carries is not sent, is of another shape, or is nobody's.
    let overdrawn = Failure::new("overdrawn", "m");
    for failure in [
        Known::Ledger(AskError::Timeout).into_failure(),
        overdrawn.clone(),
        overdrawn.with_details(&"text"),
        Failure::new("elsewhere", "m"),
    ] {
        assert_eq!(Known::from_failure(&failure), None, "{failure:?}");
    }
}

#[derive(Default)]
pub struct Shop;

#[requests]
trait Till {
    fn withdraw(&mut self, amount: u64) -> Result<u64, Known>;
}

#[agent]
impl Shop {
    async fn buy(&mut self, ctx: &mut Context, sum: u64) -> Result<String, AskError> {
        Ok(
            match ctx.ask("bank/a", Till::withdraw(sum)).outcome().await? {
                Ok(left) => format!("{left} are left"),
                Err(Known::Overdrawn { balance, .. }) => format!("only {balance} are there"),
                Err(other) => other.to_string(),
            },
        )
    }
}

#[test]
fn whoever_asks_has_the_other_agent_s_error_by_its_type() {
    let mut test = TestContext::<Shop>::new("shop/a");
    let mut bought = |answer: Result<u64, Failure>| {
        let call = test.begin(ShopRequests::buy(5));
        test.reply(test.asks()[0].ask, answer.map_err(AskError::Failed));
        test.finished(&call).unwrap()
    };
    assert_eq!(bought(Ok(7)), Ok("7 are left".to_owned()));
    let overdrawn = Known::Overdrawn {
        balance: 3,
        wanted: 5,
    };
    let said = bought(Err(overdrawn.into_failure()));
    assert_eq!(said, Ok("only 3 are there".to_owned()));
    // An error that the asker does not know stays a failure.
    let strange = Failure::new("robbed", "all is gone");
    assert_eq!(bought(Err(strange.clone())), Err(strange));
}

//! Typed requests: written by `#[agent]`, and by `#[requests]` for agents elsewhere.
#![allow(missing_docs, reason = "the agents here are examples")]

use phoenix_sdk::Payload;
use phoenix_sdk::prelude::*;
use phoenix_sdk::testing::TestContext;

mod bank {
    use phoenix_sdk::prelude::*;
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    pub(crate) struct Statement {
        pub(crate) lines: Vec<String>,
    }

    #[derive(Default)]
    pub(crate) struct Bank {
        statement: Statement,
    }

    #[agent]
    impl Bank {
        fn note(&mut self, who: &str, statement: &Statement, amount: u64) -> usize {
            self.statement.lines.push(format!("{who} {amount}"));
            self.statement.lines.extend(statement.lines.iter().cloned());
            self.statement.lines.len()
        }

        fn statement(&self) -> &Statement {
            &self.statement
        }

        fn lines(&self) -> Option<Vec<&str>> {
            Some(self.statement.lines.iter().map(|line| &**line).collect())
        }
    }
}

use bank::{Bank, BankRequests, Statement};

/// The same agent as a crate that does not depend on it sees it.
#[requests]
trait Remote {
    fn note(&mut self, who: &str, statement: &Statement, amount: u64) -> usize;
    fn statement(&self) -> Result<Statement, Failure>;
    fn lines() -> Option<Vec<String>>;
}

/// An agent that calls the bank, both ways.
#[derive(Default)]
struct Clerk;

#[agent]
impl Clerk {
    async fn copy(&mut self, ctx: &mut Context) -> Result<usize, AskError> {
        let statement: Statement = ctx.ask("bank/a", BankRequests::statement()).await?;
        let untyped: Payload = ctx.ask("bank/a", Request::new("statement", ())).await?;
        assert_eq!(untyped.decode(), Ok(statement.clone()));
        ctx.send("bank/c", Remote::note("ann", &statement, 7));
        let count = ctx
            .ask("bank/b", Remote::note("bob", &statement, 7))
            .await?;
        Ok(count)
    }
}

#[test]
fn both_kinds_of_requests_call_the_agent() {
    let mut test = TestContext::<Bank>::new("bank/a");
    let extra = Statement {
        lines: vec!["x".to_owned()],
    };
    assert_eq!(test.call(BankRequests::note("ann", &extra, 1)), Ok(2));
    assert_eq!(test.call(Remote::note("bob", &extra, 2)), Ok(4));
    let lines = ["ann 1", "x", "bob 2", "x"].map(str::to_owned).to_vec();
    let statement = Statement {
        lines: lines.clone(),
    };
    assert_eq!(test.call(BankRequests::statement()), Ok(statement.clone()));
    assert_eq!(test.call(Remote::statement()), Ok(statement));
    assert_eq!(test.call(BankRequests::lines()), Ok(Some(lines.clone())));
    assert_eq!(test.call(Remote::lines()), Ok(Some(lines)));
}

#[test]
fn an_agent_calls_another() {
    let mut test = TestContext::<Clerk>::new("clerk/a");
    test.on_ask("bank/a", "statement", |()| {
        Ok(Statement {
            lines: vec!["x".to_owned()],
        })
    });
    test.on_ask(
        "bank/*",
        "note",
        |(who, statement, amount): (String, Statement, u64)| {
            assert_eq!((&*who, amount), ("bob", 7));
            Ok(statement.lines.len() + 1)
        },
    );
    assert_eq!(test.call(ClerkRequests::copy()), Ok(2));
    let sent = test.take_sent();
    let statement = Statement {
        lines: vec!["x".to_owned()],
    };
    assert!(sent[0].is("bank/c", &BankRequests::note("ann", &statement, 7)));
}

#[test]
fn requests_show_what_they_are() {
    assert_eq!(format!("{:?}", Request::new("add", 5)), "add(5)");
    assert_eq!(Remote::lines().method(), "lines");
    assert_eq!(Remote::lines().arguments(), &());
}

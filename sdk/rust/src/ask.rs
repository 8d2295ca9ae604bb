//! Waiting for another agent's answer.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Poller, Poll};

use phoenix_wit::Reply;

use crate::failure::{AgentError, Failure, RemoteError};
use crate::request::Answer;
use crate::runtime::Shared;

/// Why an ask has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AskError {
    /// The other agent's handler failed.
    Failed(Failure),
    /// The deadline passed. The other agent may or may not have acted.
    Timeout,
    /// The message never reached the agent; the text says why.
    Bounced(String),
    /// Answering would have needed an answer from this agent first: asks wait for each
    /// other in a circle, and this one is the youngest of them.
    Deadlock,
    /// Never proposed, safe to ask again; the text says why.
    Unavailable(String),
    /// The answer came and is not what [`Request`](crate::Request) says it is.
    BadAnswer(String),
}

/// An ask on its way: `.await` it for the answer.
///
/// The ask leaves with the turn in which it was made, awaited or not, so two of
/// them can be under way at once:
///
/// ```
/// use phoenix_sdk::prelude::*;
///
/// #[derive(Default)]
/// struct Sum;
///
/// #[agent]
/// impl Sum {
///     async fn of(&mut self, ctx: &mut Context, a: String, b: String) -> Result<u64, AskError> {
///         let a = ctx.ask(&a, Request::new("total", ()).returns::<u64>());
///         let b = ctx.ask(&b, Request::new("total", ()).returns::<u64>());
///         Ok(a.await? + b.await?)
///     }
/// }
/// ```
///
/// Dropped before its answer comes, the answer is ignored.
#[must_use = "await it for the answer, or use `Context::send` if none is wanted"]
pub struct Ask<R, E = Failure> {
    shared: Rc<Shared>,
    number: u64,
    done: bool,
    answer: PhantomData<fn() -> Result<R, E>>,
}

impl<R, E> Ask<R, E> {
    pub(crate) fn new(shared: Rc<Shared>, number: u64) -> Self {
        Self {
            shared,
            number,
            done: false,
            answer: PhantomData,
        }
    }
}

impl<R: Answer, E: RemoteError> Ask<R, E> {
    /// Waits for what the other agent's handler gave: its answer, or its error as the
    /// type it is. The error around it is for everything else: there is no outcome, or
    /// the failure is none of that type's.
    ///
    /// ```
    /// use phoenix_sdk::prelude::*;
    ///
    /// #[derive(Debug, AgentError, RemoteError)]
    /// enum BankError {
    ///     #[error("{missing} are missing")]
    ///     Overdrawn { missing: u64 },
    /// }
    ///
    /// # #[derive(Default)] struct Bank;
    /// #[agent]
    /// impl Bank {
    ///     fn withdraw(&mut self, sum: u64) -> Result<u64, BankError> {
    ///         Err(BankError::Overdrawn { missing: sum })
    ///     }
    /// }
    ///
    /// # async fn example(ctx: &mut Context) -> Result<u64, AskError> {
    /// match ctx.ask("bank/alice", BankRequests::withdraw(5)).outcome().await? {
    ///     Ok(left) => Ok(left),
    ///     Err(BankError::Overdrawn { missing }) => Ok(missing),
    /// }
    /// # }
    /// ```
    pub async fn outcome(self) -> Result<Result<R, E>, AskError> {
        match self.await {
            Ok(answer) => Ok(Ok(answer)),
            Err(AskError::Failed(failure)) => match E::from_failure(&failure) {
                Some(error) => Ok(Err(error)),
                None => Err(AskError::Failed(failure)),
            },
            Err(error) => Err(error),
        }
    }
}

impl<R: Answer, E> Future for Ask<R, E> {
    type Output = Result<R, AskError>;

    fn poll(mut self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<Self::Output> {
        let ended = self
            .shared
            .asks
            .borrow_mut()
            .poll(self.number, poller.waker());
        ended.map(|ended| {
            self.done = true;
            let payload = ended?;
            R::from_payload(&payload).map_err(|why| AskError::BadAnswer(why.to_string()))
        })
    }
}

impl<R, E> Drop for Ask<R, E> {
    fn drop(&mut self) {
        if !self.done {
            self.shared.asks.borrow_mut().forget(self.number);
        }
    }
}

impl<R, E> fmt::Debug for Ask<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ask").field(&self.number).finish()
    }
}

/// Many asks on their way: `.await` it for all of their answers.
///
/// [`Context::ask_all`](crate::Context::ask_all) makes one.
#[must_use = "await it for the answers, or use `Context::broadcast` if none are wanted"]
#[derive(Debug)]
pub struct AskAll<R, E = Failure> {
    asks: Vec<Waiting<R, E>>,
}

#[derive(Debug)]
enum Waiting<R, E> {
    For(Ask<R, E>),
    Ended(Result<R, AskError>),
}

impl<R, E> AskAll<R, E> {
    pub(crate) fn new(asks: impl Iterator<Item = Ask<R, E>>) -> Self {
        Self {
            asks: asks.map(Waiting::For).collect(),
        }
    }
}

// An answer is not pinned: nothing points into it.
impl<R, E> Unpin for AskAll<R, E> {}

impl<R: Answer, E> Future for AskAll<R, E> {
    type Output = Vec<Result<R, AskError>>;

    fn poll(mut self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<Self::Output> {
        let mut is_over = true;
        for waiting in &mut self.asks {
            if let Waiting::For(ask) = waiting {
                match Pin::new(ask).poll(poller) {
                    Poll::Ready(ended) => *waiting = Waiting::Ended(ended),
                    Poll::Pending => is_over = false,
                }
            }
        }
        if !is_over {
            return Poll::Pending;
        }
        let asks = std::mem::take(&mut self.asks).into_iter();
        let answers = asks.filter_map(|waiting| match waiting {
            Waiting::Ended(answer) => Some(answer),
            Waiting::For(_) => None,
        });
        Poll::Ready(answers.collect())
    }
}

impl AskError {
    pub(crate) fn of_reply(reply: Reply<'_>) -> Result<crate::Payload, Self> {
        match reply {
            Reply::Ok(payload) => Ok(payload.into()),
            Reply::Failed(failure) => Err(Self::Failed(failure.into())),
            // Who is told of an abandoned ask after all learns as much as from a time-out.
            Reply::Timeout | Reply::Abandoned => Err(Self::Timeout),
            Reply::Bounced(why) => Err(Self::Bounced(why.to_owned())),
            Reply::Deadlock => Err(Self::Deadlock),
            Reply::Unavailable(why) => Err(Self::Unavailable(why.to_owned())),
        }
    }
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => write!(f, "{failure}"),
            Self::Timeout => f.write_str("no answer within the ask's deadline"),
            Self::Bounced(why) => write!(f, "the message did not reach the agent: {why}"),
            Self::Deadlock => f.write_str("the answer would have had to wait for the asker"),
            Self::Unavailable(why) => write!(f, "the agent cannot commit just now: {why}"),
            Self::BadAnswer(why) => write!(f, "the answer cannot be read: {why}"),
        }
    }
}

impl std::error::Error for AskError {}

/// The failure of the other agent passes on as it is; the rest gets the codes
/// `timeout`, `bounced`, `deadlock`, `unavailable` and `bad-answer`.
impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        let code = match error {
            AskError::Failed(failure) => return failure,
            AskError::Timeout => "timeout",
            AskError::Bounced(_) => "bounced",
            AskError::Deadlock => "deadlock",
            AskError::Unavailable(_) => "unavailable",
            AskError::BadAnswer(_) => "bad-answer",
        };
        Self::new(code, error.to_string())
    }
}

impl From<Failure> for AskError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl AgentError for AskError {
    fn into_failure(self) -> Failure {
        self.into()
    }
}

/// What an agent passed on of an ask of its own.
impl RemoteError for AskError {
    fn from_failure(failure: &Failure) -> Option<Self> {
        Some(match failure.code() {
            "timeout" => Self::Timeout,
            "deadlock" => Self::Deadlock,
            _ => Self::Failed(failure.clone()),
        })
    }
}

//! The agent's struct, shared among handlers that wait.

use std::cell::{Ref, RefCell, RefMut};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

/// The agent's struct as an `async` handler holds it that lets others run while
/// it waits.
///
/// An `async fn f(&mut self, …)` keeps the struct to itself until it is done. A
/// handler that takes `this: State<Self>` instead looks at it in steps, and
/// between the steps, at each `.await`, other handlers may change it:
///
/// ```
/// use phoenix_sdk::prelude::*;
///
/// #[derive(Default)]
/// struct Cache { hits: u64, value: Option<u64> }
///
/// #[agent]
/// impl Cache {
///     #[interleave]
///     async fn get(this: State<Self>, ctx: &mut Context) -> Result<u64, AskError> {
///         if let Some(value) = this.with(|cache| cache.value) {
///             this.with_mut(|cache| cache.hits += 1);
///             return Ok(value);
///         }
///         let value: u64 = ctx
///             .ask("counter/alice", Request::new("total", ()).returns())
///             .await?;
///         this.with_mut(|cache| cache.value = Some(value));
///         Ok(value)
///     }
/// }
/// ```
///
/// The closures keep a borrow from living across an `.await`: what would let two
/// handlers hold the struct at once does not compile.
pub struct State<A>(Rc<RefCell<A>>);

impl<A> State<A> {
    pub(crate) fn new(agent: A) -> Self {
        Self(Rc::new(RefCell::new(agent)))
    }

    /// Looks at the agent.
    ///
    /// # Panics
    /// Inside a closure given to [`with_mut`](Self::with_mut) of the same agent.
    pub fn with<R>(&self, look: impl FnOnce(&A) -> R) -> R {
        look(&self.0.borrow())
    }

    /// Changes the agent.
    ///
    /// # Panics
    /// Inside a closure given to [`with`](Self::with) or `with_mut` of the same agent.
    pub fn with_mut<R>(&self, change: impl FnOnce(&mut A) -> R) -> R {
        change(&mut self.0.borrow_mut())
    }

    #[doc(hidden)]
    /// Keeps the agent from being changed, across awaits too. The runtime begins a
    /// handler that does this only when it can, and nothing beside it.
    pub fn hold(&self) -> impl Deref<Target = A> {
        self.0.borrow()
    }

    #[doc(hidden)]
    /// Keeps the agent for one handler, across awaits too.
    pub fn hold_mut(&self) -> impl DerefMut<Target = A> {
        self.0.borrow_mut()
    }

    #[inline]
    pub(crate) fn try_read(&self) -> Option<Ref<'_, A>> {
        self.0.try_borrow().ok()
    }

    #[inline]
    pub(crate) fn try_write(&self) -> Option<RefMut<'_, A>> {
        self.0.try_borrow_mut().ok()
    }
}

impl<A> Clone for State<A> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<A: fmt::Debug> fmt::Debug for State<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("State").field(&self.0).finish()
    }
}

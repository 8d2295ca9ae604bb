//! Handlers that cannot be.
#![allow(dead_code, unused_variables, reason = "nothing here runs")]

use phoenix_sdk::prelude::*;

#[derive(Default)]
struct Counter {
    total: u64,
}

#[agent]
impl Counter {
    fn consume(self) {}

    fn boxed(self: Box<Self>) {}

    fn generic<T>(&self, value: T) {}

    fn anything(&self, value: impl Copy) {}

    fn pair(&self, (a, b): (u64, u64)) {}

    fn change(&self, value: &mut u64) {}

    fn long(&self, name: &'static str) {}

    fn names(&self, names: Vec<&str>) {}

    fn owned(&self, ctx: Context) {}

    fn twice(&self, a: &mut Context, b: &mut Context) {}

    fn shared(this: State<Self>) {}

    fn opaque(&self) -> impl Copy {}

    unsafe fn dangerous(&self) {}

    #[interleave]
    async fn greedy(&mut self, ctx: &mut Context) -> Result<(), AskError> {
        ctx.ask("a/b", Request::new("c", ()).returns()).await
    }

    #[interleave]
    async fn watchful(&self) {}

    #[interleave]
    fn no_handler() {}

    #[interleave(always)]
    fn options(&self) {}

    #[skip]
    #[interleave]
    fn undecided(&self) {}
}

fn main() {}

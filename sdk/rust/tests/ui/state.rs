//! The agent cannot be held across an await by a handler that shares it.
#![allow(dead_code, unused_variables, reason = "nothing here runs")]

use phoenix_sdk::prelude::*;

#[derive(Default)]
struct Cache {
    values: Vec<u64>,
}

#[agent]
impl Cache {
    #[interleave]
    async fn get(this: State<Self>, ctx: &mut Context) -> Result<u64, AskError> {
        let first = this.with_mut(|cache| &mut cache.values);
        ctx.ask("a/b", Request::new("c", ()).returns::<()>()).await?;
        first.push(1);
        Ok(1)
    }

    #[interleave]
    async fn inside(this: State<Self>, ctx: &mut Context) -> u64 {
        this.with_mut(|cache| {
            ctx.ask("a/b", Request::new("c", ()).returns::<u64>()).await;
            cache.values.len() as u64
        })
    }
}

fn main() {}

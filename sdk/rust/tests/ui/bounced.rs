//! What cannot take messages that came back.
#![allow(dead_code, unused_variables, reason = "nothing here runs")]

use phoenix_sdk::prelude::*;

#[derive(Default)]
struct Feed;

#[agent]
impl Feed {
    fn item(&mut self) {}

    #[bounced]
    async fn waits(&mut self, bounced: Bounced) {}

    #[bounced]
    fn nobody(bounced: Bounced) {}

    #[bounced]
    fn nothing(&mut self, ctx: &mut Context) {}

    #[bounced]
    fn other(&mut self, bounced: String) {}

    #[bounced]
    fn lent(&mut self, bounced: &Bounced) {}

    #[bounced]
    fn more(&mut self, bounced: Bounced, again: Bounced) {}

    #[bounced]
    fn right(&mut self, bounced: Bounced) {}

    #[bounced]
    fn second(&mut self, bounced: Bounced) {}

    #[bounced]
    #[skip]
    fn skipped(&mut self, bounced: Bounced) {}
}

fn main() {}

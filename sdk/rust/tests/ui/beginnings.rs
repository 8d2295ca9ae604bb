//! `#[init]` functions that cannot be.
#![allow(dead_code, unused_variables, reason = "nothing here runs")]

use phoenix_sdk::prelude::*;

struct Late;

#[agent]
impl Late {
    #[init]
    async fn begin() -> Self {
        Self
    }

    fn get(&self) {}
}

struct Again;

#[agent]
impl Again {
    #[init]
    fn begin(&self) -> Self {
        Self
    }

    fn get(&self) {}
}

struct Twice;

#[agent]
impl Twice {
    #[init]
    fn first() -> Self {
        Self
    }

    #[init]
    fn second() -> Self {
        Self
    }

    fn get(&self) {}
}

struct Nothing;

#[agent]
impl Nothing {
    #[init]
    fn begin() {}

    fn get(&self) {}
}

struct Many;

#[agent]
impl Many {
    #[init]
    fn begin(a: u8, b: u8) -> Self {
        Self
    }

    fn get(&self) {}
}

fn main() {}

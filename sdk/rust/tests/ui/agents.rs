//! `#[agent]` where it does not belong.
#![allow(dead_code, unused_variables, reason = "nothing here runs")]

use phoenix_sdk::prelude::*;

#[agent]
struct OnAStruct;

struct Generic<T>(T);

#[agent]
impl<T> Generic<T> {
    fn get(&self) {}
}

struct Applied<T>(T);

#[agent]
impl Applied<u8> {
    fn get(&self) {}
}

struct Copied;

#[agent]
impl Clone for Copied {
    fn clone(&self) -> Self {
        Self
    }
}

struct Idle;

#[agent]
impl Idle {
    fn helper() {}
}

struct Optional;

#[agent(fast)]
impl Optional {
    fn get(&self) {}
}

fn main() {}

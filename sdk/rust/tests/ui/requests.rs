//! Lists of requests that cannot be.
#![allow(dead_code, unused_variables, reason = "nothing here runs")]

use phoenix_sdk::prelude::*;

#[requests]
trait Remote {
    fn done(&self) {}

    fn generic<T>(&self, value: T);

    fn pair(&self, (a, b): (u64, u64));

    fn names(&self, names: Vec<&str>);

    const LIMIT: u64;
}

#[requests]
trait Generic<T> {
    fn get(&self);
}

#[requests(all)]
trait Optional {
    fn get(&self);
}

#[requests]
struct NoTrait;

fn main() {}

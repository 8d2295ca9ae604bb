//! Types that cannot travel.
#![allow(dead_code, unused_variables, reason = "nothing here runs")]

use phoenix_sdk::prelude::*;

/// Has neither `Default` nor an `#[init]`.
struct NoBeginning(u8);

#[agent]
impl NoBeginning {
    fn get(&self) -> u8 {
        self.0
    }
}

struct Opaque;

#[derive(Default)]
struct Argument;

#[agent]
impl Argument {
    fn take(&mut self, value: Opaque) {}

    async fn wait(&mut self, value: Opaque) {}
}

#[derive(Default)]
struct Answer;

#[agent]
impl Answer {
    fn give(&self) -> Opaque {
        Opaque
    }

    async fn wait(&mut self) -> Opaque {
        Opaque
    }
}

#[derive(Default)]
struct Error;

#[agent]
impl Error {
    fn fail(&self) -> Result<u64, std::io::Error> {
        Ok(1)
    }

    async fn wait(&mut self) -> Result<u64, std::fmt::Error> {
        Ok(1)
    }
}

fn main() {}

//! Does a bit of everything whose outcome could depend on where and how it is run:
//! hash tables and the order of their entries, randomness, clocks, floats that are no
//! numbers, values full of padding, memory that grows, timers, asks, and traps. It
//! proves that none of it does.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::time::SystemTime;

use phoenix_sdk::prelude::*;

/// Values with padding that are kept, the oldest replaced.
const KEPT: usize = 50;

/// More padding than content.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Holes {
    small: u8,
    wide: u128,
    tiny: u8,
    long: u64,
}

#[derive(Default)]
struct Medley {
    words: HashMap<String, u64>,
    drawn: Vec<u64>,
    sum: f64,
    squares: Vec<f64>,
    holes: Vec<Box<Holes>>,
    heap: Vec<Vec<u8>>,
    fired: u64,
    ends: Vec<String>,
    bounced: u64,
}

#[agent]
impl Medley {
    /// Counts words and tells `to` of the first three, in the table's order.
    fn words(&mut self, ctx: &mut Context, text: String, to: String) -> Vec<String> {
        for word in text.split_whitespace() {
            *self.words.entry(word.to_owned()).or_default() += 1;
        }
        let first: Vec<String> = self.words.keys().take(3).cloned().collect();
        for word in &first {
            ctx.send(&to, Request::new("word", word.clone()).returns::<()>());
        }
        first
    }

    /// Draws numbers of the turn's own, and one of the standard library's.
    fn draw(&mut self, ctx: &mut Context) -> Vec<u64> {
        let hashed = RandomState::new().hash_one(0_u64) >> 1;
        let mut rng = ctx.rng();
        let drawn = vec![ctx.random() >> 1, rng.range(0..1_000), hashed];
        self.drawn.extend(&drawn);
        drawn
    }

    /// The time, as the context and as the standard library have it, in nanoseconds.
    fn clocks(&mut self, ctx: &mut Context) -> (String, u64) {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let wall = wall.map_or(0, |it| it.as_nanos() as u64);
        (format!("{:?}", ctx.now()), wall)
    }

    /// Adds up, with results that are infinite and no numbers among them.
    fn sums(&mut self, by: i64) -> String {
        let by = black_box(by as f64);
        self.sum += (by / 3.0).sqrt() - by.ln_1p() / (by - 7.0);
        self.squares.push(self.sum * self.sum - self.sum);
        if !self.sum.is_finite() {
            self.sum = by;
        }
        format!("{:?}", self.squares.last())
    }

    /// Keeps values put together at different depths of the stack.
    fn pad(&mut self, text: String) -> u64 {
        for byte in text.bytes() {
            let number = self.holes.len();
            let value = Box::new(made(byte, number, usize::from(byte) % 7));
            if number < KEPT {
                self.holes.push(black_box(value));
            } else {
                self.holes.swap_remove(usize::from(byte) * 31 % KEPT);
            }
        }
        self.holes.len() as u64
    }

    /// Takes so many KiB, and gives back the older half of what it has.
    fn grow(&mut self, kib: u64) -> u64 {
        self.heap.push(vec![kib as u8; (kib as usize) << 10]);
        if self.heap.len() > 4 {
            self.heap.drain(..2);
        }
        self.heap.iter().map(|it| it.len() as u64).sum()
    }

    /// Has `ring` called after so many milliseconds, under the name.
    fn remind(&mut self, ctx: &mut Context, name: String, millis: u64, to: String) {
        let after = Duration::from_millis(millis);
        ctx.timer(name.as_str(), after, MedleyRequests::ring(to));
    }

    /// A timer's.
    fn ring(&mut self, ctx: &mut Context, to: String) {
        self.fired += 1;
        ctx.send(to, Request::new("rang", self.fired).returns::<()>());
    }

    /// Asks `to` and answers with how that ended; others wait meanwhile.
    async fn ask(&mut self, ctx: &mut Context, to: String, millis: u64) -> String {
        let request = Request::new("value", self.ends.len() as u64).returns::<u64>();
        let within = Duration::from_millis(millis);
        let end = match ctx.ask_with_deadline(to, request, within).await {
            Ok(number) => number.to_string(),
            Err(error) => error.to_string(),
        };
        self.ends.push(end.clone());
        end
    }

    /// Changes much of its memory, and traps.
    fn trap(&mut self, text: String) {
        self.words.clear();
        self.pad(text);
        self.sum = -1.0;
        panic!("as it was told to");
    }

    /// Takes back a message of its own.
    #[bounced]
    fn came_back(&mut self, _bounced: Bounced) {
        self.bounced += 1;
    }

    /// What it has.
    fn report(&self) -> (Vec<(String, u64)>, u64, u64, Vec<String>) {
        let words = self.words.iter().map(|(word, n)| (word.clone(), *n));
        (words.collect(), self.fired, self.bounced, self.ends.clone())
    }
}

/// A value put together so deep in the stack, over whatever earlier calls left there.
#[inline(never)]
fn made(byte: u8, number: usize, depth: usize) -> Holes {
    let noise = black_box([number as u64 * 0x9e37_79b9_7f4a_7c15; 24]);
    if depth > 0 {
        let mut value = made(byte, number + 1, depth - 1);
        value.long ^= noise[depth % 24];
        return black_box(value);
    }
    let mut value = black_box(Holes::default());
    value.small = byte;
    value.wide = u128::from(noise[3]) << 13;
    value.tiny = byte ^ 0x55;
    black_box(value)
}

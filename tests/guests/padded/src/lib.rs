//! Keeps structs full of padding, moved about whole. Padding is whatever lay
//! where a value was put together, so a byte of the stack that differs between
//! an agent and its restored twin ends up in memory both are hashed over.

use std::hint::black_box;

use phoenix_sdk::prelude::*;

/// Values that are kept, the oldest replaced.
const KEPT: usize = 200;

/// More padding than content.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Holes {
    small: u8,
    wide: u128,
    flag: bool,
    middle: u32,
    tiny: u8,
    long: u64,
    last: u8,
}

#[derive(Default)]
struct Padded {
    holes: Vec<Holes>,
    boxed: Vec<Box<Holes>>,
    next: usize,
}

#[agent]
impl Padded {
    /// Keeps some more, and answers with how many there are.
    fn keep(&mut self, text: String) -> u64 {
        for byte in text.bytes() {
            let depth = self.next % 7;
            let value = made(byte, self.next, depth);
            match self.holes.get_mut(self.next % KEPT) {
                Some(place) => *place = black_box(value),
                None => self.holes.push(black_box(value)),
            }
            if self.boxed.len() < KEPT {
                self.boxed.push(black_box(Box::new(value)));
            } else {
                // Freed and allocated in an order that leaves traces in the allocator.
                self.boxed.swap_remove(self.next * 31 % KEPT);
            }
            self.next += 1;
        }
        (self.holes.len() + self.boxed.len()) as u64
    }

    /// Reads all of linear memory and answers with its pages.
    fn read_all(&self, _text: String) -> u64 {
        let pages = core::arch::wasm32::memory_size::<0>();
        for address in (8..pages * 65_536).step_by(1_024) {
            // SAFETY: the address lies within linear memory, all of which is readable in Wasm.
            // The read is volatile because no allocation of this program's need lie there.
            black_box(unsafe { (address as *const u8).read_volatile() });
        }
        pages as u64
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
    value.flag = number % 2 == 0;
    value.middle = number as u32;
    value.tiny = byte ^ 0x55;
    value.last = 1;
    black_box(value)
}

//! What an agent can do to the thread and the memory it runs on.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// The misdeeds, by method name.
pub const MISDEEDS: &[&str] = &[
    "spin",
    "spin-hostcalls",
    "sleep",
    "poll",
    "read-stdin",
    "grow-to-limit",
    "grow-past-limit",
    "recursion",
    "unreachable",
    "abort",
    "panic",
    "exit",
    "out-of-bounds",
    "leak",
    "print-flood",
    "print-escapes",
];

/// Megabytes `grow-to-limit` takes: well within the default limit of 64 MiB.
const WITHIN: usize = 48;

/// Does it. An unknown name, the empty one too, does nothing.
pub fn commit(misdeed: &str) {
    match misdeed {
        "spin" => loop {
            black_box(());
        },
        // Never long in Wasm, so that only a check on the way into the host can stop it.
        "spin-hostcalls" => loop {
            black_box(Instant::now());
        },
        "sleep" => std::thread::sleep(Duration::from_secs(3_600)),
        "poll" => poll(),
        "read-stdin" => {
            let mut line = String::new();
            let read = std::io::stdin().read_line(&mut line);
            assert!(read.unwrap_or(0) == 0, "there is nobody to read from");
        }
        "grow-to-limit" => drop(black_box(touched(WITHIN))),
        "grow-past-limit" => loop {
            std::mem::forget(black_box(touched(16)));
        },
        "leak" => std::mem::forget(black_box(touched(1))),
        "recursion" => {
            black_box(deeper(0));
        }
        "unreachable" => core::arch::wasm32::unreachable(),
        "abort" => std::process::abort(),
        "panic" => panic!("as it was told to"),
        "exit" => std::process::exit(0),
        "out-of-bounds" => {
            let far = black_box(usize::MAX - 64) as *const u64;
            // SAFETY: none; the address lies outside linear memory and the load traps. That is
            // what this shows.
            black_box(unsafe { far.read_volatile() });
        }
        "print-flood" => {
            let line = "x".repeat(1_023);
            for _ in 0..4_096 {
                println!("{line}");
            }
        }
        "print-escapes" => {
            println!("\x1b[2J\x1b[H\x1b]0;an agent named your window\x07\x1b[31mred\u{9b}31m");
            eprintln!("one\rtwo\u{8}\u{202e}three\0four");
        }
        _ => {}
    }
}

/// Waits as `std` cannot be made to: on a list of pollables, one of them never ready.
fn poll() {
    use wasip2::clocks::monotonic_clock::subscribe_duration;
    let hour = subscribe_duration(3_600_000_000_000);
    let year = subscribe_duration(31_536_000_000_000_000);
    black_box(wasip2::io::poll::poll(&[&hour, &year]));
}

/// So many megabytes, each page of them written.
fn touched(megabytes: usize) -> Vec<u8> {
    let mut memory = vec![0_u8; megabytes << 20];
    for page in memory.chunks_mut(4_096) {
        page[0] = 1;
    }
    memory
}

#[allow(
    unconditional_recursion,
    reason = "that it never ends is what it is for"
)]
fn deeper(level: u64) -> u64 {
    let frame = black_box([level; 16]);
    deeper(level + 1) + frame[0]
}

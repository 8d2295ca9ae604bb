//! A core module that speaks WASI preview 1, made a component by the preview 1
//! adapter as older toolchains do. It proves that what they make, with the
//! adapter's own modules, memory and globals in it, sleeps and moves too.
//!
//! It is compiled for `wasm32-unknown-unknown`, which the toolchain file
//! installs, and calls preview 1 by hand; tests/support joins it to the adapter.
//!
//! | method | answer (JSON) |
//! |---|---|
//! | `add` | the new total |
//! | `total` | the total |
//! | `print` | how often it has printed; the payload goes to stdout |
//! | `clock` | preview 1's real-time clock, nanoseconds |
//! | `random` | eight random bytes as a number below 2^63 |
//! | `environment` | how many variables it can see: 0 |
//! | `open` | preview 1's error number for opening a file: not 0 |

use std::cell::Cell;

wit_bindgen::generate!({
    path: "../../../wit/agent.wit",
    world: "agent",
});

use exports::phoenix::agent::handler::{Body, Guest, Outcome, Payload};
use phoenix::agent::types::{ContentType, Failure};

/// A slice as preview 1 takes it.
#[repr(C)]
struct Slice {
    start: *const u8,
    length: usize,
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn fd_write(fd: u32, slices: *const Slice, count: usize, written: *mut usize) -> u16;
    fn clock_time_get(clock: u32, precision: u64, time: *mut u64) -> u16;
    fn random_get(bytes: *mut u8, length: usize) -> u16;
    fn environ_sizes_get(count: *mut usize, bytes: *mut usize) -> u16;
    fn path_open(
        dir: u32,
        dirflags: u32,
        path: *const u8,
        length: usize,
        oflags: u16,
        rights: u64,
        inherited: u64,
        fdflags: u16,
        fd: *mut u32,
    ) -> u16;
}

thread_local! {
    static TOTAL: Cell<i64> = const { Cell::new(0) };
    static PRINTED: Cell<u64> = const { Cell::new(0) };
}

struct Adapter;

impl Guest for Adapter {
    fn init(_config: Payload) -> Result<(), String> {
        print("adapter begins\n");
        Ok(())
    }

    fn handle(input: Body) -> Outcome {
        let Body::Message(message) = input else {
            return json(String::new());
        };
        let text = String::from_utf8_lossy(&message.payload.bytes);
        json(match message.method.as_str() {
            "add" => {
                TOTAL.set(TOTAL.get() + text.trim().parse::<i64>().unwrap_or(0));
                TOTAL.get().to_string()
            }
            "total" => TOTAL.get().to_string(),
            "print" => {
                PRINTED.set(PRINTED.get() + 1);
                print(&format!("{}: {text}\n", PRINTED.get()));
                PRINTED.get().to_string()
            }
            "clock" => clock().to_string(),
            "random" => (random() >> 1).to_string(),
            "environment" => environment().to_string(),
            "open" => open().to_string(),
            other => {
                return Outcome::Failed(Failure {
                    code: "no-such-method".into(),
                    message: other.into(),
                    details: payload(String::new()),
                });
            }
        })
    }
}

fn print(text: &str) {
    let slice = Slice {
        start: text.as_ptr(),
        length: text.len(),
    };
    let mut written = 0;
    // SAFETY: the slice and the result outlive the call.
    let error = unsafe { fd_write(1, &slice, 1, &mut written) };
    assert_eq!(error, 0, "stdout takes text");
}

fn clock() -> u64 {
    let mut time = 0;
    // SAFETY: the result outlives the call.
    let error = unsafe { clock_time_get(0, 1, &mut time) };
    assert_eq!(error, 0, "there is a real-time clock");
    time
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // SAFETY: the length is the buffer's.
    let error = unsafe { random_get(bytes.as_mut_ptr(), bytes.len()) };
    assert_eq!(error, 0, "there is randomness");
    u64::from_le_bytes(bytes)
}

fn environment() -> usize {
    let (mut count, mut bytes) = (0, 0);
    // SAFETY: both results outlive the call.
    let error = unsafe { environ_sizes_get(&mut count, &mut bytes) };
    assert_eq!(error, 0, "there is an environment, if an empty one");
    count
}

fn open() -> u16 {
    let path = "etc/passwd";
    let mut fd = 0;
    // SAFETY: the path and the result outlive the call. Descriptor 3 is where the first directory
    // of a program's own would be.
    unsafe { path_open(3, 0, path.as_ptr(), path.len(), 0, 2, 0, 0, &mut fd) }
}

fn payload(text: String) -> Payload {
    Payload {
        content_type: ContentType::Json,
        bytes: text.into_bytes(),
    }
}

fn json(text: String) -> Outcome {
    Outcome::Ok(payload(text))
}

export!(Adapter);

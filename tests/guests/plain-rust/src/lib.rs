//! Ordinary Rust as people write it, with no regard for where it runs: it
//! prints, hashes, reads clocks, draws random numbers and sleeps for no time.
//! It proves that an agent that did all this still sleeps and moves.
//!
//! | method | answer (JSON) |
//! |---|---|
//! | `everything` | an object: what each of the below gave |
//! | `print` | how often it has printed; the payload goes to stdout and stderr |
//! | `words` | how many different words it was given so far, kept in a `HashMap` |
//! | `clocks` | `Instant` elapsed since the first turn and `SystemTime`, nanoseconds |
//! | `read-all` | reads all of linear memory: its pages |
//! | `environment` | how many variables, arguments and files it can see: all 0 |

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::time::{Duration, Instant, SystemTime};

wit_bindgen::generate!({
    path: "../../../wit/agent.wit",
    world: "agent",
});

use exports::phoenix::agent::handler::{Body, Guest, Outcome, Payload};
use phoenix::agent::types::{ContentType, Failure};

#[derive(Default)]
struct State {
    printed: u64,
    words: HashMap<String, u64>,
    began: Option<Instant>,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

struct PlainRust;

impl Guest for PlainRust {
    fn init(_config: Payload) -> Result<(), String> {
        println!("plain-rust begins");
        Ok(())
    }

    fn handle(input: Body) -> Outcome {
        let Body::Message(message) = input else {
            return json(String::new());
        };
        let text = String::from_utf8_lossy(&message.payload.bytes);
        STATE.with_borrow_mut(|state| match message.method.as_str() {
            "everything" => json(format!(
                "{{\"printed\":{},\"words\":{},\"clocks\":{},\"random\":{},\"environment\":{}}}",
                state.print(&text),
                state.count(&text),
                state.clocks(),
                random(),
                environment()
            )),
            "print" => json(state.print(&text).to_string()),
            "words" => json(state.count(&text).to_string()),
            "clocks" => json(state.clocks()),
            "environment" => json(environment()),
            "read-all" => json(read_all().to_string()),
            other => Outcome::Failed(Failure {
                code: "no-such-method".into(),
                message: other.into(),
                details: payload(String::new()),
            }),
        })
    }
}

impl State {
    fn print(&mut self, text: &str) -> u64 {
        self.printed += 1;
        println!("out {}: {text}", self.printed);
        eprintln!("err {}: {text}", self.printed);
        print!("a line in ");
        println!("two parts");
        std::io::stdout().flush().expect("stdout can be flushed");
        self.printed
    }

    fn count(&mut self, text: &str) -> usize {
        for word in text.split_whitespace() {
            *self.words.entry(word.to_owned()).or_default() += 1;
        }
        self.words.len()
    }

    fn clocks(&mut self) -> String {
        // No time is what an agent may sleep; more would hold up its neighbours.
        std::thread::sleep(Duration::ZERO);
        std::thread::yield_now();
        let began = *self.began.get_or_insert_with(Instant::now);
        let wall = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        format!(
            "{{\"elapsed\":{},\"wall\":{}}}",
            began.elapsed().as_nanos(),
            wall.as_nanos()
        )
    }
}

/// Randomness as the standard library hands it out. Halved, so that it fits JSON readers that
/// know signed integers only.
fn random() -> u64 {
    RandomState::new().hash_one(0) >> 1
}

fn read_all() -> usize {
    let pages = core::arch::wasm32::memory_size::<0>();
    for address in (8..pages * 65_536).step_by(1_024) {
        // SAFETY: the address lies within linear memory, all of which is readable in Wasm. The
        // read is volatile because no allocation of this program's need lie there.
        std::hint::black_box(unsafe { (address as *const u8).read_volatile() });
    }
    pages
}

fn environment() -> String {
    let files = std::fs::read_dir("/").map_or(0, Iterator::count);
    format!(
        "{{\"variables\":{},\"arguments\":{},\"files\":{files}}}",
        std::env::vars().count(),
        std::env::args().count()
    )
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

export!(PlainRust);

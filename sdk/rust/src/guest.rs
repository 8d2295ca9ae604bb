//! What only a component has: the contract's export, the panic hook, the stack.

use std::cell::RefCell;
use std::io::Write as _;
use std::mem::ManuallyDrop;
use std::thread::LocalKey;

use crate::describe::Stack;
use crate::runtime::{Agent, Runtime};

/// The `agent-framed` world, and the macro that exports it.
#[allow(
    missing_docs,
    unsafe_code,
    unreachable_pub,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::allow_attributes_without_reason,
    reason = "generated from the contract; lifting and lowering arguments is unsafe by nature"
)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit/agent.wit",
        world: "agent-framed",
        pub_export_macro: true,
        default_bindings_module: "phoenix_sdk::__private::bindings",
        runtime_path: "wit_bindgen::rt",
    });
}

/// Where a component keeps its agent. Never dropped: an agent ends with its memory.
pub struct Slot<A>(ManuallyDrop<RefCell<Option<Runtime<A>>>>);

impl<A: Agent> Slot<A> {
    /// A slot whose agent has not begun.
    #[expect(
        clippy::new_without_default,
        reason = "a static needs a const function"
    )]
    pub const fn new() -> Self {
        Self(ManuallyDrop::new(RefCell::new(None)))
    }

    /// Runs a frame's turns.
    pub fn turns(slot: &'static LocalKey<Self>, frame: Vec<u8>) -> Vec<u8> {
        slot.with(|slot| {
            let mut runtime = slot.0.borrow_mut();
            let runtime = runtime.get_or_insert_with(|| {
                report_panics();
                Runtime::new()
            });
            runtime.turns(&frame)
        })
    }
}

/// A panic ends in a trap that says nothing; this line goes to the agent's log first.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("a value that is no text");
        // There is nobody left to tell if stderr fails.
        let _ = match panic.location() {
            Some(at) => writeln!(std::io::stderr(), "panicked at {at}: {message}"),
            None => writeln!(std::io::stderr(), "panicked: {message}"),
        };
    }));
}

/// Where the linker put the shadow stack.
#[allow(
    unsafe_code,
    reason = "the linker's symbols can only be declared as foreign; only their addresses are taken"
)]
pub(crate) fn stack() -> Stack {
    // SAFETY: wasm-ld defines both symbols in every module it links. They mark
    // addresses and are never read.
    unsafe extern "C" {
        safe static __stack_low: u8;
        safe static __stack_high: u8;
    }
    Stack {
        stack_low: (&raw const __stack_low).addr() as u64,
        stack_high: (&raw const __stack_high).addr() as u64,
    }
}

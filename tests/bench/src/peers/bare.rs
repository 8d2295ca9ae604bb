//! wasmtime alone: the same components, not instrumented, under the engine
//! settings of the host, called from one thread with nothing around it.

use anyhow::Context as _;
use phoenix_wit::{AnswerReader, Effect, FrameWriter, Input, Outcome, Payload, Reply, Turn};
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store,
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

/// The `agent-framed` world, as any wasmtime user would bind it.
#[allow(
    missing_docs,
    unsafe_code,
    unreachable_pub,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::allow_attributes_without_reason,
    reason = "generated from the contract"
)]
mod contract {
    wasmtime::component::bindgen!({ path: "../../wit/agent.wit", world: "agent-framed" });
}

/// Instances that may live at once.
const MAX_INSTANCES: u32 = 2_000;
/// Linear memory of one, bytes; as a kind's default policy.
const MAX_MEMORY: usize = 64 << 20;
/// Elements of one table; as the host's default.
const MAX_TABLE: usize = 100_000;
/// Further away than any bench runs: the epoch is checked, as in the host, and never reached.
const NO_DEADLINE: u64 = 1 << 60;
/// Messages in one frame; as a kind's default policy.
const BATCH: u32 = 256;
/// What turns see as their time.
const NOW: u64 = 1_700_000_000_000_000_000;

/// What an instance's imports stand on.
struct World {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for World {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// A component, compiled and linked.
pub(crate) struct Bare {
    engine: Engine,
    pre: contract::AgentFramedPre<World>,
}

/// An agent's instance.
pub(crate) struct Instance {
    store: Store<World>,
    agent: contract::AgentFramed,
    id: String,
    turn: u64,
    spare: Vec<u8>,
}

impl Bare {
    /// Compiles and links `component`.
    pub(crate) fn new(component: &[u8]) -> anyhow::Result<Self> {
        let engine = Engine::new(&config()).map_err(wasm)?;
        let component = Component::new(&engine, component).map_err(wasm)?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_sync(&mut linker).map_err(wasm)?;
        let pre = linker.instantiate_pre(&component).map_err(wasm)?;
        Ok(Self {
            engine,
            pre: contract::AgentFramedPre::new(pre).map_err(wasm)?,
        })
    }

    /// A fresh instance for the agent `id`. Its first frame begins with `init`.
    pub(crate) fn instance(&self, id: &str) -> anyhow::Result<Instance> {
        let world = World {
            wasi: WasiCtx::builder().build(),
            table: ResourceTable::new(),
        };
        let mut store = Store::new(&self.engine, world);
        store.set_epoch_deadline(NO_DEADLINE);
        let agent = self.pre.instantiate(&mut store).map_err(wasm)?;
        Ok(Instance {
            store,
            agent,
            id: id.to_owned(),
            turn: 0,
            spare: Vec::new(),
        })
    }
}

/// The host's engine settings, all that matter for speed.
fn config() -> Config {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(MAX_INSTANCES)
        .total_core_instances(MAX_INSTANCES * 5)
        .total_memories(MAX_INSTANCES)
        .total_tables(MAX_INSTANCES * 4)
        .table_elements(MAX_TABLE)
        .max_memory_size(MAX_MEMORY)
        .linear_memory_keep_resident(0)
        .pagemap_scan(Enabled::Auto);
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .epoch_interruption(true)
        .memory_init_cow(true)
        .max_wasm_stack(1 << 20)
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

fn wasm(error: wasmtime::Error) -> anyhow::Error {
    anyhow::Error::from_boxed(error.into())
}

/// A frame under construction, with the numbers its turns get.
struct Frame {
    writer: FrameWriter,
    first: u64,
}

impl Instance {
    fn frame(&mut self) -> Frame {
        let mut frame = Frame {
            writer: FrameWriter::new(std::mem::take(&mut self.spare), &self.id, 1),
            first: self.turn,
        };
        if self.turn == 0 {
            frame.push(Input::Init {
                config: Payload::NONE,
            });
        }
        frame
    }

    /// Runs a frame's turns and gives the answer frame.
    fn run(&mut self, frame: Frame) -> anyhow::Result<(Vec<u8>, u32)> {
        let count = frame.writer.count();
        let bytes = frame.writer.finish();
        let answer = self
            .agent
            .call_turns(&mut self.store, &bytes)
            .map_err(wasm)?;
        self.turn += u64::from(count);
        self.spare = bytes;
        Ok((answer, count))
    }

    /// Asks for `method` and gives the answer's payload.
    pub(crate) fn call(&mut self, method: &str, payload: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut frame = self.frame();
        frame.push(message(method, Payload::message_pack(payload), true));
        let (answer, count) = self.run(frame)?;
        let mut reader = AnswerReader::new(&answer, count)?;
        let mut last = None;
        while let Some(turn) = reader.next_answer()? {
            last = Some(turn.outcome);
        }
        match last.context("no outcome")? {
            Outcome::Ok(payload) => Ok(payload.bytes.to_vec()),
            other => anyhow::bail!("{method} ended as {other:?}"),
        }
    }
}

impl Frame {
    fn push(&mut self, input: Input<'_>) {
        self.writer.push(&Turn {
            number: self.first + u64::from(self.writer.count()),
            now: NOW,
            input,
        });
    }
}

fn message<'a>(method: &'a str, payload: Payload<'a>, request: bool) -> Input<'a> {
    Input::Message {
        source: "bench/one",
        method,
        payload,
        request,
        deadline: 0,
    }
}

/// Two agents and nothing between them: `left` is asked for `method`, what it
/// sends and asks goes to `right` in frames, and the answers back to `left`,
/// until its handler has ended.
pub(crate) fn converse(
    left: &mut Instance,
    right: &mut Instance,
    method: &str,
    payload: &[u8],
) -> anyhow::Result<()> {
    let mut frame = left.frame();
    frame.push(message(method, Payload::message_pack(payload), true));
    loop {
        let (answer, count) = left.run(frame)?;
        let mut answers = AnswerReader::new(&answer, count)?;
        let mut asked = None;
        while let Some(turn) = answers.next_answer()? {
            if !matches!(turn.outcome, Outcome::Ok(_) | Outcome::Pending) {
                anyhow::bail!("{method} ended as {:?}", turn.outcome);
            }
            match hand_over(right, turn.effects)? {
                Handed::Sent => {}
                Handed::Asked(ask, answered) => asked = Some((ask, answered)),
                Handed::Ended => return Ok(()),
            }
        }
        let (ask, answered) = asked.context("the left agent neither asks nor ends")?;
        let mut replies = AnswerReader::new(&answered.bytes, answered.turns)?;
        let mut last = None;
        while let Some(turn) = replies.next_answer()? {
            last = Some(turn.outcome);
        }
        let Some(Outcome::Ok(payload)) = last else {
            anyhow::bail!("the right agent answered with {last:?}");
        };
        frame = left.frame();
        frame.push(Input::Reply {
            ask,
            reply: Reply::Ok(payload),
        });
    }
}

/// An answer frame and the turns it answers.
struct Answered {
    bytes: Vec<u8>,
    turns: u32,
}

/// What became of the effects of a turn.
enum Handed {
    /// They were messages, if any, and have been handled.
    Sent,
    /// The last one was an ask of this number, and its answer is the last one here.
    Asked(u64, Answered),
    /// The handler answered whoever began.
    Ended,
}

/// Gives effects to `right` as messages, in frames.
fn hand_over(
    right: &mut Instance,
    mut effects: phoenix_wit::Effects<'_>,
) -> anyhow::Result<Handed> {
    let mut asked = None;
    if effects.left() == 0 {
        return Ok(Handed::Sent);
    }
    let mut frame = right.frame();
    while let Some(effect) = effects.next_effect()? {
        match effect {
            Effect::Send {
                method, payload, ..
            } => frame.push(message(method, payload, false)),
            Effect::Ask {
                ask,
                method,
                payload,
                ..
            } => {
                frame.push(message(method, payload, true));
                asked = Some(ask);
            }
            Effect::Reply { answer, .. } => {
                return match answer {
                    Ok(_) => Ok(Handed::Ended),
                    Err(failure) => Err(anyhow::anyhow!("it failed: {}", failure.message)),
                };
            }
            other => anyhow::bail!("nothing is known here of {other:?}"),
        }
        if frame.writer.count() >= BATCH && asked.is_none() {
            right.run(frame)?;
            frame = right.frame();
        }
    }
    let (bytes, turns) = right.run(frame)?;
    Ok(match asked {
        Some(ask) => Handed::Asked(ask, Answered { bytes, turns }),
        None => Handed::Sent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_bare_agents_converse_to_the_end() {
        let flood = Bare::new(phoenix_support::guest("flood")).unwrap();
        let sink = Bare::new(phoenix_support::guest("sink")).unwrap();
        let mut left = flood.instance("flood/a").unwrap();
        let mut right = sink.instance("sink/a").unwrap();
        let payload = rmp_serde::to_vec(&("sink/a", 1_000, 300)).unwrap();
        converse(&mut left, &mut right, "stream", &payload).unwrap();
        let heard = right
            .call("heard", &rmp_serde::to_vec(&()).unwrap())
            .unwrap();
        assert_eq!(rmp_serde::from_slice::<u64>(&heard).unwrap(), 1_000);
    }
}

//! What cannot be saved, by name.

/// Something in a component that a snapshot could not hold. Every variant names the item.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// A core module, and so perhaps a memory or a table, comes from outside.
    #[error(
        "`{name}` is a core module from outside the component: its memory and tables could not be saved"
    )]
    OutsideModule {
        /// What it is imported or exported as.
        name: String,
    },
    /// A core module gets a second index, under which it could be instantiated again.
    #[error(
        "{how} gives core module {module} a second index: instances under either could not be told apart"
    )]
    ModuleAgain {
        /// Which core module, as the item says.
        module: u32,
        /// The item that does it.
        how: String,
    },
    /// A memory shared between threads.
    #[error("memory {memory} of core module {module} is a shared memory: agents have no threads")]
    SharedMemory {
        /// Which core module, counted from 0.
        module: u32,
        /// Which of its memories.
        memory: u32,
    },
    /// A second linear memory.
    #[error(
        "core module {module} defines a second memory, after that of core module {first}: one is supported"
    )]
    SecondMemory {
        /// Which core module defines it.
        module: u32,
        /// Which defines the first.
        first: u32,
    },
    /// No memory at all.
    #[error("no core module defines a memory, so there is no state to save")]
    NoMemory,
    /// A module with state is instantiated twice.
    #[error(
        "core module {module} has {state} and is instantiated {times} times: the copies could not be told apart"
    )]
    InstantiatedTwice {
        /// Which core module.
        module: u32,
        /// What state it has.
        state: &'static str,
        /// How often it is instantiated.
        times: u32,
    },
    /// An instruction changes a table, or uses up a segment.
    #[error(
        "function {function} of core module {module} uses `{instruction}` at byte {offset}: changes to tables and segments could not be saved"
    )]
    Instruction {
        /// Which core module.
        module: u32,
        /// Which function of it, imports counted.
        function: u32,
        /// The instruction.
        instruction: &'static str,
        /// Where in the file.
        offset: u64,
    },
    /// A mutable global holds a reference.
    #[error(
        "global {global} of core module {module} is mutable and holds a reference, which could not be saved"
    )]
    ReferenceGlobal {
        /// Which core module.
        module: u32,
        /// Which global of it, imports counted.
        global: u32,
    },
    /// A mutable global holds a vector.
    #[error(
        "global {global} of core module {module} is a mutable v128, which is not supported yet"
    )]
    VectorGlobal {
        /// Which core module.
        module: u32,
        /// Which global of it, imports counted.
        global: u32,
    },
    /// A nested component has core code of its own.
    #[error("nested component {component} has {item}: core code may stand at the top only")]
    Nested {
        /// Which component, counted from 0 at its level.
        component: u32,
        /// What it has.
        item: &'static str,
    },
    /// The component defines resources of its own.
    #[error("it defines a resource of its own ({item}): its handles could not be saved")]
    OwnResource {
        /// Where.
        item: String,
    },
    /// A name is taken that the instrumentation needs.
    #[error("the name `{name}` is reserved: names beginning with `{prefix}` are the runtime's")]
    ReservedName {
        /// The name.
        name: String,
        /// What is reserved.
        prefix: &'static str,
    },
    /// Standard streams are used in an order no usual tool emits.
    #[error("`{item}` comes too late in the component to be taken over: imports must come first")]
    Order {
        /// What comes too late.
        item: String,
    },
}

//! Components that are in order and yet hard to live with.

use crate::zoo::framed::Framed;

/// Grows its table by 100,000 elements at every call until it is refused.
/// As it changes a table it cannot be movable.
pub fn table_growth() -> Vec<u8> {
    Framed {
        module: "(table $table 1 funcref)",
        on_turns: "(block $refused (loop $more
            (br_if $refused (i32.eq (i32.const -1)
              (table.grow $table (ref.null func) (i32.const 100000))))
            (br $more)))",
        ..Framed::default()
    }
    .component()
}

/// Never comes back from its start function.
pub fn spin_at_start() -> Vec<u8> {
    Framed {
        module: "(func $spin (loop $for_ever (br $for_ever))) (start $spin)",
        ..Framed::default()
    }
    .component()
}

/// Traps in its start function.
pub fn trap_at_start() -> Vec<u8> {
    Framed {
        module: "(func $trap unreachable) (start $trap)",
        ..Framed::default()
    }
    .component()
}

/// Never comes back when it is asked to describe itself.
pub fn spin_in_describe() -> Vec<u8> {
    Framed {
        on_describe: "(loop $for_ever (br $for_ever))",
        ..Framed::default()
    }
    .component()
}

/// Traps when it is asked to describe itself.
pub fn trap_in_describe() -> Vec<u8> {
    Framed {
        on_describe: "unreachable",
        ..Framed::default()
    }
    .component()
}

/// Begins with so many pages of 64 KiB, which may be more than its kind is allowed.
pub fn large_at_start(pages: u32) -> Vec<u8> {
    let memory = format!(r#"(memory $memory (export "memory") {pages})"#);
    Framed {
        memory: &memory,
        ..Framed::default()
    }
    .component()
}

/// Has a table of so many elements from the start.
pub fn wide_at_start(elements: u32) -> Vec<u8> {
    let table = format!("(table $table {elements} funcref)");
    Framed {
        module: &table,
        ..Framed::default()
    }
    .component()
}

/// Consists of so many instances of an empty core module.
pub fn many_instances(instances: usize) -> Vec<u8> {
    let after = format!(
        "(core module $empty) {}",
        "(core instance (instantiate $empty))".repeat(instances)
    );
    Framed {
        after: &after,
        ..Framed::default()
    }
    .component()
}

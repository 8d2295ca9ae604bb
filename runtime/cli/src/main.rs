//! `phoenix`: runs a node, and operates running ones.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    phoenix_cli::main(std::env::args_os())
}

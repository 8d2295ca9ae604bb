//! Phoenix beside its peers. Each row runs ours and the peer interleaved in one
//! run on one machine, and prints both, their ratio, and how busy the machine
//! was with other things meanwhile.
//!
//! ```text
//! cargo run --release -p bench -- [--json] [--list] [--rounds N] [--agents N] [NAME…]
//! ```
//!
//! The allocator is mimalloc, as in the `phoenix` binary, for both sides alike.
//!
//! Start with [`measure`], then any file of `rows/`; `peers/` holds the other sides.

mod args;
mod cores;
mod load;
mod measure;
mod memory;
mod ours;
mod peers;
mod report;
mod rows;

use std::process::ExitCode;

use anyhow::Context as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            report::complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let args = args::Args::read();
    let rows = rows::all();
    if let Some(count) = args.idle_child {
        rows::idle_memory::child(count)?;
        return Ok(ExitCode::SUCCESS);
    }
    rows::million::count(args.agents);
    if let Some(tier) = args.million_child {
        rows::million::child(tier)?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.list {
        report::list(&rows)?;
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = args.choose(&rows)?;
    if cfg!(debug_assertions) {
        report::complain(
            "this is a build without optimisation: its figures mean nothing (add --release)",
        );
    }
    let mut results = Vec::new();
    for row in chosen {
        report::progress(&format!("{}: {}", row.name, row.what));
        let result = measure::measure(row, args.rounds)
            .with_context(|| format!("{} could not be measured", row.name))?;
        if !args.json {
            report::line(row, &result)?;
        }
        results.push((row, result));
    }
    if args.json {
        report::json(&results)?;
    }
    Ok(ExitCode::SUCCESS)
}

//! The thin binary: parse the command line, run, turn the outcome into an exit code.

use std::process::ExitCode;

use clap::Parser;
use pullgate::cli::{Cli, run};

/// The snapshot is built by one thread and freed by another; the system's allocator would keep an arena of freed
/// memory for each.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    run(Cli::parse())
}

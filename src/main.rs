//! The thin binary: parse the command line, run, turn the outcome into an exit code.

use std::process::ExitCode;

use clap::Parser;
use pullgate::cli::{Cli, run};

fn main() -> ExitCode {
    run(Cli::parse())
}

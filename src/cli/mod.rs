//! The command line: what it takes, which command runs, which exit code it ends with.
//!
//! Commands answer on standard output and complain on standard error. Exit codes: 0 all is well, 1 something is
//! refused, 2 the input or the command line is at fault.

/// The exit codes of the commands that judge images; a macro, since `concat!` takes literals.
macro_rules! judging_exit_codes {
    () => {
        "\
Exit codes:
  0  every image is admitted, perhaps with a warning (PullPolicy modes Warn and Audit)
  1  some image is denied
  2  something cannot be read; the message names file and line, and check judges the rest
"
    };
}

mod check;
mod crds;
mod demo;
mod explain;
mod harbor_account;
mod image;
mod leftovers;
mod openapi;
mod output;
mod records;
mod registry;
mod report;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The command line of pullgate.
#[derive(Debug, Parser)]
#[command(
    name = "pullgate",
    version,
    about = "Decides which images may be pulled where in a Kubernetes cluster",
    long_about = "Decides, for every pod that enters a Kubernetes cluster, whether each of its images may be pulled \
                  in that namespace, and gives the pod the credentials for it.",
    after_help = "Exit codes: 0 all is well, 1 something is refused, 2 the input or the command line is at fault.",
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Arguments>),
    Demo(demo::Arguments),
    Check(check::Arguments),
    Explain(explain::Arguments),
    Image(image::Arguments),
    Registry(registry::Arguments),
    HarborAccount(harbor_account::Arguments),
    Crds(crds::Arguments),
    Openapi(openapi::Arguments),
}

/// How a command ended that had nothing to complain about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Good,
    /// The answer is a no.
    Refused,
}

impl Outcome {
    fn refused_if(refused: bool) -> Self {
        if refused { Self::Refused } else { Self::Good }
    }
}

/// Runs one command to its end.
pub fn run(cli: Cli) -> ExitCode {
    let outcome = match cli.command {
        Command::Serve(arguments) => arguments.run(),
        Command::Demo(arguments) => arguments.run(),
        Command::Crds(arguments) => arguments.run(),
        Command::Openapi(arguments) => arguments.run(),
        Command::Check(arguments) => arguments.run(),
        Command::Explain(arguments) => arguments.run(),
        Command::Image(arguments) => arguments.run(),
        Command::Registry(arguments) => arguments.run(),
        Command::HarborAccount(arguments) => arguments.run(),
    };
    match outcome {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::Refused) => ExitCode::from(1),
        Err(error) => {
            output::complain(&error);
            ExitCode::from(2)
        }
    }
}

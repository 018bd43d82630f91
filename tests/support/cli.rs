//! Runs the real binary from the repository's root.

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// What a run left behind.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// The binary with the environment's wishes for colours taken out: this build's, or where figures are taken a release's
/// that `PULLGATE_BINARY` names.
pub fn pullgate(arguments: &[&str]) -> Command {
    let binary = std::env::var("PULLGATE_BINARY");
    let mut command = Command::new(binary.as_deref().unwrap_or(env!("CARGO_BIN_EXE_pullgate")));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    for variable in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
        command.env_remove(variable);
    }
    command
}

pub fn run(arguments: &[&str]) -> Run {
    finished(&pullgate(arguments).output().unwrap())
}

/// Runs with text on standard input.
pub fn run_with_input(arguments: &[&str], input: &[u8]) -> Run {
    let mut child = pullgate(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // From a thread, since the answer may fill its pipe before the question is over.
        scope.spawn(move || stdin.write_all(input).unwrap());
        finished(&child.wait_with_output().unwrap())
    })
}

fn finished(output: &Output) -> Run {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Run {
        code: output.status.code().expect("ended by a signal"),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

//! `pullgate demo` as a newcomer meets it: every command that it prints is run by a shell.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::support::cli::pullgate;

struct Demo {
    process: Child,
    /// Each command, after the first word of the line that introduces it.
    commands: Vec<(String, String)>,
}

impl Demo {
    fn start() -> Self {
        let mut process = pullgate(&["demo"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = process.stdout.take().unwrap();
        let mut text = String::new();
        let start = Instant::now();
        while !text.contains("grep pullgate_decisions") {
            assert!(start.elapsed() < Duration::from_mins(1), "it says no more than: {text}");
            let mut buffer = [0; 4096];
            let read = stdout.read(&mut buffer).unwrap();
            assert!(read > 0, "it ended after: {text}");
            text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
        let mut commands = Vec::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let Some(command) = lines.clone().next().and_then(|next| next.strip_prefix("  ")) else {
                continue;
            };
            let mut command = command.to_owned();
            lines.next();
            while command.ends_with('\\') {
                command = format!("{command}\n{}", lines.next().unwrap());
            }
            commands.push((line.split([' ', ',', ':']).next().unwrap().to_owned(), command));
        }
        Self { process, commands }
    }

    fn run(&self, name: &str) -> String {
        let (_, command) =
            self.commands.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("no {name}"));
        let output = Command::new("bash").args(["-euc", command]).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn ask(&self, name: &str) -> Value {
        serde_json::from_str(&self.run(name)).unwrap()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn every_command_that_the_demo_prints_shows_what_it_says() {
    let mut demo = Demo::start();
    let names: Vec<_> = demo.commands.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Allowed", "Injected", "Denied", "Why", "Bind", "Metrics"]);

    assert_eq!(demo.ask("Allowed")["response"]["allowed"], true);

    let injected = demo.ask("Injected");
    let patch = BASE64_STANDARD.decode(injected["response"]["patch"].as_str().unwrap()).unwrap();
    let patch: Value = serde_json::from_slice(&patch).unwrap();
    assert_eq!(patch[0]["value"], json!([{"name": "pullgate-pull"}]));
    assert_eq!(patch[1]["value"], "Always");

    let denied = demo.ask("Denied");
    assert_eq!(denied["response"]["allowed"], false);
    let sentence = denied["response"]["status"]["message"].as_str().unwrap();
    assert!(sentence.contains("not bound to this namespace's workspace; ask a platform admin"), "{sentence}");

    assert_eq!(demo.ask("Why")["images"][0]["reason"], "NotBound");
    demo.run("Bind");
    let start = Instant::now();
    while demo.ask("Why")["images"][0]["reason"] != "Bound" {
        assert!(start.elapsed() < Duration::from_secs(10), "the binding never counted");
    }
    assert!(demo.run("Metrics").contains(r#"reason="NotBound",webhook="validate"} 1"#));

    let directory =
        demo.commands[0].1.split('@').nth(1).unwrap().split("/allowed.json").next().unwrap().to_owned();
    assert!(std::path::Path::new(&directory).exists());
    Command::new("kill").args(["-INT", &demo.process.id().to_string()]).status().unwrap();
    assert!(demo.process.wait().unwrap().success());
    let mut complaints = String::new();
    demo.process.stderr.take().unwrap().read_to_string(&mut complaints).unwrap();
    assert_eq!(complaints, "", "an end that was asked for is no reason to complain");
    assert!(!std::path::Path::new(&directory).exists(), "{directory} is left behind");
}

//! `pullgate image`, run as users run it.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::cli::{Run, pullgate, run, run_with_input};

const VECTORS: &str = include_str!("data/image-references.jsonl");

#[test]
fn every_vector_is_answered_as_it_is_written() {
    let vectors: Vec<(Value, &str)> =
        VECTORS.lines().map(|line| (serde_json::from_str(line).unwrap(), line)).collect();
    let input = |vector: &Value| vector["input"].as_str().unwrap().to_owned();
    let one_a_line: Vec<_> = vectors.iter().filter(|(vector, _)| !input(vector).contains('\n')).collect();
    assert_eq!(
        vectors.len() - one_a_line.len(),
        2,
        "inputs that hold a line break cannot be asked one a line"
    );

    let question: String = one_a_line.iter().map(|(vector, _)| input(vector) + "\n").collect();
    let Run { code, stdout, stderr } = run_with_input(&["image", "-"], question.as_bytes());
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(stdout.lines().count(), one_a_line.len());
    for (answer, (vector, line)) in stdout.lines().zip(one_a_line) {
        assert_eq!(&serde_json::from_str::<Value>(answer).unwrap(), vector, "{line}");
    }
}

#[test]
fn a_line_that_is_not_utf8_is_not_valid() {
    let Run { code, stdout, .. } = run_with_input(&["image", "-"], b"nginx\xff\nnginx\r\n\nnginx");
    let answers: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(code, 0);
    assert_eq!(
        answers,
        [
            json!({"input": "nginx\u{fffd}", "valid": false}),
            json!({"input": "nginx\r", "valid": false}),
            json!({"input": "", "valid": false}),
            json!({"input": "nginx", "valid": true, "domain": "docker.io", "path": "library/nginx"}),
        ]
    );
}

#[test]
fn a_line_without_end_takes_no_room_and_the_next_one_is_read() {
    let mut input = vec![b'a'; 5 * 1024 * 1024];
    input.extend_from_slice(b"\nnginx\n");
    let Run { code, stdout, .. } = run_with_input(&["image", "-"], &input);
    let lines: Vec<_> = stdout.lines().collect();
    assert_eq!((code, lines.len()), (0, 2));
    assert!(lines[0].len() < 2 * 1024 * 1024 && lines[0].ends_with(r#""valid":false}"#));
    assert!(lines[1].starts_with(r#"{"input":"nginx","valid":true"#));
}

#[test]
fn a_program_that_asks_line_by_line_is_answered_line_by_line() {
    let mut child = pullgate(&["image", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut questions = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    for reference in ["nginx", "UPPER"] {
        writeln!(questions, "{reference}").unwrap();
        let answer: Value = serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap();
        assert_eq!(answer["input"], reference);
    }
    drop(questions);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_reader_that_leaves_is_no_fault() {
    let mut child = pullgate(&["image", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut questions = child.stdin.take().unwrap();
    let mut first = [0; 10];
    // Until the pipe of the answers is full and long after; the process may be gone by then.
    let asking = std::thread::spawn(move || while questions.write_all(&b"nginx\n".repeat(1000)).is_ok() {});
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    asking.join().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn references_are_shown_in_readable_lines() {
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    let reference = format!("harbor.example.com/team-a/web:1.8@{digest}");
    let Run { code, stdout, .. } = run(&["image", "nginx", &reference]);
    assert_eq!(code, 0);
    assert_eq!(
        stdout,
        format!(
            "nginx\n  domain   docker.io\n  path     library/nginx\n  admitted yes\n{reference}\n  \
             domain   harbor.example.com\n  path     team-a/web\n  tag      1.8\n  digest   {digest}\n  \
             admitted yes\n"
        )
    );
}

#[test]
fn a_reference_that_is_not_admitted_says_why() {
    for (reference, problem) in [
        ("team/Web", "lower case"),
        ("sha256:abc", "image ID"),
        ("a_b.example.com/x", "registry host"),
        ("", "it is empty"),
        (" ", "white space alone"),
        ("nginx\n", "leading or trailing white space"),
        ("nginx\u{feff}", "not seen, U+FEFF"),
        ("https://nginx", "scheme"),
        ("<image>", "placeholder"),
    ] {
        let Run { code, stdout, .. } = run(&["image", "nginx", reference]);
        assert_eq!(code, 1, "{reference}");
        let last = stdout.lines().last().unwrap();
        assert!(last.starts_with("  admitted no: ") && last.contains(problem), "{reference}: {last}");
    }
    let Run { code, stdout, .. } = run(&["image", "-o", "json", "a_b.example.com/x"]);
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &answer["valid"], &answer["admitted"]), (1, &json!(true), &json!(false)));
}

#[test]
fn what_a_terminal_would_obey_is_not_printed() {
    let image = "nginx\u{1b}[31m\u{9b}2J\u{200b}\u{202e}\u{7f}";
    for format in ["text", "json"] {
        let Run { stdout, .. } = run(&["image", "-o", format, image]);
        let hidden = ['\u{1b}', '\u{9b}', '\u{200b}', '\u{202e}', '\u{7f}'];
        assert!(!stdout.contains(hidden), "{stdout:?}");
        if format == "json" {
            assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap()["input"], image);
        } else {
            assert!(stdout.starts_with(r#""nginx\u{1b}[31m\u{9b}2J\u{200b}\u{202e}\u{7f}""#), "{stdout}");
        }
    }
}

#[test]
fn the_command_line_is_checked() {
    assert_eq!(run(&["image"]).code, 2);
    let Run { code, stderr, .. } = run(&["image", "nginx", "-"]);
    assert_eq!((code, stderr.as_str()), (2, "error: - stands for standard input and must be the only REF\n"));
}

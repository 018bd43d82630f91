//! `pullgate image`: how an image reference is read.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read, Write};

use anyhow::bail;
use serde::Serialize;

use super::Outcome;
use super::output::{self, BOLD, Format, GREEN, RED};
use crate::admission::review::{shown, shown_image};
use crate::domain::image::{ImageRef, ReferenceError};

/// The longest line that is looked at, in bytes; whatever follows on it only makes it invalid.
const LINE_MAX: usize = 1024 * 1024;

/// Show how an image reference is read
///
/// Reads references as the kubelet does, completes them (nginx is docker.io/library/nginx), and says whether
/// pullgate admits them: what the container runtime would read differently is refused.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With - as the only REF, references are read from standard input, one a line.
Each is answered with one JSON object on a line: input, valid, and domain, path,
tag and digest where it has them.

Exit codes:
  0  every REF is admitted; with -, all of standard input was read
  1  some REF is not
  2  the command line is at fault

Examples:
  pullgate image nginx:1.29 harbor.example.com/team-a/web@sha256:…
  crictl images -o json | jq -r '.images[].repoTags[]' | pullgate image -")]
pub struct Arguments {
    /// Image references, or - for standard input.
    #[arg(value_name = "REF", required = true)]
    references: Vec<String>,
    /// How to print what was read; standard input is always answered in JSON.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Format,
}

/// A reference as it was read; the form of `tests/data/image-references.jsonl`.
#[derive(Debug, Serialize)]
struct Reading<'i> {
    input: &'i str,
    valid: bool,
    #[serde(flatten)]
    parts: Option<Parts<'i>>,
}

/// The parts of a reference; absent ones are left out.
#[derive(Debug, Serialize)]
pub struct Parts<'i> {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub domain: &'i str,
    pub path: Cow<'i, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<&'i str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<&'i str>,
}

/// A reading and whether pullgate would admit it.
#[derive(Debug, Serialize)]
struct Judged<'i> {
    #[serde(flatten)]
    reading: Reading<'i>,
    admitted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl<'i> Parts<'i> {
    /// The parts as the kubelet reads them.
    pub fn of(input: &'i str) -> Result<Self, ReferenceError> {
        ImageRef::parse(input).map(|ImageRef { domain, path, tag, digest }| Self {
            domain,
            path,
            tag,
            digest,
        })
    }

    /// Names and texts of the parts that are there.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let parts = [
            ("domain", Some(self.domain)),
            ("path", Some(&*self.path)),
            ("tag", self.tag),
            ("digest", self.digest),
        ];
        parts.into_iter().filter_map(|(name, text)| Some((name, text.filter(|t| !t.is_empty())?)))
    }
}

impl<'i> Reading<'i> {
    fn of(input: &'i str) -> Self {
        let parts = Parts::of(input).ok();
        Self { input, valid: parts.is_some(), parts }
    }
}

impl Arguments {
    /// Reads and prints.
    pub(super) fn run(&self) -> anyhow::Result<Outcome> {
        if self.references == ["-"] {
            output::print_plain(|out| stream(&mut BufReader::new(io::stdin().lock()), out))?;
            return Ok(Outcome::Good);
        }
        if self.references.iter().any(|reference| reference == "-") {
            bail!("- stands for standard input and must be the only REF");
        }
        let mut refused = false;
        let readings: Vec<Judged<'_>> = self
            .references
            .iter()
            .map(|input| {
                let problem = ImageRef::admissible(input).err().map(|error| error.to_string());
                refused |= problem.is_some();
                Judged { reading: Reading::of(input), admitted: problem.is_none(), problem }
            })
            .collect();
        match self.output {
            Format::Json => output::print_plain(|out| readings.iter().try_for_each(|r| line(out, r)))?,
            Format::Text => output::print(|out| readings.iter().try_for_each(|r| text(out, r)))?,
        }
        Ok(Outcome::refused_if(refused))
    }
}

/// Answers a line at a time in constant memory. What is answered is written out before the next read can wait, so
/// that a program may ask and wait for the answer.
fn stream(input: &mut BufReader<impl Read>, out: &mut dyn Write) -> io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        if input.buffer().is_empty() {
            out.flush()?;
        }
        bytes.clear();
        let limit = LINE_MAX as u64 + 1;
        if input.by_ref().take(limit).read_until(b'\n', &mut bytes)? == 0 {
            return Ok(());
        }
        let ended = bytes.last() == Some(&b'\n');
        if ended {
            bytes.pop();
        }
        let too_long = bytes.len() > LINE_MAX;
        if too_long && !ended {
            input.skip_until(b'\n')?;
        }
        match std::str::from_utf8(&bytes) {
            Ok(text) if !too_long => line(out, &Reading::of(text))?,
            _ => {
                let input = String::from_utf8_lossy(&bytes);
                line(out, &Reading { input: &input, valid: false, parts: None })?;
            }
        }
    }
}

fn line(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    output::write_json(out, &serde_json::to_string(value)?)
}

fn text(out: &mut dyn Write, judged: &Judged<'_>) -> io::Result<()> {
    writeln!(out, "{BOLD}{}{BOLD:#}", shown_image(judged.reading.input))?;
    for (name, text) in judged.reading.parts.iter().flat_map(Parts::named) {
        writeln!(out, "  {name:8} {}", shown(text))?;
    }
    match &judged.problem {
        None => writeln!(out, "  admitted {GREEN}yes{GREEN:#}"),
        Some(problem) => writeln!(out, "  admitted {RED}no{RED:#}: {problem}"),
    }
}

//! Writing for people and for pipes: colours where a terminal shows them, aligned columns, and no fuss when the
//! reader of a pipe leaves.

use std::fmt;
use std::io::{self, BufWriter, Write};

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};

use crate::domain::unseen::{is_unseen, visible};
use crate::manifests::{Fault, Faults};

/// How to print an answer.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Format {
    Text,
    Json,
}

pub const BOLD: Style = Style::new().bold();
pub const DIM: Style = Style::new().dimmed();
pub const GREEN: Style = AnsiColor::Green.on_default();
pub const YELLOW: Style = AnsiColor::Yellow.on_default();
pub const CYAN: Style = AnsiColor::Cyan.on_default();
pub const RED: Style = AnsiColor::Red.on_default().bold();

/// Writes to standard output what people read; the colours go where it is no terminal, or `NO_COLOR` is set.
pub fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(AutoStream::auto(io::stdout().lock()));
    unless_closed(write(&mut out).and_then(|()| out.flush()))
}

/// Writes to standard output what programs read.
pub fn print_plain(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    unless_closed(write(&mut out).and_then(|()| out.flush()))
}

/// Writes one value as indented JSON.
pub fn print_json(value: &impl serde::Serialize) -> io::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    print_plain(|out| write_json(out, &text))
}

/// Writes JSON and a line break. JSON itself escapes few of the characters that a terminal would obey, and none that
/// nobody sees; beyond ASCII, such characters stand within strings only.
pub fn write_json(out: &mut dyn Write, text: &str) -> io::Result<()> {
    let mut rest = text;
    while let Some((at, c)) =
        rest.char_indices().find(|(_, c)| (!c.is_ascii() || *c == '\u{7f}') && is_unseen(*c))
    {
        out.write_all(&rest.as_bytes()[..at])?;
        c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"))?;
        rest = &rest[at + c.len_utf8()..];
    }
    writeln!(out, "{rest}")
}

/// `head` that has seen enough is no fault: the answer is the exit code's to give.
fn unless_closed(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Tells what went wrong on standard error.
pub fn complain(error: &anyhow::Error) {
    let mut stderr = AutoStream::auto(io::stderr().lock());
    // Faults of files start with the file, so that editors can follow them.
    let prefix = if error.is::<Faults>() { String::new() } else { format!("{RED}error:{RED:#} ") };
    // Nobody is left to tell where standard error is closed.
    let _ = writeln!(stderr, "{prefix}{}", Printable(&format!("{error:#}")));
}

/// Tells on standard error what was left out, though nothing is wrong with it.
pub fn remark(left_out: &[Fault]) {
    let mut stderr = AutoStream::auto(io::stderr().lock());
    for part in left_out {
        let _ = writeln!(stderr, "left out: {}", Printable(&part.to_string()));
    }
}

/// Text of unknown origin without what a terminal would obey.
pub struct Printable<'t>(pub &'t str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, line) in self.0.split('\n').enumerate() {
            let separator = if number == 0 { "" } else { "\n" };
            write!(f, "{separator}{}", visible(line))?;
        }
        Ok(())
    }
}

/// A cell of a table.
#[derive(Clone)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub fn new(text: impl fmt::Display) -> Self {
        Self::styled(text, Style::new())
    }

    pub fn styled(text: impl fmt::Display, style: Style) -> Self {
        Self { text: text.to_string(), style }
    }
}

/// Writes columns as wide as their widest cell, in characters, under a line of titles.
pub fn table(out: &mut dyn Write, head: &[&str], body: Vec<Vec<Cell>>) -> io::Result<()> {
    let head: Vec<Cell> = head.iter().map(|title| Cell::styled(title, BOLD)).collect();
    rows(out, &[vec![head], body].concat())
}

/// Writes columns as wide as their widest cell, in characters.
pub fn rows(out: &mut dyn Write, rows: &[Vec<Cell>]) -> io::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count());
        cells.max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let last = row.iter().rposition(|cell| !cell.text.is_empty()).unwrap_or_default();
        for (column, Cell { text, style }) in row.iter().enumerate().take(last + 1) {
            write!(out, "{style}{text}{style:#}")?;
            if column < last {
                let gap = widths[column] - text.chars().count() + 2;
                write!(out, "{:gap$}", "")?;
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

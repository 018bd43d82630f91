//! Quoted text over several lines as go-yaml reads it, and so kubectl: its lines may begin at any column, with tabs
//! too, where YAML 1.2 asks for one space more than the key's.

use serde_saphyr::granit_parser::{BufferedInput, ErrorKind, Scanner, TokenType};

/// Characters that may be scanned in all: each text that is mended costs a scan of the entry that it stands in.
const WORK_MAX: usize = 64 * 1024 * 1024;
/// Spaces that a line is given at most: what blocks indent by, not what a long line in front of the quote has.
const INDENT_MAX: usize = 256;

/// The document with the lines of its quoted texts moved to where YAML 1.2 wants them, which leaves what they say and
/// the numbers of all lines; `None` where that is not what is wrong with it.
pub fn indented(document: &str) -> Option<String> {
    let (mut done, mut rest) = (String::new(), document);
    let mut from = Entry::default();
    let mut work = 0;
    loop {
        let head = from.head();
        let tail = &done[from.at..];
        let source = head.chars().chain(tail.chars()).chain(rest.chars());
        let Some(Stop { end, entry }) = misplaced(source) else { break };
        work += end;
        if work > WORK_MAX {
            return None;
        }
        // From characters of what was scanned to bytes of what is left.
        let behind = |position: usize| position.checked_sub(head.chars().count());
        let end = behind(end).unwrap_or_default().saturating_sub(tail.chars().count());
        let start = quote(rest, rest.char_indices().nth(end)?.0)?;
        let end = start + length(&rest[start..])?;
        let line = rest[..start].rfind('\n').map_or(0, |at| at + 1);
        let moved = moved(&rest[start..end], (start - line + 1).min(INDENT_MAX));
        // A text that is in place already has another fault, and one that grows without end is none.
        if moved == rest[start..end] || done.len() + moved.len() > 2 * document.len() + WORK_MAX {
            return None;
        }
        done.push_str(&rest[..start]);
        done.push_str(&moved);
        rest = &rest[end..];
        if let Some((position, columns)) = entry
            && let Some(position) = behind(position)
        {
            let (at, _) = done[from.at..].char_indices().nth(position)?;
            from = Entry { at: from.at + at, columns };
        }
    }
    done.push_str(rest);
    (rest.len() < document.len()).then_some(done)
}

/// An entry of a block that begins a line: a scan may begin there as well as at the document's beginning.
#[derive(Default)]
struct Entry {
    /// Byte of its line.
    at: usize,
    /// Where the blocks around it begin.
    columns: Vec<usize>,
}

impl Entry {
    /// What makes a scanner expect the entry: one of each block around it.
    fn head(&self) -> String {
        self.columns.iter().flat_map(|column| [" ".repeat(*column), "k:\n".to_owned()]).collect()
    }
}

/// Where the parser stopped at a quoted text whose lines it does not take where they are; in characters.
struct Stop {
    /// Where the last token in front of it ends.
    end: usize,
    /// The line of the last entry that begins one, and the columns of the blocks around it.
    entry: Option<(usize, Vec<usize>)>,
}

fn misplaced(source: impl Iterator<Item = char>) -> Option<Stop> {
    let mut stop = Stop { end: 0, entry: None };
    let (mut columns, mut flows, mut line) = (Vec::new(), 0_usize, 0);
    for token in Scanner::new(BufferedInput::new(source)) {
        let (span, token) = match token {
            Ok(token) => token.into_parts(),
            Err(error) => {
                let kinds = [ErrorKind::InvalidQuotedScalarIndent, ErrorKind::TabInIndentation];
                return kinds.contains(error.kind()).then_some(stop);
            }
        };
        let column = span.start.col();
        match token {
            TokenType::BlockSequenceStart | TokenType::BlockMappingStart => {
                columns.push(column);
                continue;
            }
            TokenType::BlockEnd => {
                columns.pop();
                continue;
            }
            TokenType::FlowSequenceStart | TokenType::FlowMappingStart => flows += 1,
            TokenType::FlowSequenceEnd | TokenType::FlowMappingEnd => flows = flows.saturating_sub(1),
            TokenType::Key | TokenType::BlockEntry if flows == 0 && span.start.line() > line => {
                let around = columns.iter().copied().filter(|around| *around < column).collect();
                stop.entry = Some((span.start.index() - column, around));
            }
            _ => {}
        }
        (stop.end, line) = (span.end.index(), span.end.line());
    }
    None
}

/// Where the quote stands behind the last token that ends there: what is between are white space and comments, the
/// token's own indicator, and what was not handed out yet, an anchor or a tag.
fn quote(text: &str, mut at: usize) -> Option<usize> {
    loop {
        let rest = &text[at..];
        at += match rest.chars().next()? {
            '"' | '\'' => return Some(at),
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '&' | '!' => rest.find(char::is_whitespace).unwrap_or(rest.len()),
            ':' | '-' | '?' | ',' | '[' | ']' | '{' | '}' => 1,
            c if c.is_whitespace() => c.len_utf8(),
            _ => return None,
        };
    }
}

/// Bytes from the opening quote to behind the closing one.
fn length(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let quote = *bytes.first()?;
    let mut at = 1;
    loop {
        at += match *bytes.get(at)? {
            b'\\' if quote == b'"' => 2,
            b if b != quote => 1,
            _ if quote == b'\'' && bytes.get(at + 1) == Some(&quote) => 2,
            _ => return Some(at + 1),
        };
    }
}

/// The text with all lines but the first indented by spaces; white space at the beginning of a line is no part of it.
fn moved(text: &str, indent: usize) -> String {
    let mut moved = String::with_capacity(text.len());
    for (number, line) in text.split('\n').enumerate() {
        if number == 0 {
            moved.push_str(line);
            continue;
        }
        let line = line.trim_start_matches([' ', '\t']);
        moved.push('\n');
        if !line.trim_end_matches('\r').is_empty() {
            moved.extend(std::iter::repeat_n(' ', indent));
        }
        moved.push_str(line);
    }
    moved
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What kubectl 1.36 reads of each, by k8s.io/apimachinery's YAMLOrJSONDecoder.
    #[test]
    fn text_says_what_go_yaml_reads() {
        for (text, expected) in [
            ("a: 'x\ny'\n", json!({"a": "x y"})),
            ("a: \"x\\\n\ty\"\nb: \"p\n\n\t\n  q\"\n", json!({"a": "xy", "b": "p\n\nq"})),
            ("a: {\n\"x\": \"b\nc\"\n}\nd: [ \"p\n\tq\"\n]\n", json!({"a": {"x": "b c"}, "d": ["p q"]})),
            (
                "a: &x \"p\nq\"\nb: *x\nc: !!str \"u\nv\"\nl:\n- \"a\nb\"\n- k: \"a\n  b\"\n",
                json!({"a": "p q", "b": "p q", "c": "u v", "l": ["a b", {"k": "a b"}]}),
            ),
            ("a:\r\n  b: \"x\r\n  y\"\r\n", json!({"a": {"b": "x y"}})),
            ("a: 'it''s\n\"b\"\n'\nb: \"\\\"\n'\\\\\"\n", json!({"a": "it's \"b\" ", "b": "\" '\\"})),
            ("# \"\na: # '\n  'x\n# y'\n", json!({"a": "x # y"})),
        ] {
            let mended = indented(text).unwrap_or_else(|| panic!("{text:?}"));
            let value: Value = serde_saphyr::from_str(&mended).unwrap();
            assert_eq!((value, mended.lines().count()), (expected, text.lines().count()), "{text:?}");
        }
    }

    #[test]
    fn many_texts_cost_no_more_than_their_lines() {
        let entry = "  - k: \"x\n  y\"\n    l: {m: 'ü\n\tz', n: [a,\n  b]}\n    o:\n    - \"p\n  q\" # c\n";
        let text = format!("a:\n  b:\n{}c: 1\n", entry.repeat(2_000));
        let begun = std::time::Instant::now();
        let mended = indented(&text).unwrap();
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
        let value: Value = serde_saphyr::from_str(&mended).unwrap();
        let list = value["a"]["b"].as_array().unwrap();
        let expected = json!({"k": "x y", "l": {"m": "ü z", "n": ["a", "b"]}, "o": ["p q"]});
        assert!(list.len() == 2_000 && list.iter().all(|entry| *entry == expected));
        assert_eq!(value["c"], 1);
    }

    #[test]
    fn another_fault_is_not_touched() {
        for text in ["a: b\n", "a: 'x\ny\n", "a:\n\t- b\n", "a: [1\n", "a: x\n\ty\n", ""] {
            assert_eq!(indented(text), None, "{text:?}");
        }
    }
}

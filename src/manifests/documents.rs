//! Where in a text its documents begin and end, as kubectl's reader has it: at lines of `---`, and between JSON values
//! that follow each other. Each is read for itself, so that a fault in one hides no other.

use serde::de::IgnoredAny;

use super::text::BYTE_ORDER_MARK;

/// A part of a text that holds one document, or none at all.
#[derive(Debug, PartialEq, Eq)]
pub struct Part<'t> {
    pub text: &'t str,
    /// Lines of the text in front of it.
    pub lines_before: u64,
}

/// The documents of a text, in its order.
pub fn split(text: &str) -> impl Iterator<Item = Part<'_>> {
    Separated { rest: text, lines: 0 }.flat_map(json_values)
}

/// The parts between lines of `---`.
struct Separated<'t> {
    rest: &'t str,
    lines: u64,
}

impl<'t> Iterator for Separated<'t> {
    type Item = Part<'t>;

    fn next(&mut self) -> Option<Part<'t>> {
        let text = self.rest;
        if text.is_empty() {
            return None;
        }
        let lines_before = self.lines;
        // A marker ends the part once there is content in front of it; directives belong to what follows it.
        let (mut end, mut content) = (0, false);
        for line in text.split_inclusive('\n') {
            let marker = is_marker(line);
            if marker && content {
                break;
            }
            let bare = line.trim_start_matches(BYTE_ORDER_MARK);
            content |= marker || !(bare.trim().is_empty() || bare.starts_with(['#', '%']));
            end += line.len();
            self.lines += u64::from(line.ends_with('\n'));
        }
        self.rest = &text[end..];
        let part = text[..end].trim_start_matches(BYTE_ORDER_MARK);
        match part.split_once('\n') {
            Some((first, rest)) if is_bare_marker(first) => {
                Some(Part { text: rest.trim_start_matches(BYTE_ORDER_MARK), lines_before: lines_before + 1 })
            }
            _ => Some(Part { text: part, lines_before }),
        }
    }
}

/// Whether a document begins with this line: `---`, alone or with something behind white space.
fn is_marker(line: &str) -> bool {
    let rest = line.trim_start_matches(BYTE_ORDER_MARK).strip_prefix("---");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Whether a marker has nothing behind it, or a comment.
fn is_bare_marker(line: &str) -> bool {
    let rest = line.strip_prefix("---").map(str::trim_start);
    is_marker(line) && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
}

/// The JSON values that a part begins with, each for itself, and what follows them; YAML as it is.
fn json_values(part: Part<'_>) -> Vec<Part<'_>> {
    let Part { text, lines_before } = part;
    if !text.trim_start().starts_with('{') {
        return vec![part];
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let (mut parts, mut start, mut lines) = (Vec::new(), 0, lines_before);
    while let Some(Ok(_)) = values.next() {
        let end = values.byte_offset();
        parts.push(Part { text: &text[start..end], lines_before: lines });
        lines += text[start..end].matches('\n').count() as u64;
        start = end;
    }
    if !text[start..].trim().is_empty() {
        parts.push(Part { text: &text[start..], lines_before: lines });
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Vec<(u64, &str)> {
        split(text).map(|part| (part.lines_before, part.text)).collect()
    }

    #[test]
    fn lines_of_three_dashes_separate() {
        assert_eq!(
            parts("a: 1\n--- # c\nb: 2\n---\n\n---\nc: 3\n--- {d: 4}\n"),
            [(0, "a: 1\n"), (2, "b: 2\n"), (4, "\n"), (6, "c: 3\n"), (7, "--- {d: 4}\n")]
        );
        assert_eq!(parts("# c\n%YAML 1.1\n---\na: 1\n"), [(0, "# c\n%YAML 1.1\n---\na: 1\n")]);
        assert_eq!(parts("a: |\n  ---\n----\n---b\n"), [(0, "a: |\n  ---\n----\n---b\n")]);
        assert_eq!(parts("\u{feff}a\r\n\u{feff}---\r\n\u{feff}b"), [(0, "a\r\n"), (2, "b")]);
        assert!(parts("").is_empty());
    }

    #[test]
    fn json_values_follow_each_other() {
        assert_eq!(
            parts("{\"a\":\n1}{}\n {\"b\": 2} # x\n"),
            [(0, "{\"a\":\n1}"), (1, "{}"), (1, "\n {\"b\": 2}"), (2, " # x\n")]
        );
        assert_eq!(parts("a: 1\n---\n{}\n{}\n"), [(0, "a: 1\n"), (2, "{}"), (2, "\n{}")]);
        assert_eq!(parts("{a: 1}\n"), [(0, "{a: 1}\n")], "YAML");
        assert_eq!(parts("{\"a\": 1}\nb: 2\n"), [(0, "{\"a\": 1}"), (0, "\nb: 2\n")]);
    }
}

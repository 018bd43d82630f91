//! Quoted text over several lines as go-yaml reads it, and so kubectl: its lines may begin at any column, with tabs
//! too, where YAML 1.2 asks for one space more than the key's.

use serde_saphyr::granit_parser::{ErrorKind, Scanner, StrInput};

/// Bytes that may be scanned in all, since each text that is mended costs a scan up to it.
const WORK_MAX: usize = 256 * 1024 * 1024;
/// Spaces that a line is given at most: what blocks indent by, not what a long line in front of the quote has.
const INDENT_MAX: usize = 256;

/// The document with the lines of its quoted texts moved to where YAML 1.2 wants them, which leaves what they say and
/// the numbers of all lines; `None` where that is not what is wrong with it.
pub fn indented(document: &str) -> Option<String> {
    let mut mended: Option<String> = None;
    let mut work = 0;
    loop {
        let text = mended.as_deref().unwrap_or(document);
        let Some(start) = misplaced(text) else { return mended };
        work += start;
        let end = start + length(&text[start..])?;
        let line = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let indent = (start - line + 1).min(INDENT_MAX);
        let moved = moved(&text[start..end], indent);
        // A text that is in place already has another fault, and one that grows without end is none.
        if moved == text[start..end] || work > WORK_MAX || moved.len() + text.len() > WORK_MAX {
            return None;
        }
        mended = Some([&text[..start], &moved, &text[end..]].concat());
    }
}

/// Where the first quoted text begins whose lines the parser does not take where they are.
fn misplaced(text: &str) -> Option<usize> {
    let mut end = 0;
    let mut found = false;
    for token in Scanner::new(StrInput::new(text)) {
        match token {
            Ok(token) => end = token.into_parts().0.end.byte_offset()?,
            Err(error) => {
                found = matches!(
                    error.kind(),
                    ErrorKind::InvalidQuotedScalarIndent | ErrorKind::TabInIndentation
                );
            }
        }
    }
    if !found {
        return None;
    }
    // Behind the last token stand white space and comments, its own indicator, and what was not handed out yet: an
    // anchor or a tag.
    loop {
        let rest = &text[end..];
        end += match rest.chars().next()? {
            '"' | '\'' => return Some(end),
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
    fn another_fault_is_not_touched() {
        for text in ["a: b\n", "a: 'x\ny\n", "a:\n\t- b\n", "a: [1\n", "a: x\n\ty\n", ""] {
            assert_eq!(indented(text), None, "{text:?}");
        }
    }
}

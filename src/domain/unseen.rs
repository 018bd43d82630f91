//! Text of unknown origin as people can read it: what cannot be seen, or what a terminal would obey, is escaped.

use std::fmt::{self, Write};

/// Whether a character leaves no mark of its own, or is no plain space: control and format characters, white space
/// other than the space, fillers, selectors and tags.
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{600}'..='\u{605}'
                | '\u{61c}'
                | '\u{6dd}'
                | '\u{70f}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// The text with every unseen character escaped as Rust escapes it, `\u{200b}`; the bytes that are written for it are
/// at most 10 for each of its characters.
pub fn visible(text: &str) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| {
        text.chars().try_for_each(|c| {
            if is_unseen(c) { write!(f, "{}", c.escape_default()) } else { f.write_char(c) }
        })
    })
}

/// As [`visible`], within quotes where the text would otherwise run into what stands around it, or hides something.
pub fn quoted(text: &str) -> impl fmt::Display + '_ {
    let marked = |c: char| c == ' ' || is_unseen(c) || "\"\\{}$<>()%".contains(c);
    fmt::from_fn(move |f| {
        if text.contains(marked) || text.contains("://") {
            write!(f, "\"{}\"", visible(&text.replace('\\', "\\\\").replace('"', "\\\"")))
        } else {
            f.write_str(text)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_stays_as_it_is() {
        for text in ["", "nginx:1@sha256:ab", "Grüße", "日本", "a b", "\u{1f600}", "!"] {
            assert_eq!(visible(text).to_string(), text);
        }
        for text in ["", "harbor.example.com:5000/a/b_c-d:1.2@sha256:ab", "!", "é"] {
            assert_eq!(quoted(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_not_seen_is_escaped() {
        for (text, expected) in [
            ("a\u{1b}[31m\u{9b}1m", "a\\u{1b}[31m\\u{9b}1m"),
            ("a\u{200b}\u{feff}\u{2066}\u{e0041}", "a\\u{200b}\\u{feff}\\u{2066}\\u{e0041}"),
            ("\t\n\r\u{a0}\u{2028}", "\\t\\n\\r\\u{a0}\\u{2028}"),
        ] {
            assert_eq!(visible(text).to_string(), expected);
        }
        assert_eq!(quoted("a ").to_string(), "\"a \"");
        assert_eq!(quoted("https://a").to_string(), "\"https://a\"");
        assert_eq!(quoted("\"\\\u{200b}").to_string(), "\"\\\"\\\\\\u{200b}\"");
    }
}

//! From bytes to text: the encodings that YAML knows, told by their byte order marks as go-yaml tells them.

use std::borrow::Cow;

/// What a file begins with, or a document of files that were written one after the other.
pub const BYTE_ORDER_MARK: char = '\u{feff}';

/// What is wrong with the bytes of a file, and on which line.
#[derive(Debug, PartialEq, Eq)]
pub struct NotText {
    /// Counted from 1.
    pub line: u64,
    pub message: &'static str,
}

/// Reads UTF-8, or UTF-16 with a byte order mark.
///
/// # Errors
/// The line up to which the bytes are text.
pub fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, NotText> {
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => {
            Err(NotText { line: 1, message: "it is UTF-32; write it as UTF-8" })
        }
        [0xff, 0xfe, units @ ..] => utf16(units, u16::from_le_bytes).map(Cow::Owned),
        [0xfe, 0xff, units @ ..] => utf16(units, u16::from_be_bytes).map(Cow::Owned),
        [0, 1..=255, ..] | [1..=255, 0, ..] => {
            Err(NotText { line: 1, message: "it is UTF-16 without a byte order mark; write it as UTF-8" })
        }
        _ => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|error| {
            let line = bytes[..error.valid_up_to()].split(|byte| *byte == b'\n').count();
            NotText { line: line as u64, message: "it is not UTF-8" }
        }),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, NotText> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let mut text = String::with_capacity(bytes.len() / 2);
    let mut line = 1;
    for character in char::decode_utf16(pairs.iter().copied().map(unit)) {
        let Ok(character) = character else { return Err(NotText { line, message: "it is not UTF-16" }) };
        line += u64::from(character == '\n');
        text.push(character);
    }
    if rest.is_empty() { Ok(text) } else { Err(NotText { line, message: "its last character is cut off" }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_marks_tell_the_encoding() {
        let little: Vec<u8> = "\u{feff}a: \u{1f600}\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = "\u{feff}a: \u{1f600}\n".encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(decode(&little).unwrap(), "a: \u{1f600}\n");
        assert_eq!(decode(&big).unwrap(), "a: \u{1f600}\n");
        assert_eq!(decode("ü".as_bytes()).unwrap(), "ü");
    }

    #[test]
    fn what_is_no_text_is_told_with_its_line() {
        for (bytes, line, message) in [
            (&b"a\nb\xff"[..], 2, "it is not UTF-8"),
            (b"\xff\xfea\0\n\0\0\xd8\n\0", 2, "it is not UTF-16"),
            (b"\xfe\xff\0a\0", 1, "its last character is cut off"),
            (b"a\0b\0", 1, "it is UTF-16 without a byte order mark; write it as UTF-8"),
            (b"\xff\xfe\0\0a\0\0\0", 1, "it is UTF-32; write it as UTF-8"),
        ] {
            assert_eq!(decode(bytes), Err(NotText { line, message }), "{bytes:?}");
        }
    }
}

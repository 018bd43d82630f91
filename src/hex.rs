//! Bytes as people compare them: hexadecimal digits.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};

/// Two lower-case hexadecimal digits for each byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // A string always takes more.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The first four bytes of a text's SHA-256, as a number: to tell two things of one owner apart, not against somebody who
/// looks for another text of the same number.
pub fn number(text: &str) -> i64 {
    let sum = digest(&SHA256, text.as_bytes());
    sum.as_ref().first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes).into())
}

/// Stands for some names where they are too long, or hold what may not be there: so many bytes, two digits each. No name
/// holds the byte that keeps them apart.
pub fn short_digest(names: &[&str], bytes: usize) -> String {
    let sum = digest(&SHA256, names.join("\0").as_bytes());
    hex(sum.as_ref().get(..bytes).unwrap_or(sum.as_ref()))
}

//! Bytes as people compare them: hexadecimal digits.

use std::fmt::Write;

/// Two lower-case hexadecimal digits for each byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // A string always takes more.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

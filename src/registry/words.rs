//! What a registry says in its own words, as it may be repeated: on one line, visible, short, and without a secret.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::domain::record::shortened;
use crate::domain::unseen::visible;

/// Characters of the words of a refusal that are repeated.
const LONGEST: usize = 256;
/// Bytes of a refusal that are read for its words.
pub(super) const READ: usize = 16 << 10;

/// Why a registry refuses something, as it says itself; it may say nothing.
#[derive(Debug, Clone, Default)]
pub struct Words(Option<Box<str>>);

/// The same refusal in other words is no other one: they may hold the time, or the number of the request.
impl PartialEq for Words {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Words {}

impl Words {
    /// The message of a refusal, as distribution, Harbor and Artifactory word errors (`{"errors":[{"message":…}]}`), or a
    /// plain text. Pages for people say nothing: they are those of whatever stands in between. A secret that comes back in it
    /// is left out.
    pub(super) fn of(body: &[u8], secrets: &[SecretString]) -> Self {
        let body = body.trim_ascii();
        let message = match serde_json::from_slice(body) {
            Ok(Value::Object(body)) => {
                let nested = body.get("errors").and_then(|errors| errors[0]["message"].as_str());
                let plain =
                    || ["message", "error", "details"].into_iter().find_map(|name| body.get(name)?.as_str());
                nested.or_else(plain).map(str::to_owned)
            }
            Ok(_) => None,
            Err(_) if body.first().is_none_or(|first| b"<{[\"".contains(first)) => None,
            Err(_) => std::str::from_utf8(body).ok().map(str::to_owned),
        };
        let Some(mut message) = message else { return Self::default() };
        for secret in secrets.iter().map(ExposeSecret::expose_secret).filter(|secret| !secret.is_empty()) {
            if message.contains(secret) {
                message = message.replace(secret, "[withheld]");
            }
        }
        let text = brief(&message, LONGEST);
        Self((!text.is_empty()).then(|| text.into()))
    }

    /// The words, if there are any.
    pub fn get(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

/// To be put behind pullgate's own words; nothing where there are none.
impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().map_or(Ok(()), |words| write!(f, "; it says: {words}"))
    }
}

/// A registry's text as people can read it, of at most so many characters and a mark where it was cut.
pub(super) fn brief(text: &str, length: usize) -> String {
    // No more is read than may be shown: an answer has room for megabytes.
    let start: String = text.trim_start().chars().take(8 * length).collect();
    let line = start.split_whitespace().collect::<Vec<_>>().join(" ");
    shortened(visible(&line).to_string(), length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(body: &str) -> String {
        Words::of(body.as_bytes(), &[SecretString::from("Pa55word"), SecretString::from("")]).to_string()
    }

    #[test]
    fn a_refusal_is_repeated_in_short_and_without_secrets() {
        for (body, told) in [
            (r#"{"errors":[{"code":"DENIED","message":"quota exceeded"}]}"#, "; it says: quota exceeded"),
            (r#"{"errors":[{"status":403,"message":"a\n\tb\u001b[2Jc"}]}"#, "; it says: a b\\u{1b}[2Jc"),
            (r#"{"details":"no such user"}"#, "; it says: no such user"),
            ("upstream connect error", "; it says: upstream connect error"),
            (r#"{"message":"wrong: Pa55word Pa55word"}"#, "; it says: wrong: [withheld] [withheld]"),
            ("<html><body>502</body></html>", ""),
            (r#"{"errors":[]}"#, ""),
            (r#"{"errors":[{"message":"  "}]}"#, ""),
            (r#"{"message":"cut sho"#, ""),
            ("[1]", ""),
            ("", ""),
        ] {
            assert_eq!(words(body), told, "{body}");
        }
        assert_eq!(words(&"a".repeat(1_000)).chars().count(), "; it says: ".len() + LONGEST + 1);
        assert_eq!(Words::of(b"\xff\xfe", &[]).get(), None);
    }
}

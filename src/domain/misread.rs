//! Why a text is no image reference, named for what it is rather than for the rule of the grammar that it breaks.

use super::image::PATH_MAX;
use super::unseen::is_unseen;

/// Why a text is no image reference that pullgate admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error("it is empty")]
    Empty,
    #[error("it is white space alone")]
    Blank,
    #[error("it must not have leading or trailing white space")]
    Padded,
    #[error("it holds white space")]
    WhiteSpace,
    #[error("it holds a control character, U+{:04X}", u32::from(*.0))]
    Control(char),
    #[error("it holds a character that is not seen, U+{:04X}", u32::from(*.0))]
    Unseen(char),
    #[error("it holds {0} (U+{code:04X}), and image references are ASCII", code = u32::from(*.0))]
    NotAscii(char),
    #[error("it holds a placeholder that was not filled in; render it first")]
    Placeholder,
    #[error("it begins with a scheme, which image references do not have; leave out all up to ://")]
    Scheme,
    #[error("64 hexadecimal digits alone are an image ID, not a reference")]
    BareIdentifier,
    #[error("a repository path must be lower case")]
    UpperCasePath,
    #[error("its registry host is malformed")]
    Domain,
    #[error("its repository path is malformed")]
    Path,
    #[error("its repository path is over {PATH_MAX} characters")]
    PathTooLong,
    #[error("its tag is malformed")]
    Tag,
    #[error("its digest is malformed; use sha256, sha384 or sha512 with lower-case hex digits")]
    Digest,
    #[error(
        "the container runtime would take it as an image ID; write the repository in front of the digest"
    )]
    ImageId,
    #[error(
        "its first part is not a registry host by the kubelet's rules, but the container runtime takes it as one"
    )]
    AmbiguousDomain,
}

impl ReferenceError {
    /// What a text that the grammar refuses is by its looks; the rule that it breaks where it looks like a reference.
    pub(super) fn named(self, text: &str) -> Self {
        let trimmed = text.trim();
        if text.is_empty() {
            Self::Empty
        } else if trimmed.is_empty() {
            Self::Blank
        } else if trimmed != text {
            Self::Padded
        } else if let Some(c) = text.chars().find(|c| is_unseen(*c) && !c.is_whitespace()) {
            if c.is_control() { Self::Control(c) } else { Self::Unseen(c) }
        } else if text.contains(['{', '}', '$', '<', '>', '(', ')', '%']) {
            Self::Placeholder
        } else if begins_with_scheme(text) {
            Self::Scheme
        } else if text.contains(char::is_whitespace) {
            Self::WhiteSpace
        } else if let Some(c) = text.chars().find(|c| !c.is_ascii()) {
            Self::NotAscii(c)
        } else {
            self
        }
    }
}

/// `https://`, `docker://`, `oci://` and whatever else RFC 3986 takes in front of `://`.
fn begins_with_scheme(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once("://") else { return false };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use crate::domain::image::ImageRef;

    #[test]
    fn a_fault_is_called_what_it_is() {
        for (text, message) in [
            ("", "empty"),
            (" \t", "white space alone"),
            ("\u{a0}", "white space alone"),
            ("nginx ", "leading or trailing white space"),
            ("\nnginx:1", "leading or trailing white space"),
            ("nginx:1\u{a0}", "leading or trailing white space"),
            ("ngi nx", "holds white space"),
            ("ngi\u{2003}nx", "holds white space"),
            ("nginx\u{200b}", "not seen, U+200B"),
            ("\u{feff}nginx", "not seen, U+FEFF"),
            ("a/\u{2066}b", "not seen, U+2066"),
            ("nginx\u{1b}[31m", "control character, U+001B"),
            ("nginx\u{9b}31m", "control character, U+009B"),
            ("nginx\u{0}", "control character, U+0000"),
            ("h.io/\u{430}pp", "U+0430"),
            ("https://h.io/a/b:1", "begins with a scheme"),
            ("docker-pullable://nginx", "begins with a scheme"),
            ("OCI://h.io/a", "begins with a scheme"),
            ("{{ .Values.image }}", "placeholder"),
            ("h.io/a:{{ .Chart.AppVersion }}", "placeholder"),
            ("${REGISTRY}/web:1", "placeholder"),
            ("$(IMAGE)", "placeholder"),
            ("<image>", "placeholder"),
            ("h.io/web:%TAG%", "placeholder"),
            ("https://${HOST}/a", "placeholder"),
            ("://a", "path is malformed"),
            ("h.io/Web", "lower case"),
            ("!", "path is malformed"),
            ("nginx:", "tag is malformed"),
        ] {
            let error = ImageRef::admissible(text).unwrap_err().to_string();
            assert!(error.contains(message), "{text:?}: {error}");
        }
    }
}

//! The grammar and normalisation of image references, as distribution/reference has them, and the stricter
//! rules that an admitted reference must keep.
//!
//! The kubelet reads `image` with `ParseNormalizedNamed`, containerd reads the result once more, and the
//! two disagree at the edges. [`ImageRef::parse`] agrees with the first to the letter
//! (`tests/data/image-references.jsonl`); [`ImageRef::admissible`] refuses what the second reads differently.

use std::borrow::Cow;

pub use super::misread::ReferenceError;

/// The domain of references that name none.
pub const DEFAULT_DOMAIN: &str = "docker.io";
/// The only spelling that the reference implementation rewrites to [`DEFAULT_DOMAIN`].
const LEGACY_DEFAULT_DOMAIN: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";
/// Bytes in a path, `library/` counted; the domain has no limit.
pub(super) const PATH_MAX: usize = 255;
/// Bytes in a tag.
const TAG_MAX: usize = 128;

/// A reference in normal form, borrowing from its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRef<'a> {
    /// Host and optional port, case kept; empty where the reference implementation finds no domain.
    pub domain: &'a str,
    /// Repository path, `library/` added for official images.
    pub path: Cow<'a, str>,
    /// At most 128 characters of `[A-Za-z0-9_.-]`.
    pub tag: Option<&'a str>,
    /// `sha256:…`, `sha384:…` or `sha512:…` in lower-case hex.
    pub digest: Option<&'a str>,
}

impl<'a> ImageRef<'a> {
    /// Reads a reference exactly as distribution/reference's `ParseNormalizedNamed` does.
    ///
    /// # Errors
    /// Whatever that function refuses, named for what it is or by the part that is at fault.
    pub fn parse(input: &'a str) -> Result<Self, ReferenceError> {
        Self::read(input).map_err(|error| error.named(input))
    }

    fn read(input: &'a str) -> Result<Self, ReferenceError> {
        if input.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if input.len() == 64 && input.bytes().all(is_lower_hex) {
            return Err(ReferenceError::BareIdentifier);
        }
        let (domain, remainder) = split_domain(input);
        let (name, suffix) = remainder.split_at(path_end(remainder)?);
        let (tag, digest) = split_suffix(suffix)?;

        // The optional domain of the grammar is tried first; where it does not match, a lower-case first part
        // may still be read as the beginning of the path (`a_b.example.com/app`).
        let (domain, path) = if is_domain(domain) {
            let official = domain == DEFAULT_DOMAIN && !name.contains('/');
            (
                domain,
                if official { Cow::Owned([OFFICIAL_PREFIX, name].concat()) } else { Cow::Borrowed(name) },
            )
        } else if is_path(domain) {
            ("", Cow::Borrowed(&input[..domain.len() + 1 + name.len()]))
        } else {
            return Err(ReferenceError::Domain);
        };
        if path.len() > PATH_MAX {
            return Err(ReferenceError::PathTooLong);
        }
        Ok(Self { domain, path, tag, digest })
    }

    /// Reads a reference that pullgate may admit: [`Self::parse`], and kubelet and containerd understand the
    /// same by it.
    ///
    /// # Errors
    /// Those of [`Self::parse`]; an image ID (containerd takes a slashless `sha256:<hex>`, prefixes too, as the
    /// ID of any image on the node); a domain that only containerd recognises.
    pub fn admissible(input: &'a str) -> Result<Self, ReferenceError> {
        if ["sha256:", "sha384:", "sha512:"].iter().any(|a| input.starts_with(a)) && !input.contains('/') {
            return Err(ReferenceError::ImageId);
        }
        let image = Self::parse(input)?;
        if image.domain.is_empty() { Err(ReferenceError::AmbiguousDomain) } else { Ok(image) }
    }

    /// The first path segment where a repository follows it: the Harbor project of `project/repository`.
    pub fn first_segment(&self) -> Option<&str> {
        split_once(&self.path, b'/').map(|(first, _)| first)
    }
}

/// Whether `text` is a host with an optional port, as the grammar has it.
pub fn is_domain(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
        None => match split_once(text, b':') {
            Some((host, port)) => (is_host(host), Some(port)),
            None => (is_host(text), None),
        },
        Some(Some((address, after))) => {
            let valid = !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
            (valid && (after.is_empty() || after.starts_with(':')), after.strip_prefix(':'))
        }
        Some(None) => (false, None),
    };
    host && port.is_none_or(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether `text` is a repository path: segments of lower-case letters and digits, joined inside by `.`, `_`,
/// `__` or any number of `-`.
pub fn is_path(text: &str) -> bool {
    path_end(text) == Ok(text.len())
}

/// `domain/rest` as the kubelet splits it, the default domain filled in.
fn split_domain(input: &str) -> (&str, &str) {
    let mut marked = false;
    for (at, b) in input.bytes().enumerate() {
        match b {
            b'.' | b':' | b'A'..=b'Z' => marked = true,
            b'/' => {
                return match (&input[..at], &input[at + 1..]) {
                    (LEGACY_DEFAULT_DOMAIN, rest) => (DEFAULT_DOMAIN, rest),
                    (first, rest) if marked || looks_like_domain(first) => (first, rest),
                    _ => (DEFAULT_DOMAIN, input),
                };
            }
            _ => {}
        }
    }
    (DEFAULT_DOMAIN, input)
}

/// Whether a first part without dot, colon or upper-case letter of ASCII is a host all the same.
fn looks_like_domain(first: &str) -> bool {
    // The reference compares with `strings.ToLower`, which knows Unicode; such hosts fail the grammar anyway.
    first == "localhost" || (!first.is_ascii() && first.chars().any(char::is_uppercase))
}

/// [`str::split_once`] for an ASCII character: a plain loop is faster on texts as short as these.
fn split_once(text: &str, ascii: u8) -> Option<(&str, &str)> {
    let at = text.bytes().position(|b| b == ascii)?;
    Some((&text[..at], &text[at + 1..]))
}

/// Where the repository path ends that `text` begins with: at `:`, `@` or its end.
fn path_end(text: &str) -> Result<usize, ReferenceError> {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        let start = at;
        while at < bytes.len() && matches!(bytes[at], b'a'..=b'z' | b'0'..=b'9') {
            at += 1;
        }
        let rest = &bytes[at..];
        match rest {
            [b'A'..=b'Z', ..] => return Err(ReferenceError::UpperCasePath),
            _ if at == start => return Err(ReferenceError::Path),
            [] | [b':' | b'@', ..] => return Ok(at),
            [b'_', b'_', ..] => at += 2,
            [b'/' | b'.' | b'_', ..] => at += 1,
            [b'-', ..] => at += rest.iter().take_while(|b| **b == b'-').count(),
            _ => return Err(ReferenceError::Path),
        }
    }
}

/// Tag and digest of what follows the name: `[:tag][@digest]`.
fn split_suffix(suffix: &str) -> Result<(Option<&str>, Option<&str>), ReferenceError> {
    let (tag, digest) = match split_once(suffix, b'@') {
        Some((tag, digest)) => (tag, Some(digest)),
        None => (suffix, None),
    };
    let tag = tag.strip_prefix(':');
    if tag.is_some_and(|t| !is_tag(t)) {
        return Err(ReferenceError::Tag);
    }
    if digest.is_some_and(|d| !is_digest(d)) {
        return Err(ReferenceError::Digest);
    }
    Ok((tag, digest))
}

fn is_lower_hex(b: u8) -> bool {
    matches!(b, b'0'..=b'9' | b'a'..=b'f')
}

/// Labels of letters, digits and inner hyphens, joined by single dots.
fn is_host(text: &str) -> bool {
    let mut rest = text.as_bytes();
    loop {
        let run = rest.iter().take_while(|b| b.is_ascii_alphanumeric()).count();
        rest = match (run, &rest[run..]) {
            (0, _) => return false,
            (_, []) => return true,
            (_, [b'.', after @ ..]) => after,
            (_, hyphens @ [b'-', ..]) => &hyphens[hyphens.iter().take_while(|b| **b == b'-').count()..],
            _ => return false,
        };
    }
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= TAG_MAX
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

/// Whether a text is a digest that an image reference can name.
pub fn is_digest(text: &str) -> bool {
    let digits = match text.split_once(':') {
        Some(("sha256", hex)) if hex.len() == 64 => hex,
        Some(("sha384", hex)) if hex.len() == 96 => hex,
        Some(("sha512", hex)) if hex.len() == 128 => hex,
        _ => return false,
    };
    digits.bytes().all(is_lower_hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_ids_and_ambiguous_domains_are_not_admissible() {
        for id in ["sha256:abc", "sha256:0123456789abcdef", "sha384:a", "sha512:latest"] {
            assert_eq!(ImageRef::admissible(id), Err(ReferenceError::ImageId), "{id}");
        }
        assert_eq!(ImageRef::admissible("a_b.example.com/app"), Err(ReferenceError::AmbiguousDomain));
        assert!(ImageRef::admissible("sha256").is_ok(), "a repository may be called sha256");
        assert!(ImageRef::admissible("team/sha256:1").is_ok());
    }

    #[test]
    fn the_first_segment_needs_a_repository_behind_it() {
        assert_eq!(ImageRef::parse("h.io/team/app").unwrap().first_segment(), Some("team"));
        assert_eq!(ImageRef::parse("h.io/team").unwrap().first_segment(), None);
        assert_eq!(ImageRef::parse("ubuntu").unwrap().first_segment(), Some("library"));
    }
}

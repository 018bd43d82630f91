//! What a registry says in its own words, as it may be repeated: on one line, visible, and short.

use crate::domain::record::shortened;
use crate::domain::unseen::visible;

/// A registry's text as people can read it, of at most so many characters and a mark where it was cut.
pub(super) fn brief(text: &str, length: usize) -> String {
    // No more is read than may be shown: an answer has room for megabytes.
    let start: String = text.trim_start().chars().take(8 * length).collect();
    let line = start.split_whitespace().collect::<Vec<_>>().join(" ");
    shortened(visible(&line).to_string(), length)
}

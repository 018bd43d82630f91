//! From the text of a document to its tree, within bounds, and the parser's complaints in words for people.

use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{DuplicateKeyPolicy, MergeKeyPolicy, Options};

use super::documents::Part;
use super::quoted;
use super::tree::Node;

/// Lists and mappings within each other; the deepest public definition that was found has 47.
pub const DEPTH_MAX: usize = 64;

/// Why a document cannot be read, and on which line of the file.
#[derive(Debug)]
pub struct Unreadable {
    pub line: u64,
    pub message: String,
    /// It is a template that nobody rendered: the fault of the whole file.
    pub template: bool,
}

/// The documents of a part, mostly one, and what ended it before its end.
pub fn read(part: &Part<'_>) -> (Vec<Node>, Option<Unreadable>) {
    let (nodes, fault) = parse(part);
    let Some(fault) = fault else { return (nodes, None) };
    match quoted::indented(part.text) {
        Some(text) => parse(&Part { text: &text, ..*part }),
        None => (nodes, Some(template(part, &fault).unwrap_or(fault))),
    }
}

fn parse(part: &Part<'_>) -> (Vec<Node>, Option<Unreadable>) {
    let mut reader = part.text.as_bytes();
    let mut nodes = Vec::new();
    for document in serde_saphyr::read_with_options::<_, Node>(&mut reader, options()) {
        match document {
            Ok(mut node) => {
                node.move_down(part.lines_before);
                nodes.push(node);
            }
            Err(error) => {
                let line = part.lines_before + error.location().map_or(1, |at| at.line().max(1));
                return (nodes, Some(Unreadable { line, message: sentence(&error), template: false }));
            }
        }
    }
    (nodes, None)
}

/// The fault of a template's source, told by what stands where YAML has a value or a key, and not within a text.
fn template(part: &Part<'_>, fault: &Unreadable) -> Option<Unreadable> {
    let (number, mark) = part.text.lines().enumerate().find_map(|(number, line)| {
        let at_fault = part.lines_before + number as u64 + 1 == fault.line;
        let begins = |at: usize| {
            let before = line[..at].trim_start();
            before.is_empty()
                || before.ends_with([' ', '[', '{', ','])
                    && before.trim_end().ends_with([':', '-', '[', '{', ','])
        };
        let mark =
            ["{{", "{%"].into_iter().find(|mark| line.find(mark).is_some_and(|at| at_fault || begins(at)))?;
        (!line.trim_start().starts_with('#')).then_some((number, mark))
    })?;
    Some(Unreadable {
        line: part.lines_before + number as u64 + 1,
        message: format!(
            "{mark}: this is a template that was not rendered; render it first: helm template … | pullgate check -f -"
        ),
        template: true,
    })
}

/// The parser's bounds, a document: low where aliases multiply, which manifests have few of, and as high as a list of
/// 100,000 records needs where they do not.
fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_reader_input_bytes: None,
            max_depth: DEPTH_MAX,
            max_events: 16_000_000,
            max_nodes: 8_000_000,
            max_documents: 1_000_000,
            // A run of commented lines in front of an entry.
            max_buffered_comment_events: 100_000,
            max_recorded_anchor_events: 100_000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        // kubectl's reader merges, too.
        merge_keys: MergeKeyPolicy::Merge,
        with_snippet: false,
    }
}

/// The parser's message in words for people, without the position that it repeats.
fn sentence(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    match error.without_snippet() {
        Error::AliasError { error, .. } => sentence(error),
        Error::DuplicateMappingKey { key, .. } => {
            format!("{}: it is there twice", key.as_deref().unwrap_or("a key"))
        }
        Error::Budget { breach: BudgetBreach::Depth { depth }, .. } => {
            format!("it nests {depth} levels deep here; {DEPTH_MAX} are the most that are read")
        }
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            "it is more than is read of one document; do aliases multiply in it?".to_owned()
        }
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            "an alias stands within its own anchor".to_owned()
        }
        Error::NullIntoString { .. } => "a key must be text, and this is none".to_owned(),
        Error::NonFiniteFloat { value, .. } => format!("{value}: JSON has no such number"),
        error => {
            let text = error.to_string();
            let at = |at: serde_saphyr::Location| format!(" at line {}, column {}", at.line(), at.column());
            let position = error.location().map(at).unwrap_or_default();
            text.strip_suffix(&position).map(str::to_owned).unwrap_or(text)
        }
    }
}

use std::borrow::Cow;
use std::fmt;

/// What is wrong with a JSON text, in which member, and at which byte.
#[derive(Debug)]
pub struct JsonError(Box<Fault>);

#[derive(Debug)]
struct Fault {
    what: Cow<'static, str>,
    /// The innermost step first: it is written on the way out.
    steps: Vec<String>,
    at: usize,
}

impl JsonError {
    /// A fault at the place where reading stands.
    #[cold]
    pub fn new(what: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Fault { what: what.into(), steps: Vec::new(), at: 0 }))
    }

    /// What is wrong, without the place.
    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// Where, as `spec.containers[0].image`; empty for the text as a whole.
    pub fn path(&self) -> String {
        let mut path = self.0.steps.iter().rev().map(String::as_str).collect::<String>();
        if path.starts_with('.') {
            path.remove(0);
        }
        path
    }

    /// Where in `text`, which was read, for people who look at it in an editor.
    pub fn line_and_column(&self, text: &str) -> (usize, usize) {
        let before = text.get(..self.0.at).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before.len() - line_start + 1)
    }

    pub(super) fn at(mut self, at: usize) -> Self {
        self.0.at = at;
        self
    }

    #[cold]
    pub(super) fn in_member(mut self, name: &str) -> Self {
        self.0.steps.push(format!(".{name}"));
        self
    }

    #[cold]
    pub(super) fn in_entry(mut self, index: usize) -> Self {
        self.0.steps.push(format!("[{index}]"));
        self
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.steps.is_empty() {
            write!(f, "{}: ", self.path())?;
        }
        write!(f, "{} at byte {}", self.0.what, self.0.at)
    }
}

impl std::error::Error for JsonError {}

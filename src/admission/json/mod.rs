//! A reader of review bodies, which passes over what nobody reads 64 bytes at a time.
//!
//! A review is some 8 KB of which a decision needs a few hundred bytes; reading the rest token by token, by types
//! derived for a general deserializer, took a third of a request's time. Here the types read themselves, member by
//! member, and a member that no type asks for is skipped by counting brackets outside strings in bit masks (the
//! method of simdjson, D. Lemire and G. Langdale). All that is read is read strictly: an object is no array, a
//! member counts once, lists and nesting are bounded. What is skipped is checked for balance only: the bodies come
//! from the API server's own encoder, and nothing in a skipped member can reach a decision.

use std::borrow::Cow;

use fearless_simd::Level;

mod error;
mod scan;
mod value;

pub use error::JsonError;
use scan::{nested_length, short_run, string_run};
pub use value::weight_max;

/// Levels of nesting of what is read; a CronJob's containers are at the tenth.
const READ_DEPTH_MAX: u32 = 64;
/// Entries of a list that are read. No stored pod comes near: etcd takes 1.5 MiB. Without a limit, a body full of
/// `{}` would take some hundred times its size of memory.
const ENTRIES_MAX: usize = 16 * 1024;

/// Entries of all lists together that are read into something, for each byte of the text and at the most. What the API
/// server writes of a container or a volume takes far more bytes than these.
const BYTES_AN_ENTRY: usize = 16;
const ENTRIES_FREE: usize = 64;
const ENTRIES_IN_ALL: usize = 64 * 1024;

type Outcome<T> = Result<T, JsonError>;

/// A position in a JSON text.
pub struct Reader<'de> {
    text: &'de str,
    at: usize,
    /// The instructions that this machine has.
    level: Level,
    /// Brackets that are open around what is read.
    depth: u32,
    /// Entries of lists that may still be read into something.
    entries: usize,
    /// Bytes that values of any kind may still take.
    weight: usize,
}

impl<'de> Reader<'de> {
    /// Reads the one value that `text` holds.
    ///
    /// # Errors
    /// Those of `read`, with the place; more follows the value.
    pub fn whole<T>(text: &'de str, read: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        let entries = (ENTRIES_FREE + text.len() / BYTES_AN_ENTRY).min(ENTRIES_IN_ALL);
        let weight = weight_max(text.len());
        let mut reader = Self { text, at: 0, level: Level::new(), depth: 0, entries, weight };
        let value = read(&mut reader).and_then(|value| match reader.peek() {
            None => Ok(value),
            Some(_) => Err(JsonError::new("there is more after its end")),
        });
        value.map_err(|error| error.at(reader.at))
    }

    /// Reads an object: `member` gets each name and reads, or skips, its value. One loop in the program reads every
    /// type, which stays in the processor's caches where a copy for each would not.
    ///
    /// # Errors
    /// This is no object, or `member` failed.
    pub fn object(&mut self, member: &mut dyn FnMut(&mut Self, &str) -> Outcome<()>) -> Outcome<()> {
        self.open(b'{', "an object")?;
        let mut first = true;
        while self.another(first, b'}')? {
            first = false;
            let name = self.string()?;
            if self.peek() != Some(b':') {
                return Err(self.expected("':'"));
            }
            self.at += 1;
            if let Err(error) = member(self, &name) {
                return Err(error.in_member(&name));
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads a list of bounded length: `entry` reads each of its values.
    ///
    /// # Errors
    /// This is no list, it is too long, or `entry` failed.
    pub fn list(&mut self, entry: &mut dyn FnMut(&mut Self) -> Outcome<()>) -> Outcome<()> {
        self.open(b'[', "a list")?;
        let mut length = 0;
        while self.another(length == 0, b']')? {
            if length == ENTRIES_MAX {
                return Err(JsonError::new(format!("a list of more than {ENTRIES_MAX} entries")));
            }
            entry(self).map_err(|error| error.in_entry(length))?;
            length += 1;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads a member into its place. `null` is as good as absent, as it is to the API server's types.
    ///
    /// # Errors
    /// The place is taken: which of two members counts is a matter of taste, and tastes differ. Or `read` failed.
    #[inline]
    pub fn once<T>(
        &mut self,
        place: &mut Option<T>,
        read: impl FnOnce(&mut Self) -> Outcome<T>,
    ) -> Outcome<()> {
        if self.present(place.is_some())? {
            *place = Some(read(self)?);
        }
        Ok(())
    }

    /// Reads a member that is an object, in its place: large values are not moved there.
    ///
    /// # Errors
    /// Those of [`Self::once`], with `member` as what reads.
    pub fn fill<T: Default>(
        &mut self,
        place: &mut Option<T>,
        member: impl Fn(&mut T, &mut Self, &str) -> Outcome<()>,
    ) -> Outcome<()> {
        if self.present(place.is_some())? {
            let value = place.insert(T::default());
            self.object(&mut |reader, name| member(value, reader, name))?;
        }
        Ok(())
    }

    /// Reads a member that is a list of objects, in its place.
    ///
    /// # Errors
    /// Those of [`Self::once`], with `member` as what reads each entry.
    pub fn fill_list<T: Default>(
        &mut self,
        place: &mut Option<Vec<T>>,
        member: impl Fn(&mut T, &mut Self, &str) -> Outcome<()>,
    ) -> Outcome<()> {
        if self.present(place.is_some())? {
            let entries = place.insert(Vec::new());
            self.list(&mut |reader| {
                reader.entries = reader.entries.checked_sub(1).ok_or_else(|| {
                    JsonError::new("more entries of lists than anything of this size can have")
                })?;
                let mut entry = T::default();
                reader.object(&mut |reader, name| member(&mut entry, reader, name))?;
                entries.push(entry);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Reads a string; borrowed unless it holds escapes.
    ///
    /// # Errors
    /// This is no string, or a malformed one.
    #[inline]
    pub fn string(&mut self) -> Outcome<Cow<'de, str>> {
        if self.peek() != Some(b'"') {
            return Err(self.expected("a string"));
        }
        match self.short_string() {
            Some(text) => Ok(Cow::Borrowed(text)),
            None => self.long_string(),
        }
    }

    /// Reads `true` or `false`.
    ///
    /// # Errors
    /// This is neither.
    pub fn boolean(&mut self) -> Outcome<bool> {
        match self.peek() {
            Some(b't') => self.literal("true").map(|()| true),
            Some(b'f') => self.literal("false").map(|()| false),
            _ => Err(self.expected("a boolean")),
        }
    }

    /// Passes over one value of any kind.
    ///
    /// # Errors
    /// There is none, or it does not end.
    pub fn skip(&mut self) -> Outcome<()> {
        match self.peek() {
            Some(b'"') if self.short_string().is_some() => Ok(()),
            Some(b'"') => self.raw_string().map(drop),
            Some(b'{' | b'[') => {
                self.at += nested_length(self.level, &self.bytes()[self.at..])?;
                Ok(())
            }
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            Some(b'-' | b'0'..=b'9') => self.skip_number(),
            _ => Err(self.expected("a value")),
        }
    }

    /// The text of one value of any kind, for somebody else to read: it is checked for balance only.
    ///
    /// # Errors
    /// Those of [`Self::skip`].
    pub fn raw(&mut self) -> Outcome<&'de str> {
        self.peek();
        let start = self.at;
        self.skip()?;
        Ok(&self.text[start..self.at])
    }

    /// Whether there is a value to be read into a place: `null` is passed over.
    fn present(&mut self, taken: bool) -> Outcome<bool> {
        if taken {
            return Err(JsonError::new("it is there twice"));
        }
        if self.peek() == Some(b'n') {
            return self.literal("null").map(|()| false);
        }
        Ok(true)
    }

    fn bytes(&self) -> &'de [u8] {
        self.text.as_bytes()
    }

    /// The next byte that is no white space, without taking it.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.bytes();
        loop {
            match bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    #[cold]
    fn expected(&mut self, what: &str) -> JsonError {
        let found = match self.peek() {
            None => "the end",
            Some(b'"') => "a string",
            Some(b'{') => "an object",
            Some(b'[') => "a list",
            Some(b't' | b'f') => "a boolean",
            Some(b'n') => "null",
            Some(b'-' | b'0'..=b'9') => "a number",
            Some(_) => "something else",
        };
        JsonError::new(format!("expected {what}, found {found}"))
    }

    /// Takes the bracket that begins something. Types may be recursive (a template's spec may hold a template), so
    /// the bound is what keeps the stack.
    fn open(&mut self, bracket: u8, what: &str) -> Outcome<()> {
        if self.peek() != Some(bracket) {
            return Err(self.expected(what));
        }
        if self.depth == READ_DEPTH_MAX {
            return Err(JsonError::new(format!(
                "nested over {READ_DEPTH_MAX} levels deep, the recursion limit"
            )));
        }
        self.at += 1;
        self.depth += 1;
        Ok(())
    }

    /// Whether another element follows, having taken the comma in front of it, or else the closing bracket.
    #[inline]
    fn another(&mut self, first: bool, end: u8) -> Outcome<bool> {
        match self.peek() {
            Some(b) if b == end => {
                self.at += 1;
                Ok(false)
            }
            Some(b',') if !first => {
                self.at += 1;
                Ok(true)
            }
            Some(_) if first => Ok(true),
            _ => Err(self.expected(if end == b'}' { "',' or '}'" } else { "',' or ']'" })),
        }
    }

    fn literal(&mut self, word: &str) -> Outcome<()> {
        if !self.bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.expected("a value"));
        }
        self.at += word.len();
        Ok(())
    }

    /// The string whose opening quote is next, without its quotes, if it is one that ends within 16 bytes and holds
    /// no escapes, as most do. Otherwise nothing is taken.
    #[inline]
    fn short_string(&mut self) -> Option<&'de str> {
        let start = self.at + 1;
        let end = start + short_run(self.bytes().get(start..)?.first_chunk()?)?;
        if self.bytes().get(end) != Some(&b'"') {
            return None;
        }
        self.at = end + 1;
        self.text.get(start..end)
    }

    #[inline(never)]
    fn long_string(&mut self) -> Outcome<Cow<'de, str>> {
        let start = self.at;
        match self.raw_string()? {
            (plain, false) => Ok(Cow::Borrowed(plain)),
            // Escapes are rare (Go writes <, > and & so); serde_json knows all about them.
            (_, true) => serde_json::from_str(&self.text[start..self.at])
                .map(Cow::Owned)
                .map_err(|error| JsonError::new(error.to_string())),
        }
    }

    /// The string whose opening quote is next, and whether it holds escapes; without its quotes.
    fn raw_string(&mut self) -> Outcome<(&'de str, bool)> {
        self.at += 1;
        let (bytes, start) = (self.bytes(), self.at);
        let mut escaped = false;
        loop {
            let special = self.at + string_run(&bytes[self.at..]);
            match bytes.get(special) {
                Some(b'"') => {
                    self.at = special + 1;
                    return Ok((&self.text[start..special], escaped));
                }
                Some(b'\\') if special + 2 <= bytes.len() => {
                    escaped = true;
                    self.at = special + 2;
                }
                Some(b'\\') | None => return Err(JsonError::new("a string does not end")),
                Some(_) => {
                    self.at = special;
                    return Err(JsonError::new("a control character in a string"));
                }
            }
        }
    }

    /// Passes over a number, as RFC 8259 section 6 has it.
    fn skip_number(&mut self) -> Outcome<()> {
        let bytes = self.bytes();
        let take = |at: &mut usize, set: &[u8]| {
            let found = bytes.get(*at).is_some_and(|b| set.contains(b));
            *at += usize::from(found);
            found
        };
        let digits = |at: &mut usize| {
            let run = bytes[*at..].iter().take_while(|b| b.is_ascii_digit()).count();
            *at += run;
            run > 0
        };
        let mut at = self.at;
        take(&mut at, b"-");
        let mut valid = take(&mut at, b"0") || digits(&mut at);
        if take(&mut at, b".") {
            valid &= digits(&mut at);
        }
        if take(&mut at, b"eE") {
            take(&mut at, b"+-");
            valid &= digits(&mut at);
        }
        self.at = at;
        if valid { Ok(()) } else { Err(JsonError::new("a malformed number")) }
    }
}

#[cfg(test)]
mod tests;

//! A serde deserializer for review bodies, which passes over what nobody reads 64 bytes at a time.
//!
//! A review is some 8 KB of which a decision needs a few hundred bytes; reading the rest token by token took a
//! third of a request's time. Here a member that no type asks for is skipped by counting brackets outside
//! strings in bit masks (the method of simdjson, D. Lemire and G. Langdale), and all that is read is read strictly.
//! What is skipped is checked for balance only: the bodies come from the API server's own encoder, and nothing
//! in a skipped member can reach a decision.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{self, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};

mod scan;

use scan::{nested_length, string_run};

/// Levels of nesting of what is read; a CronJob's containers are at the tenth.
const READ_DEPTH_MAX: u32 = 64;

/// Reads a value that borrows from `text`.
///
/// # Errors
/// The text is not JSON where it is read, is not balanced where it is skipped, or does not fit the type.
pub fn from_str<'de, T: de::Deserialize<'de>>(text: &'de str) -> Result<T, JsonError> {
    let mut cursor = Cursor { text, at: 0, depth: 0 };
    let value = T::deserialize(&mut cursor).map_err(|error| error.at(cursor.at))?;
    match cursor.peek() {
        None => Ok(value),
        Some(_) => Err(JsonError::new("there is more after its end").at(cursor.at)),
    }
}

/// What is wrong, and at which byte.
#[derive(Debug)]
pub struct JsonError {
    what: Cow<'static, str>,
    at: Option<usize>,
}

impl JsonError {
    fn new(what: impl Into<Cow<'static, str>>) -> Self {
        Self { what: what.into(), at: None }
    }

    fn at(mut self, at: usize) -> Self {
        self.at.get_or_insert(at);
        self
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(at) => write!(f, "{} at byte {at}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl std::error::Error for JsonError {}

impl de::Error for JsonError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }
}

/// A position in the text.
struct Cursor<'de> {
    text: &'de str,
    at: usize,
    /// Brackets that are open around what is read.
    depth: u32,
}

impl<'de> Cursor<'de> {
    fn bytes(&self) -> &'de [u8] {
        self.text.as_bytes()
    }

    /// The next byte that is no white space, without taking it.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.bytes();
        loop {
            match bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    fn expect(&mut self, wanted: u8) -> Result<(), JsonError> {
        if self.peek() != Some(wanted) {
            return Err(JsonError::new(format!("expected {:?}", char::from(wanted))));
        }
        self.at += 1;
        Ok(())
    }

    fn literal(&mut self, word: &str) -> Result<(), JsonError> {
        if !self.bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(JsonError::new("expected a value"));
        }
        self.at += word.len();
        Ok(())
    }

    /// The string that begins here, and whether it holds escapes; without its quotes.
    fn raw_string(&mut self) -> Result<(&'de str, bool), JsonError> {
        self.expect(b'"')?;
        let (bytes, start) = (self.bytes(), self.at);
        let mut escaped = false;
        loop {
            let special = self.at + string_run(&bytes[self.at..]);
            match bytes.get(special) {
                Some(b'"') => {
                    self.at = special + 1;
                    return Ok((&self.text[start..special], escaped));
                }
                Some(b'\\') => {
                    escaped = true;
                    self.at = special + 2;
                    if self.at > bytes.len() {
                        return Err(JsonError::new("a string does not end"));
                    }
                }
                Some(_) => {
                    self.at = special;
                    return Err(JsonError::new("a control character in a string"));
                }
                None => return Err(JsonError::new("a string does not end")),
            }
        }
    }

    fn string(&mut self) -> Result<Cow<'de, str>, JsonError> {
        let start = self.peek().map_or(self.at, |_| self.at);
        match self.raw_string()? {
            (plain, false) => Ok(Cow::Borrowed(plain)),
            // Escapes are rare (Go writes <, > and & so); serde_json knows all about them.
            (_, true) => serde_json::from_str(&self.text[start..self.at])
                .map(Cow::Owned)
                .map_err(|error| JsonError::new(error.to_string()).at(start)),
        }
    }

    /// Passes over one value of any kind.
    fn skip(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'"') => self.raw_string().map(drop),
            Some(b'{' | b'[') => self.skip_nested(),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            Some(b'-' | b'0'..=b'9') => self.skip_number(),
            _ => Err(JsonError::new("expected a value")),
        }
    }

    /// Passes over a number, as RFC 8259 section 6 has it.
    fn skip_number(&mut self) -> Result<(), JsonError> {
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

    /// Passes over an object or array: to the bracket that closes the one here.
    fn skip_nested(&mut self) -> Result<(), JsonError> {
        self.at += nested_length(&self.bytes()[self.at..])?;
        Ok(())
    }

    /// Reads what stands in the brackets that begin here. Types may be recursive (a template's spec may hold a
    /// template), so the bound is what keeps the stack.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, JsonError>) -> Result<T, JsonError> {
        if self.depth == READ_DEPTH_MAX {
            return Err(JsonError::new(format!("nested over {READ_DEPTH_MAX} levels deep")));
        }
        self.at += 1;
        self.depth += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    /// Whether another element follows, having taken the comma in front of it.
    fn another(&mut self, first: bool, end: u8) -> Result<bool, JsonError> {
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
            _ => Err(JsonError::new(format!("expected ',' or {:?}", char::from(end)))),
        }
    }
}

impl<'de> de::Deserializer<'de> for &mut Cursor<'de> {
    type Error = JsonError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.peek() {
            Some(b'"') => match self.string()? {
                Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
                Cow::Owned(text) => visitor.visit_string(text),
            },
            Some(b'{') => self.nested(|cursor| visitor.visit_map(Members { cursor, first: true })),
            Some(b'[') => self.nested(|cursor| visitor.visit_seq(Elements { cursor, first: true })),
            Some(b'n') => {
                self.literal("null")?;
                visitor.visit_unit()
            }
            Some(b't') => {
                self.literal("true")?;
                visitor.visit_bool(true)
            }
            Some(b'f') => {
                self.literal("false")?;
                visitor.visit_bool(false)
            }
            Some(b'-' | b'0'..=b'9') => Err(JsonError::new("unexpected number")),
            _ => Err(JsonError::new("expected a value")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        if self.peek() == Some(b'n') {
            self.literal("null")?;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.skip()?;
        visitor.visit_unit()
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        match self.string()? {
            Cow::Borrowed(name) => visitor.visit_enum(BorrowedStrDeserializer::new(name)),
            Cow::Owned(name) => visitor.visit_enum(name.into_deserializer()),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map struct identifier
    }
}

struct Members<'c, 'de> {
    cursor: &'c mut Cursor<'de>,
    first: bool,
}

impl<'de> MapAccess<'de> for Members<'_, 'de> {
    type Error = JsonError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, JsonError> {
        if !self.cursor.another(self.first, b'}')? {
            return Ok(None);
        }
        self.first = false;
        if self.cursor.peek() != Some(b'"') {
            return Err(JsonError::new("expected a member's name"));
        }
        let key = seed.deserialize(&mut *self.cursor)?;
        self.cursor.expect(b':')?;
        Ok(Some(key))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, JsonError> {
        seed.deserialize(&mut *self.cursor)
    }
}

struct Elements<'c, 'de> {
    cursor: &'c mut Cursor<'de>,
    first: bool,
}

impl<'de> SeqAccess<'de> for Elements<'_, 'de> {
    type Error = JsonError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, JsonError> {
        if !self.cursor.another(self.first, b']')? {
            return Ok(None);
        }
        self.first = false;
        seed.deserialize(&mut *self.cursor).map(Some)
    }
}

#[cfg(test)]
mod tests;

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
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};

mod scan;

use scan::{nested_length, string_run};

/// Reads a value that borrows from `text`.
///
/// # Errors
/// The text is not JSON where it is read, is not balanced where it is skipped, or does not fit the type.
pub fn from_str<'de, T: de::Deserialize<'de>>(text: &'de str) -> Result<T, JsonError> {
    let mut cursor = Cursor { text, at: 0 };
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
            Some(b'-' | b'0'..=b'9') => {
                let rest = &self.bytes()[self.at..];
                let number = |b: &u8| matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                self.at += rest.iter().take_while(|b| number(b)).count();
                Ok(())
            }
            _ => Err(JsonError::new("expected a value")),
        }
    }

    /// Passes over an object or array: to the bracket that closes the one here.
    fn skip_nested(&mut self) -> Result<(), JsonError> {
        self.at += nested_length(&self.bytes()[self.at..])?;
        Ok(())
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
            Some(b'{') => {
                self.at += 1;
                visitor.visit_map(Members { cursor: self, first: true })
            }
            Some(b'[') => {
                self.at += 1;
                visitor.visit_seq(Elements { cursor: self, first: true })
            }
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
        match self.raw_string()? {
            (name, false) => visitor.visit_enum(BorrowedStrDeserializer::new(name)),
            _ => Err(JsonError::new("unexpected escape")),
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
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;
    use serde_json::Value;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Probe<'a> {
        #[serde(borrow)]
        wanted: Option<Cow<'a, str>>,
        #[serde(borrow, default)]
        list: Vec<Cow<'a, str>>,
    }

    fn any_value() -> impl Strategy<Value = Value> {
        // Quotes, backslashes and brackets, in runs: whatever could be taken for structure.
        let text = "[a{}\\[\\]\"\\\\é\u{0}-\u{1f}]{0,150}";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text.prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(text, inner, 0..6).prop_map(Value::from_iter),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_is_skipped_what_is_read_is_what_serde_json_reads(
            before: Vec<bool>, skipped in any_value(), wanted in any::<Option<String>>(), list: Vec<String>, pretty: bool,
            cut: prop::sample::Index
        ) {
            let document = serde_json::json!({"a": before, "b": skipped, "list": list, "wanted": wanted, "z": skipped});
            let text = if pretty { serde_json::to_string_pretty(&document) } else { serde_json::to_string(&document) }.unwrap();
            let expected: Probe<'_> = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&from_str::<Probe<'_>>(&text).unwrap(), &expected);
            if let Some(part) = text.get(..cut.index(text.len())) {
                prop_assert!(from_str::<Probe<'_>>(part).is_err(), "a text that breaks off was read");
            }
        }

        #[test]
        fn what_serde_json_refuses_in_a_read_member_is_refused(text in "[{}\\[\\]\":,a\\\\un0 \u{1}]{0,12}") {
            let document = format!("{{\"wanted\":{text}}}");
            if let Err(error) = serde_json::from_str::<Probe<'_>>(&document) {
                prop_assert!(from_str::<Probe<'_>>(&document).is_err(), "serde_json says {error} to {document}");
            }
        }
    }

    #[test]
    fn nesting_is_bounded_in_what_is_skipped() {
        let nested = |levels: usize| {
            format!("{{\"a\":{}{},\"wanted\":\"x\"}}", "[".repeat(levels), "]".repeat(levels))
        };
        assert!(from_str::<Probe<'_>>(&nested(900)).is_ok());
        let error = from_str::<Probe<'_>>(&nested(2000)).unwrap_err().to_string();
        assert!(error.contains("1000 levels"), "{error}");
    }

    #[test]
    fn doubled_members_and_what_follows_the_end_are_refused() {
        for text in [
            r#"{"wanted":"x","wanted":"y"}"#,
            r#"{"wanted":"x"} {}"#,
            r#"{"wanted":"x",}"#,
            r#"{"wanted" "x"}"#,
            r#"{wanted:"x"}"#,
        ] {
            assert!(from_str::<Probe<'_>>(text).is_err(), "{text}");
        }
        let escaped: Probe<'_> = from_str(r#"{"want\u0065d":"a\u002fb"}"#).unwrap();
        assert_eq!(escaped.wanted.as_deref(), Some("a/b"), "an escaped name is still the name");
    }
}

//! Reading whatever is there, for objects that are judged as a whole.

use serde_json::{Map, Number, Value};

use super::{JsonError, Outcome, Reader};

/// What values take, in bytes: each in its list, with the room that lists grow by; an object's first members, which are
/// kept together, and each of the others.
const VALUE: usize = 64;
const OBJECT: usize = 640;
const MEMBER: usize = 64;
/// What the values of a text may take: no record's spec comes near, and `{"":0}` again and again would take a hundred
/// times its size.
const WEIGHT_FREE: usize = 64 * 1024;
const WEIGHT_A_BYTE: usize = 16;
const WEIGHT_MAX: usize = 4 * 1024 * 1024;

/// The most memory that the values of a text of this length may take, in bytes.
pub fn weight_max(length: usize) -> usize {
    (WEIGHT_FREE + WEIGHT_A_BYTE * length).min(WEIGHT_MAX)
}

impl Reader<'_> {
    /// Reads one value of any kind, as strictly as all that is read. `serde_json` alone takes an object of a certain
    /// name (`$serde_json::private::RawValue`) for a text to be read in its place, and so nests without end.
    ///
    /// # Errors
    /// There is none, it is nested too deep, a list is too long, a member is there twice, or all of it would take far
    /// more memory than text.
    pub fn value(&mut self) -> Outcome<Value> {
        self.weigh(VALUE)?;
        match self.peek() {
            Some(b'"') => {
                let text = self.string()?;
                self.weigh(text.len())?;
                Ok(Value::String(text.into_owned()))
            }
            Some(b'{') => {
                let mut members = Map::new();
                self.object(&mut |reader, name| {
                    reader.weigh(name.len() + if members.is_empty() { OBJECT } else { MEMBER })?;
                    match members.insert(name.to_owned(), reader.value()?) {
                        None => Ok(()),
                        Some(_) => Err(JsonError::new("it is there twice")),
                    }
                })?;
                Ok(Value::Object(members))
            }
            Some(b'[') => {
                let mut entries = Vec::new();
                self.list(&mut |reader| {
                    entries.push(reader.value()?);
                    Ok(())
                })?;
                Ok(Value::Array(entries))
            }
            Some(b't') => self.literal("true").map(|()| Value::Bool(true)),
            Some(b'f') => self.literal("false").map(|()| Value::Bool(false)),
            Some(b'n') => self.literal("null").map(|()| Value::Null),
            _ => {
                let number = serde_json::from_str::<Number>(self.raw()?);
                number.map(Value::Number).map_err(|error| JsonError::new(error.to_string()))
            }
        }
    }

    fn weigh(&mut self, bytes: usize) -> Outcome<()> {
        let left = self.weight.checked_sub(bytes);
        self.weight = left.ok_or_else(|| JsonError::new("there are more values than any record can have"))?;
        Ok(())
    }
}

//! Reading whatever is there, for objects that are judged as a whole.

use serde_json::{Map, Number, Value};

use super::{JsonError, Outcome, Reader};

impl Reader<'_> {
    /// Reads one value of any kind, as strictly as all that is read. `serde_json` alone takes an object of a certain
    /// name (`$serde_json::private::RawValue`) for a text to be read in its place, and so nests without end.
    ///
    /// # Errors
    /// There is none, it is nested too deep, a list is too long, or a member is there twice.
    pub fn value(&mut self) -> Outcome<Value> {
        match self.peek() {
            Some(b'"') => Ok(Value::String(self.string()?.into_owned())),
            Some(b'{') => {
                let mut members = Map::new();
                self.object(&mut |reader, name| match members.insert(name.to_owned(), reader.value()?) {
                    None => Ok(()),
                    Some(_) => Err(JsonError::new("it is there twice")),
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
}

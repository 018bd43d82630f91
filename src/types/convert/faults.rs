//! What is wrong with a record, while it is converted.

use crate::domain::record::Problem;

/// Collects every fault of a record, so that its author mends them in one go.
#[derive(Default)]
pub(super) struct Faults(Vec<Problem>);

impl Faults {
    pub fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem::new(field, message));
    }

    pub fn check<T>(
        &mut self,
        field: &str,
        text: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        read(text).map_err(|message| self.add(field, message)).ok()
    }

    pub fn each<T, C: FromIterator<T>>(
        &mut self,
        field: &str,
        texts: &[String],
        read: impl Fn(&str) -> Result<T, String>,
    ) -> C {
        texts
            .iter()
            .enumerate()
            .filter_map(|(i, text)| self.check(&format!("{field}[{i}]"), text, &read))
            .collect()
    }

    pub fn none_or<T>(self, value: T) -> Result<T, Vec<Problem>> {
        if self.0.is_empty() { Ok(value) } else { Err(Problem::first_of(self.0)) }
    }
}

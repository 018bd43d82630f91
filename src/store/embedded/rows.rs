//! Rows of the records table as documents. A row that cannot be read becomes an invalid record, never an error: one
//! damaged text must not stop the rest.

use std::collections::HashSet;

use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Row};
use serde_json::Value;

use crate::domain::record::{Kind, Name};
use crate::store::Document;

/// What [`read`] reads.
pub(super) const COLUMNS: &str = "kind, name, version, created, spec, status";

/// Where a load stands: kind and name, in the order in which the table has them.
pub(super) type Place = (String, Name);

/// Records whose text could not be read, and that were reported.
pub(super) type Unreadable = HashSet<(Kind, Name)>;

/// The rows of a query for [`COLUMNS`].
pub(super) fn read_all(
    statement: &mut CachedStatement,
    parameters: impl rusqlite::Params,
    unreadable: &mut Unreadable,
) -> rusqlite::Result<Vec<(Place, Option<Document>)>> {
    statement.query_map(parameters, |row| read(row, unreadable))?.collect()
}

/// A row's place and its record: `None` where its kind is none that is known here.
pub(super) fn read(row: &Row, unreadable: &mut Unreadable) -> rusqlite::Result<(Place, Option<Document>)> {
    let text = |column| Ok::<_, rusqlite::Error>(String::from_utf8_lossy(bytes(row.get_ref(column)?)));
    let (kind_text, name) = (text(0)?.into_owned(), Name::from(text(1)?));
    let place = (kind_text, name.clone());
    let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.as_str() == place.0) else {
        return Ok((place, None));
    };
    let mut json = |column, field: &str| {
        let value = row.get_ref(column)?;
        let parsed = match value {
            ValueRef::Null => return Ok(Value::Null),
            value => serde_json::from_slice(bytes(value)),
        };
        Ok::<_, rusqlite::Error>(parsed.unwrap_or_else(|error| {
            // Once a record, not once a read: it stays until somebody writes it again.
            if unreadable.insert((kind, name.clone())) {
                tracing::error!(kind = kind.as_str(), %name, field, %error, "a stored record cannot be read; it counts as invalid until it is written again");
            }
            Value::Null
        }))
    };
    let (spec, status) = (json(4, "spec")?, json(5, "status")?);
    let version: i64 = row.get(2)?;
    let document = Document {
        kind,
        name,
        version: version.to_string(),
        created: row.get(3)?,
        generation: 0,
        spec,
        status,
    };
    Ok((place, Some(document)))
}

fn bytes(value: ValueRef<'_>) -> &[u8] {
    value.as_bytes().unwrap_or_default()
}

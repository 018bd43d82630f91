//! Rows of the records table as documents. A row that cannot be read becomes an invalid record, never an error: one
//! damaged text must not stop the rest.

use std::collections::HashSet;

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, Row, ffi};
use serde_json::Value;

use crate::domain::record::{Kind, Name};
use crate::types::Document;

/// What [`read`] reads.
pub(super) const COLUMNS: &str = "kind, name, version, created, spec, status, digest";

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
    if row.get_ref(6)?.as_bytes().ok() != Some(&digest_of(row)?[..]) {
        if !matches!(kind, Kind::Workspace | Kind::RegistrySpace) {
            return Err(not_as_written(&place.0, &name));
        }
        if unreadable.insert((kind, name.clone())) {
            tracing::error!(kind = kind.as_str(), %name, "a stored record is damaged; it counts as invalid until it is written again");
        }
        let created = row.get_ref(3)?.as_i64().unwrap_or_default();
        let version = row.get_ref(2)?.as_i64().unwrap_or_default().to_string();
        let document = Document { version, created, ..Document::new(kind, name, Value::Null) };
        return Ok((place, Some(document)));
    }
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
        version: version.to_string(),
        created: row.get(3)?,
        status,
        ..Document::new(kind, name, spec)
    };
    Ok((place, Some(document)))
}

fn bytes(value: ValueRef<'_>) -> &[u8] {
    value.as_bytes().unwrap_or_default()
}

/// What [`COLUMNS`] of a row should have as their last: SQLite finds damage to its pages, not to what is written on them.
pub(super) fn digest_of(row: &Row) -> rusqlite::Result<[u8; SHA256_OUTPUT_LEN]> {
    let mut context = Context::new(&SHA256);
    for column in 0..6 {
        let value = row.get_ref(column)?;
        let number;
        let part = match value {
            ValueRef::Integer(value) => {
                number = value.to_be_bytes();
                &number[..]
            }
            value => bytes(value),
        };
        context.update(&[u8::from(value != ValueRef::Null)]);
        context.update(&part.len().to_be_bytes());
        context.update(part);
    }
    let mut digest = [0; SHA256_OUTPUT_LEN];
    digest.copy_from_slice(context.finish().as_ref());
    Ok(digest)
}

/// Refuses a record that is damaged and must not be taken for one that allows nothing: without it, an image is nobody's, or
/// no policy's.
pub(super) fn check_digests(connection: &Connection) -> rusqlite::Result<()> {
    let sql = format!("SELECT {COLUMNS} FROM records WHERE kind NOT IN ('Workspace', 'RegistrySpace')");
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if row.get_ref(6)?.as_bytes().ok() != Some(&digest_of(row)?[..]) {
            let text =
                |column| Ok::<_, rusqlite::Error>(String::from_utf8_lossy(bytes(row.get_ref(column)?)));
            return Err(not_as_written(&text(0)?, &text(1)?));
        }
    }
    Ok(())
}

fn not_as_written(kind: &str, name: &str) -> rusqlite::Error {
    let text = format!("the record {kind} {name} is not as it was written");
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), Some(text))
}

/// Notes the digests of records that were written before there were any.
pub(super) fn note_digests(connection: &Connection) -> rusqlite::Result<()> {
    let sql = format!("SELECT {COLUMNS} FROM records");
    let mut statement = connection.prepare(&sql)?;
    let noted = |row: &Row| {
        let text = |column| Ok::<_, rusqlite::Error>(bytes(row.get_ref(column)?).to_vec());
        Ok((text(0)?, text(1)?, digest_of(row)?))
    };
    let digests: Vec<_> = statement.query_map([], noted)?.collect::<rusqlite::Result<_>>()?;
    let mut note = connection.prepare(
        "UPDATE records SET digest = ?3 WHERE kind = CAST(?1 AS TEXT) AND name = CAST(?2 AS TEXT)",
    )?;
    for (kind, name, digest) in digests {
        note.execute((kind, name, digest))?;
    }
    Ok(())
}

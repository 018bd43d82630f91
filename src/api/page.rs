//! Lists in pages: a limit, and a cursor that continues after the last item.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiState;
use super::auth::Caller;
use super::error::ApiError;
use crate::domain::record::Kind;
use crate::types::{Document, convert};

const LIMIT_DEFAULT: usize = 100;
/// Items that a page may have.
pub const LIMIT_MAX: usize = 500;

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct List<T> {
    /// In the order of their names.
    pub items: Vec<T>,
    /// The next page's `cursor`; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Which page is asked for.
pub(super) struct Window {
    limit: usize,
    after: Option<String>,
}

impl Window {
    /// Names of the parameters.
    pub const PARAMETERS: [&'static str; 2] = ["limit", "cursor"];

    pub fn read(kind: Kind, query: &BTreeMap<String, String>) -> Result<Self, ApiError> {
        let limit = match query.get("limit") {
            None => LIMIT_DEFAULT,
            Some(text) => text.parse().ok().filter(|l| (1..=LIMIT_MAX).contains(l)).ok_or_else(|| {
                ApiError::parameter("limit", format!("write a number from 1 to {LIMIT_MAX}"))
            })?,
        };
        let after = match query.get("cursor") {
            None => None,
            Some(text) => Some(read_cursor(kind, text).ok_or_else(|| {
                ApiError::parameter("cursor", "write the next of this list's previous page, unchanged")
            })?),
        };
        Ok(Self { limit, after })
    }

    /// Reads the page. What the caller may not see is passed over, and no cursor names it.
    pub async fn fetch(
        self,
        state: &ApiState,
        kind: Kind,
        caller: &Caller,
    ) -> Result<List<Document>, ApiError> {
        let mut items: Vec<Document> = Vec::new();
        let mut after = self.after;
        let sees_all = caller.sees_all(kind).await?;
        loop {
            // Whoever sees everything needs no look beyond the page: the store says whether more follow.
            let wanted = if sees_all { self.limit } else { LIMIT_MAX };
            let page = state.store.list(kind, after.as_deref(), wanted).await?;
            after = page.items.last().map(|document| document.name.to_string());
            if sees_all {
                items.extend(page.items);
            } else {
                items.extend(visible(caller, page.items).await?);
            }
            let overfull = items.len() > self.limit;
            if overfull || (sees_all && page.more) {
                items.truncate(self.limit);
                let next = items.last().map(|last| write_cursor(kind, &last.name));
                return Ok(List { items, next });
            }
            if !page.more || after.is_none() {
                return Ok(List { items, next: None });
            }
        }
    }
}

/// The documents that the caller may know of.
async fn visible(caller: &Caller, documents: Vec<Document>) -> Result<Vec<Document>, ApiError> {
    let records: Vec<_> = documents.iter().map(|d| (d.name.clone(), convert::record(d))).collect();
    let sees = caller.sees(&records).await?;
    Ok(documents.into_iter().zip(sees).filter_map(|(document, sees)| sees.then_some(document)).collect())
}

fn write_cursor(kind: Kind, name: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}/{name}", kind.as_str()))
}

fn read_cursor(kind: Kind, text: &str) -> Option<String> {
    let plain = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let name = plain.strip_prefix(kind.as_str())?.strip_prefix('/')?;
    Some(name.to_owned())
}

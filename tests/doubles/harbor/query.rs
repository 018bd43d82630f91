//! Pages and filters of lists (goharbor/harbor, src/lib/q/builder.go and src/server/v2.0/handler/base.go).

use std::collections::HashMap;

use axum::Json;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;
use url::form_urlencoded;

use super::refusal::{Answer, Refusal};

/// The largest page: more is refused, not cut.
const LARGEST: usize = 100;

/// The parameters of a list.
pub struct Query {
    /// Decoded once.
    pairs: Vec<(String, String)>,
    path: String,
    page: usize,
    page_size: usize,
    /// Of `q`.
    keywords: HashMap<String, Match>,
}

/// What a member must be like.
#[derive(Debug)]
pub enum Match {
    Exact(String),
    /// Holds this text, whatever the case.
    Fuzzy(String),
}

impl Match {
    pub fn fits(&self, value: &str) -> bool {
        match self {
            Self::Exact(wanted) => wanted == value,
            Self::Fuzzy(part) => value.to_lowercase().contains(&part.to_lowercase()),
        }
    }
}

impl Query {
    pub fn of(uri: &Uri) -> Answer<Self> {
        let pairs: Vec<(String, String)> =
            form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        let mut query =
            Self { path: uri.path().to_owned(), page: 1, page_size: 10, keywords: HashMap::new(), pairs };
        query.page = query.number("page")?.unwrap_or(1).max(1);
        query.page_size = query.number("page_size")?.unwrap_or(10);
        if query.page_size > LARGEST {
            let message = format!("page_size in query should be less than or equal to {LARGEST}");
            return Err(Refusal::parameter(message));
        }
        query.keywords = query.get("q").map(keywords).transpose()?.unwrap_or_default();
        Ok(query)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str) -> Answer<Option<usize>> {
        let parsed = self.get(name).map(str::parse).transpose();
        parsed.map_err(|_| Refusal::parameter(format!("{name} in query must be of type int64")))
    }

    pub fn boolean(&self, name: &str) -> Answer<Option<bool>> {
        let parsed = self.get(name).map(str::parse).transpose();
        parsed.map_err(|_| Refusal::parameter(format!("{name} in query must be of type boolean")))
    }

    /// What `q` wants this member to be.
    pub fn keyword(&self, name: &str) -> Option<&Match> {
        self.keywords.get(name)
    }

    /// Whether `q` lets this value of a member pass.
    pub fn lets(&self, name: &str, value: &str) -> bool {
        self.keyword(name).is_none_or(|wanted| wanted.fits(value))
    }

    /// One page of all items, with the number of all and the links to its neighbours.
    pub fn answer<T>(&self, all: Vec<T>, show: impl Fn(T) -> Value) -> Response {
        let total = all.len();
        // Only what is on the page, or a list of ten thousand would take seconds a page.
        let page = all.into_iter().skip((self.page - 1) * self.page_size).take(self.page_size);
        let page: Vec<_> = page.map(show).collect();
        let mut response = Json(page).into_response();
        let headers = response.headers_mut();
        headers.insert("x-total-count", HeaderValue::from(total));
        let mut links = Vec::new();
        if self.page > 1 && (self.page - 1) * self.page_size < total {
            links.push(self.link(self.page - 1, "prev"));
        }
        if self.page * self.page_size < total {
            links.push(self.link(self.page + 1, "next"));
        }
        if let Ok(links) = HeaderValue::from_str(&links.join(" , "))
            && !links.is_empty()
        {
            headers.insert(header::LINK, links);
        }
        response
    }

    /// Without a host, and nothing in it is escaped: what `q` held can break it apart.
    fn link(&self, page: usize, rel: &str) -> String {
        let mut pairs = self.pairs.clone();
        pairs.retain(|(name, _)| name != "page" && name != "page_size");
        pairs.push(("page".to_owned(), page.to_string()));
        pairs.push(("page_size".to_owned(), self.page_size.to_string()));
        pairs.sort();
        let query: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("<{}?{}>; rel=\"{rel}\"", self.path, query.join("&"))
    }
}

/// `k=v,k=~v`. The text has been decoded as a parameter and is decoded once more, so that a `+` in it becomes a space.
fn keywords(q: &str) -> Answer<HashMap<String, Match>> {
    if q.is_empty() {
        return Ok(HashMap::new());
    }
    let decoded =
        form_urlencoded::parse(format!("q={}", q.replace('&', "%26").replace('=', "%3D")).as_bytes())
            .next()
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default();
    decoded
        .split(',')
        .map(|param| match param.split_once('=') {
            Some((name, value)) if !name.is_empty() && !value.is_empty() => {
                let wanted = match value.strip_prefix('~') {
                    Some(part) => Match::Fuzzy(part.to_owned()),
                    None => Match::Exact(value.to_owned()),
                };
                Ok((name.to_owned(), wanted))
            }
            _ => {
                let message = "the query string must contain \"=\" and the key/value cannot be empty";
                Err(Refusal::bad_request(message))
            }
        })
        .collect()
}

//! What a server was asked.

use std::sync::{Arc, Mutex};

use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};

/// One request.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    /// As it was sent, without the query.
    pub path: String,
    /// As it was sent.
    pub query: String,
    pub headers: HeaderMap,
}

impl Seen {
    /// The value of `Authorization`.
    pub fn authorization(&self) -> Option<&str> {
        self.headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap())
    }

    /// Whether a cookie came along.
    pub fn has_cookie(&self) -> bool {
        self.headers.contains_key(header::COOKIE)
    }
}

#[derive(Default)]
struct Pages {
    seen: Vec<Seen>,
    in_flight: usize,
    most_in_flight: usize,
}

/// Every request of one server, in the order of arrival.
#[derive(Default, Clone)]
pub struct Journal(Arc<Mutex<Pages>>);

/// A call that has not been answered yet.
pub struct InFlight(Journal);

impl Journal {
    /// Notes a request before anything is done about it.
    pub(super) fn arrival(&self, request: &Parts) -> InFlight {
        let mut pages = self.0.lock().unwrap();
        pages.seen.push(Seen {
            method: request.method.clone(),
            path: request.uri.path().to_owned(),
            query: request.uri.query().unwrap_or_default().to_owned(),
            headers: request.headers.clone(),
        });
        pages.in_flight += 1;
        pages.most_in_flight = pages.most_in_flight.max(pages.in_flight);
        InFlight(self.clone())
    }

    pub fn requests(&self) -> Vec<Seen> {
        self.0.lock().unwrap().seen.clone()
    }

    /// How many requests there were for this path, of any method.
    pub fn calls(&self, path: &str) -> usize {
        self.0.lock().unwrap().seen.iter().filter(|seen| seen.path == path).count()
    }

    /// How many requests were being answered at once at most.
    pub fn most_in_flight(&self) -> usize {
        self.0.lock().unwrap().most_in_flight
    }

    /// Forgets everything so far.
    pub fn clear(&self) {
        let mut pages = self.0.lock().unwrap();
        pages.seen.clear();
        pages.most_in_flight = pages.in_flight;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().in_flight -= 1;
    }
}

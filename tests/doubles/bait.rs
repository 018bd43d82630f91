//! A server that wants passwords: it shows that none is sent to where none belongs.

use std::ops::Deref;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;

use super::certificates::Leaf;
use super::serving::Served;

/// It asks everybody to log in, and notes all heads in its journal.
pub struct Bait(Served);

impl Deref for Bait {
    type Target = Served;
    fn deref(&self) -> &Served {
        &self.0
    }
}

impl Bait {
    /// With TLS where a certificate is wanted.
    pub fn start(leaf: Option<Leaf>) -> Self {
        let ask = async || {
            let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"log in here\"")];
            (StatusCode::UNAUTHORIZED, challenge, "who are you?").into_response()
        };
        Self(Served::start(leaf, |_| Router::new().fallback(ask)))
    }

    /// Every header that carries a credential, as it came.
    pub fn credentials(&self) -> Vec<String> {
        let carriers = [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE];
        let seen = self.journal.requests();
        seen.iter()
            .flat_map(|seen| carriers.iter().flat_map(|carrier| seen.headers.get_all(carrier)))
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect()
    }
}

//! Reading an `AdmissionReview`: one pass over the body that keeps the few fields a decision needs, borrowed.
//!
//! The API server re-serialises every object, so types are strict here: what does not fit is refused, never
//! guessed. No model of the whole Pod exists, and the body is not parsed twice.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::images::Object;
use super::json;
use super::text::Text;

/// The largest body that is read, in bytes: an object and its predecessor of 3 MiB each, and what surrounds them.
pub const BODY_MAX: usize = 7 * 1024 * 1024;
/// The one version of `AdmissionReview` that is understood and answered.
pub const API_VERSION: &str = "admission.k8s.io/v1";

/// What the API server is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// A request, borrowing from the body.
#[derive(Debug)]
pub struct Review<'a> {
    pub uid: Text<'a>,
    pub operation: Operation,
    pub kind: GroupVersionKind<'a>,
    /// Empty for the object itself.
    pub sub_resource: Text<'a>,
    pub namespace: Text<'a>,
    pub user: User<'a>,
    pub object: Option<Object<'a>>,
    pub old_object: Option<Object<'a>>,
}

/// The kind of the object under review.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub struct GroupVersionKind<'a> {
    #[serde(borrow, default)]
    pub group: Text<'a>,
    #[serde(borrow, default)]
    pub version: Text<'a>,
    #[serde(borrow, default)]
    pub kind: Text<'a>,
}

/// Who asks; only to recognise a node's mirror pods.
#[derive(Debug, Default, Deserialize)]
pub struct User<'a> {
    #[serde(borrow, default)]
    pub username: Text<'a>,
    #[serde(borrow, default)]
    pub groups: Option<Vec<Text<'a>>>,
}

/// A body that is no review pullgate can judge.
#[derive(Debug, PartialEq, Eq)]
pub struct ReviewError {
    /// The request's uid, where it was read before the fault.
    pub uid: Option<String>,
    pub message: String,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    kind: Text<'a>,
    #[serde(borrow, default, rename = "apiVersion")]
    api_version: Text<'a>,
    #[serde(borrow)]
    request: Option<RawRequest<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRequest<'a> {
    #[serde(borrow, default)]
    uid: Text<'a>,
    operation: Option<Operation>,
    #[serde(borrow, default)]
    kind: GroupVersionKind<'a>,
    #[serde(borrow, default)]
    sub_resource: Option<Text<'a>>,
    #[serde(borrow, default)]
    namespace: Option<Text<'a>>,
    #[serde(borrow, default)]
    user_info: User<'a>,
    #[serde(borrow)]
    object: Option<Object<'a>>,
    #[serde(borrow)]
    old_object: Option<Object<'a>>,
}

/// Reads a review.
///
/// # Errors
/// A sentence for the API server's log, and the uid where it could be read, so that the denial can carry it.
pub fn parse(body: &[u8]) -> Result<Review<'_>, ReviewError> {
    let fault = |message: String| ReviewError { uid: uid_of(body), message };
    let text = std::str::from_utf8(body).map_err(|e| fault(format!("the body is not UTF-8: {e}")))?;
    // The error may quote a text of the body, of any length.
    let envelope: Envelope<'_> = json::from_str(text)
        .map_err(|e| fault(format!("the body is not an AdmissionReview: {}", shown(&e.to_string()))))?;
    if &*envelope.kind != "AdmissionReview" || &*envelope.api_version != API_VERSION {
        let found = format!("{} {}", shown(&envelope.api_version), shown(&envelope.kind));
        return Err(fault(format!("expected {API_VERSION} AdmissionReview, found {found}")));
    }
    let Some(request) = envelope.request else {
        return Err(fault("the AdmissionReview has no request".to_owned()));
    };
    if request.uid.is_empty() {
        return Err(fault("the request has no uid".to_owned()));
    }
    let Some(operation) = request.operation else {
        return Err(fault("the request has no operation".to_owned()));
    };
    Ok(Review {
        uid: request.uid,
        operation,
        kind: request.kind,
        sub_resource: request.sub_resource.unwrap_or_default(),
        namespace: request.namespace.unwrap_or_default(),
        user: request.user_info,
        object: request.object,
        old_object: request.old_object,
    })
}

/// A text of unknown length and content, fit for a message.
pub(crate) fn shown(text: &str) -> impl fmt::Display + '_ {
    const LONGEST: usize = 256;
    fmt::from_fn(move |f| {
        for c in text.chars().take(LONGEST) {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
        }
        if text.chars().nth(LONGEST).is_some() { f.write_str("…") } else { Ok(()) }
    })
}

/// The uid of a body that could not be read to its end. Only faulty bodies are looked at a second time.
fn uid_of(body: &[u8]) -> Option<String> {
    let found = RefCell::new(None);
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    // The fault is known already; what was read in front of it is what counts.
    let _ = UidSeed { path: &["request", "uid"], found: &found }.deserialize(&mut deserializer);
    found.into_inner().filter(|uid: &String| !uid.is_empty() && uid.len() <= 128)
}

/// Walks to one string in nested objects and notes it at once, so that a later fault does not lose it.
struct UidSeed<'s> {
    path: &'s [&'s str],
    found: &'s RefCell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for UidSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.path.is_empty() {
            *self.found.borrow_mut() = Some(String::deserialize(deserializer)?);
            return Ok(());
        }
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for UidSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            if key == self.path[0] {
                map.next_value_seed(UidSeed { path: &self.path[1..], found: self.found })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

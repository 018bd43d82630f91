//! Reading an `AdmissionReview`: one pass over the body that keeps the few fields a decision needs, borrowed.
//!
//! The API server re-serialises every object, so types are strict here: what does not fit is refused, never
//! guessed. No model of the whole Pod exists, and the body is not parsed twice.

use std::borrow::Cow;
use std::fmt;

use super::images::Object;
use super::json::{JsonError, Reader};
use crate::domain::unseen::{quoted, visible};

/// The largest body that is read, in bytes: an object and its predecessor of 3 MiB each, and what surrounds them.
pub const BODY_MAX: usize = 7 * 1024 * 1024;
/// The one version of `AdmissionReview` that is understood and answered.
pub const API_VERSION: &str = "admission.k8s.io/v1";
/// The longest uid that the answer to a faulty body repeats, in bytes; the API server's have 36.
const UID_MAX: usize = 128;

/// Characters that a message repeats of a text.
const SHOWN_MAX: usize = 256;
/// The group that every node is in.
const NODES_GROUP: &str = "system:nodes";

/// What the API server is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// An object under review, as far as a webhook reads it.
pub trait Reviewed<'a>: Default {
    /// Reads one member of the object, or skips it.
    ///
    /// # Errors
    /// It is not what it must be.
    fn member(&mut self, reader: &mut Reader<'a>, name: &str) -> Result<(), JsonError>;
}

/// A request, borrowing from the body.
#[derive(Debug)]
pub struct Review<'a, O = Object<'a>> {
    pub uid: Cow<'a, str>,
    pub operation: Operation,
    pub kind: GroupVersionKind<'a>,
    /// Empty for the object itself.
    pub sub_resource: Cow<'a, str>,
    pub namespace: Cow<'a, str>,
    pub user: User<'a>,
    /// Nothing will come of it.
    pub dry_run: bool,
    pub object: Option<O>,
    pub old_object: Option<O>,
}

/// The kind of the object under review.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct GroupVersionKind<'a> {
    /// `None`: the core group.
    pub group: Option<Cow<'a, str>>,
    pub version: Option<Cow<'a, str>>,
    pub kind: Option<Cow<'a, str>>,
}

/// Who asks; only to recognise a node's mirror pods.
#[derive(Debug, Default)]
pub struct User<'a> {
    pub username: Option<Cow<'a, str>>,
    /// Whether the groups hold that of the cluster's nodes.
    pub in_nodes: Option<bool>,
}

/// A body that is no review pullgate can judge.
#[derive(Debug, PartialEq, Eq)]
pub struct ReviewError {
    /// The request's uid, where it was read before the fault.
    pub uid: Option<String>,
    pub message: String,
}

#[derive(Default)]
struct Envelope<'a, O> {
    kind: Option<Cow<'a, str>>,
    api_version: Option<Cow<'a, str>>,
    request: Option<Request<'a, O>>,
}

#[derive(Default)]
struct Request<'a, O> {
    uid: Option<Cow<'a, str>>,
    operation: Option<Operation>,
    kind: Option<GroupVersionKind<'a>>,
    sub_resource: Option<Cow<'a, str>>,
    namespace: Option<Cow<'a, str>>,
    user: Option<User<'a>>,
    dry_run: Option<bool>,
    object: Option<O>,
    old_object: Option<O>,
}

/// Reads a review.
///
/// # Errors
/// A sentence for the API server's log, and the uid where it could be read, so that the denial can carry it.
pub fn parse<'a, O: Reviewed<'a>>(body: &'a [u8]) -> Result<Review<'a, O>, ReviewError> {
    let text = text_of(body)?;
    let fault = |message| ReviewError { uid: uid_of(text), message };
    // The error may quote a text of the body, of any length.
    let envelope = Reader::whole(text, Envelope::read)
        .map_err(|e| fault(format!("the body is not an AdmissionReview: {}", shown(&e.to_string()))))?;
    let (api_version, kind) = (envelope.api_version.unwrap_or_default(), envelope.kind.unwrap_or_default());
    check_version(&api_version, &kind).map_err(fault)?;
    let missing = |what: &'static str| move || fault(what.to_owned());
    let request = envelope.request.ok_or_else(missing("the AdmissionReview has no request"))?;
    let uid = request.uid.filter(|uid| !uid.is_empty()).ok_or_else(missing("the request has no uid"))?;
    Ok(Review {
        uid,
        operation: request.operation.ok_or_else(missing("the request has no operation"))?,
        kind: request.kind.unwrap_or_default(),
        sub_resource: request.sub_resource.unwrap_or_default(),
        namespace: request.namespace.unwrap_or_default(),
        user: request.user.unwrap_or_default(),
        dry_run: request.dry_run.unwrap_or_default(),
        object: request.object,
        old_object: request.old_object,
    })
}

/// A body as text.
fn text_of(body: &[u8]) -> Result<&str, ReviewError> {
    simdutf8::compat::from_utf8(body).map_err(|error| ReviewError {
        uid: uid_of(valid_part(body, error)),
        message: format!("the body is not UTF-8: {error}"),
    })
}

/// Refuses everything but the one version of the one kind.
fn check_version(api_version: &str, kind: &str) -> Result<(), String> {
    if api_version == API_VERSION && kind == "AdmissionReview" {
        return Ok(());
    }
    Err(format!("expected {API_VERSION} AdmissionReview, found {} {}", shown(api_version), shown(kind)))
}

/// The beginning of a body that is UTF-8.
fn valid_part(body: &[u8], error: simdutf8::compat::Utf8Error) -> &str {
    std::str::from_utf8(&body[..error.valid_up_to()]).unwrap_or_default()
}

/// The uid of a body that could not be read to its end. Only faulty bodies are looked at a second time.
fn uid_of(text: &str) -> Option<String> {
    let mut found = None;
    // The fault is known already; what was read in front of it is what counts.
    let _ = Reader::whole(text, |reader| {
        reader.object(&mut |reader, name| match name {
            "request" => reader.object(&mut |reader, name| match name {
                "uid" => reader.once(&mut found, Reader::string),
                _ => reader.skip(),
            }),
            _ => reader.skip(),
        })
    });
    found.filter(|uid| !uid.is_empty() && uid.len() <= UID_MAX).map(Cow::into_owned)
}

impl<'a, O: Reviewed<'a>> Envelope<'a, O> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, JsonError> {
        let mut envelope = Self::default();
        reader.object(&mut |reader, name| match name {
            "kind" => reader.once(&mut envelope.kind, Reader::string),
            "apiVersion" => reader.once(&mut envelope.api_version, Reader::string),
            "request" => reader.fill(&mut envelope.request, Request::member),
            _ => reader.skip(),
        })?;
        Ok(envelope)
    }
}

impl<'a, O: Reviewed<'a>> Request<'a, O> {
    fn member(&mut self, reader: &mut Reader<'a>, name: &str) -> Result<(), JsonError> {
        match name {
            "uid" => reader.once(&mut self.uid, Reader::string),
            "operation" => reader.once(&mut self.operation, Operation::read),
            "kind" => reader.fill(&mut self.kind, GroupVersionKind::member),
            "subResource" => reader.once(&mut self.sub_resource, Reader::string),
            "namespace" => reader.once(&mut self.namespace, Reader::string),
            "userInfo" => reader.fill(&mut self.user, User::member),
            "dryRun" => reader.once(&mut self.dry_run, Reader::boolean),
            "object" => reader.fill(&mut self.object, O::member),
            "oldObject" => reader.fill(&mut self.old_object, O::member),
            _ => reader.skip(),
        }
    }
}

impl Operation {
    fn read(reader: &mut Reader<'_>) -> Result<Self, JsonError> {
        match &*reader.string()? {
            "CREATE" => Ok(Self::Create),
            "UPDATE" => Ok(Self::Update),
            "DELETE" => Ok(Self::Delete),
            "CONNECT" => Ok(Self::Connect),
            _ => Err(JsonError::new("expected CREATE, UPDATE, DELETE or CONNECT")),
        }
    }
}

impl<'a> GroupVersionKind<'a> {
    fn member(&mut self, reader: &mut Reader<'a>, name: &str) -> Result<(), JsonError> {
        match name {
            "group" => reader.once(&mut self.group, Reader::string),
            "version" => reader.once(&mut self.version, Reader::string),
            "kind" => reader.once(&mut self.kind, Reader::string),
            _ => reader.skip(),
        }
    }
}

impl<'a> User<'a> {
    fn member(&mut self, reader: &mut Reader<'a>, name: &str) -> Result<(), JsonError> {
        match name {
            "username" => reader.once(&mut self.username, Reader::string),
            "groups" => reader.once(&mut self.in_nodes, |reader| {
                let mut found = false;
                reader.list(&mut |reader| {
                    found |= reader.string()? == NODES_GROUP;
                    Ok(())
                })?;
                Ok(found)
            }),
            _ => reader.skip(),
        }
    }
}

/// A text of unknown length and content, fit for a message.
pub(crate) fn shown(text: &str) -> impl fmt::Display + '_ {
    shown_to(SHOWN_MAX, text)
}

/// As [`shown`], up to this many characters.
pub(super) fn shown_to(longest: usize, text: &str) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| {
        let (text, cut) = beginning(longest, text);
        write!(f, "{}{cut}", visible(text))
    })
}

/// As [`shown`], for an image reference: within quotes where it is none that could be seen as it is.
pub(crate) fn shown_image(image: &str) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| {
        let (text, cut) = beginning(SHOWN_MAX, image);
        write!(f, "{}{cut}", quoted(text))
    })
}

/// The first characters of a text, and what stands for the rest.
fn beginning(longest: usize, text: &str) -> (&str, &'static str) {
    text.char_indices().nth(longest).map_or((text, ""), |(end, _)| (&text[..end], "…"))
}

//! The webhook that guards pullgate's own records: what the management API refuses, `kubectl` is refused too.
//!
//! Not on the way of any pod, so it reads whole objects. It judges by the records that the index published and asks
//! nobody; it never judges a status, which is the controllers' alone.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::post_service;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tower::service_fn;

use super::answer;
use super::handlers::{Admission, Fault, time_out};
use super::judge::Unjudgeable;
use super::review::{Operation, ReviewError, check_version, shown, text_of, uid_of};
use crate::domain::conflicts::removal_conflicts;
use crate::domain::record::{Entry, Kind, Name, Problem, Record, Records, Registry};
use crate::metrics::Webhook;
use crate::store::crd::{GROUP, VERSION};
use crate::store::{Document, convert, rules};

/// The longest spec that is judged, in bytes; as much as the management API takes.
const SPEC_MAX: usize = 1024 * 1024;
/// How long what is published may lag behind what was just written, at the most.
const LAG: Duration = Duration::from_secs(1);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(20);
/// Denials that wait for it at one time.
const WAITING_MAX: usize = 32;
/// Records that wait are no larger than this, in bytes.
const WAITING_SIZE: usize = 64 * 1024;

/// What the guard needs.
#[derive(Debug)]
pub struct Guard {
    admission: Arc<Admission>,
    records: Arc<ArcSwap<Records>>,
    lag: Duration,
    waiting: Semaphore,
}

impl Guard {
    /// Judges by whatever `records` holds at the time; bodies share the room of the other webhooks.
    pub fn new(admission: Arc<Admission>, records: Arc<ArcSwap<Records>>) -> Self {
        Self { admission, records, lag: LAG, waiting: Semaphore::new(WAITING_MAX) }
    }

    /// Gives `records` another time to catch up before something is denied because of other records.
    #[must_use]
    pub fn with_lag(self, lag: Duration) -> Self {
        Self { lag, ..self }
    }

    async fn serve(&self, request: Request) -> Response {
        let start = Instant::now();
        let time_out = request.uri().query().and_then(time_out);
        let lag = time_out.map_or(self.lag, |time_out| self.lag.min(time_out / 2));
        let outcome = match self.admission.read(request).await {
            Ok(body) => self.answer(body, lag).await,
            Err(fault) => Err(fault),
        };
        self.admission.respond(Webhook::Guard, start, outcome)
    }

    async fn answer(&self, body: Bytes, lag: Duration) -> Result<Vec<u8>, Fault> {
        let size = body.len();
        let (uid, subject) = match parse(&body) {
            Ok(read) => read,
            Err(error) => return self.admission.unreadable(Webhook::Guard, error),
        };
        drop(body);
        let subject = match subject {
            Ok(subject) => subject,
            Err(unjudgeable) => return Ok(self.admission.unjudgeable(Webhook::Guard, &uid, &unjudgeable)),
        };
        let records = self.records.load_full();
        let mut problems = subject.problems(&records);
        if !problems.is_empty() && size <= WAITING_SIZE && subject.depends_on_others() {
            problems = self.judged_again(&subject, problems, records, lag).await;
        }
        Ok(answer::guarded(&uid, &problems, subject.warnings()))
    }

    /// `kubectl apply` writes a workspace and a moment later the registry that names it, and the management API may do
    /// so too: what is published may not show yet what makes the second right. Nobody is denied before it had time to.
    async fn judged_again(
        &self,
        subject: &Subject,
        mut problems: Vec<Problem>,
        mut judged_by: Arc<Records>,
        lag: Duration,
    ) -> Vec<Problem> {
        let Ok(_place) = self.waiting.try_acquire() else { return problems };
        let end = Instant::now() + lag;
        while !problems.is_empty() && Instant::now() < end {
            tokio::time::sleep(LOOK).await;
            let records = self.records.load_full();
            if !Arc::ptr_eq(&records, &judged_by) {
                problems = subject.problems(&records);
                judged_by = records;
            }
        }
        problems
    }
}

/// `POST /guard`.
pub fn router(guard: Guard) -> Router {
    let guard = Arc::new(guard);
    let serve = service_fn(move |request| {
        let guard = guard.clone();
        async move { Ok::<_, Infallible>(guard.serve(request).await) }
    });
    Router::new().route("/guard", post_service(serve))
}

/// What is to be judged.
enum Subject {
    /// Nothing that a rule is about: a status, an unchanged spec, a record that is being deleted.
    Nothing,
    Created(Document),
    Changed {
        before: Document,
        after: Document,
    },
    Removed(Kind, Name),
}

impl Subject {
    fn problems(&self, records: &Records) -> Vec<Problem> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Created(document) => rules::problems(records, document),
            Self::Changed { before, after } => rules::change_problems(records, before, after),
            Self::Removed(kind, name) => removal_conflicts(records, *kind, name),
        }
    }

    /// Whether other records could change the verdict.
    fn depends_on_others(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Created(document) | Self::Changed { after: document, .. } => {
                convert::parse(document).is_ok()
            }
            Self::Removed(..) => true,
        }
    }

    /// What an allowed change does to the credential that is stored beside a registry.
    fn warnings(&self) -> Vec<String> {
        let Self::Changed { before, after } = self else { return Vec::new() };
        let reference = |document: &Document| document.spec.get("credential").cloned();
        let (old, new) = (convert::record(before), convert::record(after));
        let Some(new) = valid_registry(&new).filter(|_| reference(after).is_some()) else {
            return Vec::new();
        };
        if reference(before) != reference(after) {
            return Vec::new();
        }
        let warning = match valid_registry(&old) {
            Some(old) if old.audience() == new.audience() && old.owner == new.owner => return Vec::new(),
            Some(old) if old.audience() == new.audience() => {
                "the stored credential was given for the registry's former owner; give user name and password again"
            }
            _ => "the stored credential is void for a changed address; give user name and password again",
        };
        vec![warning.to_owned()]
    }
}

fn valid_registry(record: &Record) -> Option<&Registry> {
    match record {
        Record::Registry(Entry::Valid(registry)) => Some(registry),
        _ => None,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(borrow)]
    request: Option<RecordReview<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecordReview<'a> {
    uid: Option<String>,
    operation: Option<Operation>,
    #[serde(default)]
    kind: GroupVersionKind,
    sub_resource: Option<String>,
    /// As text: a hostile one takes many times its size once it is read.
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    #[serde(borrow)]
    old_object: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct GroupVersionKind {
    group: String,
    version: String,
    kind: String,
}

/// A record as the API server has it.
#[derive(Deserialize)]
struct Object<'a> {
    metadata: Metadata,
    #[serde(borrow)]
    spec: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    name: String,
    deletion_timestamp: Option<IgnoredAny>,
}

/// The request's uid and its subject.
type Read = (String, Result<Subject, Unjudgeable>);

/// Reads a review of a record.
fn parse(body: &[u8]) -> Result<Read, ReviewError> {
    let text = text_of(body)?;
    let fault = |message| ReviewError { uid: uid_of(text), message };
    let envelope: Envelope<'_> = serde_json::from_str(text)
        .map_err(|e| fault(format!("the body is not an AdmissionReview: {}", shown(&e.to_string()))))?;
    check_version(&envelope.api_version, &envelope.kind).map_err(fault)?;
    let missing = |what: &'static str| move || fault(what.to_owned());
    let mut review = envelope.request.ok_or_else(missing("the AdmissionReview has no request"))?;
    let uid = review.uid.take().filter(|uid| !uid.is_empty());
    let uid = uid.ok_or_else(missing("the request has no uid"))?;
    let operation = review.operation.ok_or_else(missing("the request has no operation"))?;
    Ok((uid, subject(operation, &review).map_err(Unjudgeable)))
}

fn subject(operation: Operation, review: &RecordReview<'_>) -> Result<Subject, String> {
    let kind = kind(&review.kind)?;
    match review.sub_resource.as_deref() {
        None | Some("") => {}
        Some("status") => return Ok(Subject::Nothing),
        Some(other) => return Err(format!("pullgate does not know the subresource {}", shown(other))),
    }
    let object = || read("object", review.object);
    let old = || read("oldObject", review.old_object);
    Ok(match operation {
        Operation::Create => Subject::Created(object()?.document(kind)?),
        Operation::Update => {
            let (old, object) = (old()?, object()?);
            // Finalizers and labels change on records that are invalid, and on those that are on their way out.
            if object.metadata.deletion_timestamp.is_some() || object.same_spec(&old) {
                return Ok(Subject::Nothing);
            }
            Subject::Changed { before: old.former(kind), after: object.document(kind)? }
        }
        Operation::Delete => {
            let old = old()?;
            if old.metadata.deletion_timestamp.is_some() {
                return Ok(Subject::Nothing);
            }
            Subject::Removed(kind, old.metadata.name.into())
        }
        Operation::Connect => return Err("nobody connects to a record".to_owned()),
    })
}

fn kind(of: &GroupVersionKind) -> Result<Kind, String> {
    let GroupVersionKind { group, version, kind } = of;
    let known = Kind::ALL.into_iter().find(|known| known.as_str() == kind);
    known.filter(|_| group == GROUP && version == VERSION).ok_or_else(|| {
        let found = format!("{}/{} {}", shown(group), shown(version), shown(kind));
        format!("pullgate does not know {found}; its records are of {GROUP}/{VERSION}")
    })
}

fn read<'a>(member: &str, text: Option<&'a RawValue>) -> Result<Object<'a>, String> {
    let text = text.ok_or_else(|| format!("the request has no {member}"))?;
    // serde would take a list for the members in their order.
    if !text.get().starts_with('{') {
        return Err(format!("the request's {member} is no record"));
    }
    serde_json::from_str(text.get())
        .map_err(|error| format!("the request's {member} is no record: {}", shown(&error.to_string())))
}

impl Object<'_> {
    /// Whether the spec is the other's. The API server writes equal ones alike.
    fn same_spec(&self, other: &Self) -> bool {
        let (text, other_text) = (self.spec.map(RawValue::get), other.spec.map(RawValue::get));
        text == other_text || self.spec().is_ok_and(|spec| other.spec().is_ok_and(|old| old == spec))
    }

    /// `Null` where there is none.
    fn spec(&self) -> Result<Value, String> {
        let Some(spec) = self.spec else { return Ok(Value::Null) };
        if spec.get().len() > SPEC_MAX {
            return Err(format!(
                "spec is over {} MiB, the most that a record may have",
                SPEC_MAX / 1024 / 1024
            ));
        }
        serde_json::from_str(spec.get()).map_err(|error| format!("spec: {}", shown(&error.to_string())))
    }

    /// The record without its status, which is not judged.
    fn document(self, kind: Kind) -> Result<Document, String> {
        let spec = self.spec()?;
        Ok(document(kind, self.metadata.name, spec))
    }

    /// The record as it was, whatever it was.
    fn former(self, kind: Kind) -> Document {
        let spec = self.spec().unwrap_or_default();
        document(kind, self.metadata.name, spec)
    }
}

fn document(kind: Kind, name: String, spec: Value) -> Document {
    Document::new(kind, name, spec)
}

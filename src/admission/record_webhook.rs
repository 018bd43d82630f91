//! The webhook that guards pullgate's own records: what the management API refuses, `kubectl` is refused too.
//!
//! Not on the way of any pod. It judges by the records that the index published and asks
//! nobody; it never judges a status, which is the controllers' alone.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::post_service;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tower::service_fn;

use super::answer;
use super::handlers::{Admission, Fault, time_out};
use super::json::{JsonError, Reader};
use super::judge::Unjudgeable;
use super::review::{self, GroupVersionKind, Operation, Review, Reviewed, shown};
use crate::domain::conflicts::removal_conflicts;
use crate::domain::record::bounds::SPEC;
use crate::domain::record::{Entry, Kind, Name, Problem, Record, Registry};
use crate::domain::records::Records;
use crate::domain::snapshot::Snapshot;
use crate::metrics::Webhook;
use crate::room::Whole;
use crate::state::{Interest, State};
use crate::store::rules;
use crate::types::crd::{GROUP, VERSION};
use crate::types::{Document, convert};

/// How long what is published may lag behind what was just written, at the most.
const LAG: Duration = Duration::from_secs(1);
/// Denials that wait for it at one time.
const WAITING_MAX: usize = 32;
/// Records that wait are no larger than this, in bytes.
const WAITING_SIZE: usize = 64 * 1024;

/// What the guard needs.
pub struct RecordWebhook {
    admission: Arc<Admission>,
    state: State,
    lag: Duration,
    waiting: Semaphore,
}

impl RecordWebhook {
    /// Judges by whatever `state` holds at the time; bodies share the room of the other webhooks.
    pub fn new(admission: Arc<Admission>, state: State) -> Self {
        Self { admission, state, lag: LAG, waiting: Semaphore::new(WAITING_MAX) }
    }

    /// Gives `state` another time to catch up before something is denied because of other records.
    #[must_use]
    pub fn with_lag(self, lag: Duration) -> Self {
        Self { lag, ..self }
    }

    async fn serve(self: &Arc<Self>, request: Request) -> Response {
        let start = Instant::now();
        let time_out = request.uri().query().and_then(time_out);
        let lag = time_out.map_or(self.lag, |time_out| self.lag.min(time_out / 2));
        let outcome = match self.admission.read(request).await {
            Ok(body) => self.answer(body, lag).await,
            Err(fault) => Err(fault),
        };
        self.admission.respond(Webhook::Guard, start, outcome)
    }

    async fn answer(self: &Arc<Self>, body: Whole, lag: Duration) -> Result<Vec<u8>, Fault> {
        let size = body.len();
        let judged = if body.is_small() {
            self.judge(&body)
        } else {
            let guard = Arc::clone(self);
            self.admission.apart(move || guard.judge(&body)).await?
        };
        let Judged { uid, subject, snapshot, mut problems } = match judged {
            Ok(judged) => judged,
            Err(outcome) => return outcome,
        };
        if !problems.is_empty() && size <= WAITING_SIZE && subject.depends_on_others() {
            problems = self.judged_again(&subject, problems, snapshot, lag).await;
        }
        Ok(answer::guarded(&uid, &problems, subject.warnings()))
    }

    /// What is wrong with the review's record; or else the answer to a review that cannot be judged.
    fn judge(&self, body: &[u8]) -> Result<Judged, Result<Vec<u8>, Fault>> {
        let review = review::parse(body).map_err(|error| self.admission.unreadable(Webhook::Guard, error))?;
        let uid = review.uid.to_string();
        let subject = subject(review)
            .map_err(|message| Ok(self.admission.unjudgeable(Webhook::Guard, &uid, &Unjudgeable(message))))?;
        let snapshot = self.state.snapshot_full();
        let problems = subject.problems(snapshot.records());
        Ok(Judged { uid, subject, snapshot, problems })
    }

    /// `kubectl apply` writes a workspace and a moment later the registry that names it, and the management API may do
    /// so too: what is published may not show yet what makes the second right. Nobody is denied before it had time to.
    async fn judged_again(
        &self,
        subject: &Subject,
        mut problems: Vec<Problem>,
        judged_by: Arc<Snapshot>,
        lag: Duration,
    ) -> Vec<Problem> {
        let Ok(_place) = self.waiting.try_acquire() else { return problems };
        let mut changes = self.state.subscribe(Interest::Everything);
        if Arc::ptr_eq(&self.state.snapshot(), &judged_by) {
            // All that there is was looked at.
            changes.take();
        }
        let look_again = async {
            while !problems.is_empty() {
                changes.next().await;
                problems = subject.problems(self.state.snapshot_full().records());
            }
        };
        // What it came to so far is the answer.
        let _ = timeout(lag, look_again).await;
        problems
    }
}

/// `POST /guard`.
pub fn router(guard: RecordWebhook) -> Router {
    let guard = Arc::new(guard);
    let serve = service_fn(move |request| {
        let guard = guard.clone();
        async move { Ok::<_, Infallible>(guard.serve(request).await) }
    });
    Router::new().route("/guard", post_service(serve))
}

/// What was found.
struct Judged {
    uid: String,
    subject: Subject,
    snapshot: Arc<Snapshot>,
    problems: Vec<Problem>,
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
            Self::Created(document) => rules::creation_problems(records, document),
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
            Some(old) if old.audience() == new.audience() => return Vec::new(),
            Some(old) if old.owner != new.owner => {
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

/// A record as the API server has it.
#[derive(Default)]
struct Object<'a> {
    metadata: Option<Metadata<'a>>,
    /// As text: a hostile one takes many times its size once it is read.
    spec: Option<&'a str>,
}

#[derive(Default)]
struct Metadata<'a> {
    name: Option<Cow<'a, str>>,
    deletion_timestamp: Option<&'a str>,
}

impl<'a> Metadata<'a> {
    fn member(&mut self, reader: &mut Reader<'a>, name: &str) -> Result<(), JsonError> {
        match name {
            "name" => reader.once(&mut self.name, Reader::string),
            "deletionTimestamp" => reader.once(&mut self.deletion_timestamp, Reader::raw),
            _ => reader.skip(),
        }
    }
}

fn subject<'a>(review: Review<'a, Object<'a>>) -> Result<Subject, String> {
    let Review { operation, kind, sub_resource, object, old_object, .. } = review;
    let kind = known_kind(kind)?;
    match &*sub_resource {
        "" => {}
        "status" => return Ok(Subject::Nothing),
        other => return Err(format!("pullgate does not know the subresource {}", shown(other))),
    }
    let object = object.ok_or("the request has no object");
    let old = old_object.ok_or("the request has no oldObject");
    Ok(match operation {
        Operation::Create => Subject::Created(object?.document(kind)?),
        Operation::Update => {
            let (old, object) = (old?, object?);
            // Finalizers and labels change on records that are invalid, and on those that are on their way out.
            if object.is_leaving() || object.same_spec(&old) {
                return Ok(Subject::Nothing);
            }
            Subject::Changed { before: old.former(kind), after: object.document(kind)? }
        }
        Operation::Delete => {
            let old = old?;
            if old.is_leaving() { Subject::Nothing } else { Subject::Removed(kind, old.name()) }
        }
        Operation::Connect => return Err("nobody connects to a record".to_owned()),
    })
}

fn known_kind(of: GroupVersionKind<'_>) -> Result<Kind, String> {
    let [group, version, kind] = [of.group, of.version, of.kind].map(Option::unwrap_or_default);
    let known = Kind::ALL.into_iter().find(|known| known.as_str() == kind);
    known.filter(|_| group == GROUP && version == VERSION).ok_or_else(|| {
        let found = format!("{}/{} {}", shown(&group), shown(&version), shown(&kind));
        format!("pullgate does not know {found}; its records are of {GROUP}/{VERSION}")
    })
}

impl<'a> Reviewed<'a> for Object<'a> {
    fn member(&mut self, reader: &mut Reader<'a>, name: &str) -> Result<(), JsonError> {
        match name {
            "metadata" => reader.fill(&mut self.metadata, Metadata::member),
            "spec" => reader.once(&mut self.spec, Reader::raw),
            _ => reader.skip(),
        }
    }
}

impl Object<'_> {
    fn name(&self) -> Name {
        self.metadata.as_ref().and_then(|m| m.name.as_deref()).unwrap_or_default().into()
    }

    fn is_leaving(&self) -> bool {
        self.metadata.as_ref().is_some_and(|m| m.deletion_timestamp.is_some())
    }

    /// Whether the spec is the other's. The API server writes equal ones alike.
    fn same_spec(&self, other: &Self) -> bool {
        self.spec == other.spec || self.spec().is_ok_and(|spec| other.spec().is_ok_and(|old| old == spec))
    }

    /// `Null` where there is none.
    fn spec(&self) -> Result<Value, String> {
        let Some(spec) = self.spec else { return Ok(Value::Null) };
        if spec.len() > SPEC {
            return Err(format!("spec is over {} KiB, the most that a record may have", SPEC / 1024));
        }
        Reader::whole(spec, Reader::value).map_err(|error| format!("spec: {}", shown(&error.to_string())))
    }

    /// The record without its status, which is not judged.
    fn document(&self, kind: Kind) -> Result<Document, String> {
        Ok(Document::new(kind, self.name(), self.spec()?))
    }

    /// The record as it was, whatever it was.
    fn former(&self, kind: Kind) -> Document {
        Document::new(kind, self.name(), self.spec().unwrap_or_default())
    }
}

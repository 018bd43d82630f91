//! The HTTP side of the webhooks: reads the body within its bounds, judges, answers.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::BodyDataStream;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post_service};
use futures::StreamExt;
use tower::service_fn;

use super::pinning::Pinning;
use super::review::{BODY_MAX, Review, ReviewError};
use super::{answer, judge, review};
use crate::domain::decision::Decision;
use crate::domain::record::UnixSeconds;
use crate::metrics::{Metrics, Webhook};
use crate::room::{Room, Unread, Whole};
use crate::state::State;

/// How much of a body that is too large is read and dropped, in bytes, and for how long.
const DISCARD_MAX: usize = 4 * BODY_MAX;
const DISCARD_TIME: Duration = Duration::from_secs(1);
/// How long a body may take where the API server names no deadline; its own default.
const DEADLINE: Duration = Duration::from_secs(10);
/// Looks at a body before a timer is set for it: one that asks, and one for each of the two pieces that most come in.
const LOOKS: usize = 3;
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What the webhooks need.
pub struct Admission {
    state: State,
    metrics: Arc<Metrics>,
    room: Arc<Room>,
    /// Absent where somebody else than the API server may be asking.
    pinning: Option<Pinning>,
}

impl Admission {
    /// Webhooks that decide by whatever `state` holds at the time.
    pub fn new(state: State, metrics: Arc<Metrics>) -> Arc<Self> {
        Self::with_pinning(state, metrics, None, Arc::default())
    }

    /// The same, which tell the digest to write where one is demanded: only for a listener that lets in the API server
    /// alone. Bodies share `room` with those of others.
    pub fn with_pinning(
        state: State,
        metrics: Arc<Metrics>,
        pinning: Option<Pinning>,
        room: Arc<Room>,
    ) -> Arc<Self> {
        Arc::new(Self { state, metrics, room, pinning })
    }
}

/// `POST /mutate` and `POST /validate`.
pub fn router(admission: Arc<Admission>) -> Router {
    Router::new()
        .route("/mutate", serve(admission.clone(), Webhook::Mutate, Admission::mutate))
        .route("/validate", serve(admission, Webhook::Validate, Admission::validate))
}

/// How a webhook answers a review.
type Judge = fn(&Admission, &Review<'_>) -> Result<Vec<u8>, judge::Unjudgeable>;

/// A service and no handler: axum would box each request's future once more.
fn serve(admission: Arc<Admission>, webhook: Webhook, judge: Judge) -> MethodRouter {
    post_service(service_fn(move |request| {
        let admission = admission.clone();
        async move { Ok::<_, Infallible>(admission.serve(webhook, judge, request).await) }
    }))
}

/// A request that is not answered with a review.
pub(super) struct Fault {
    status: StatusCode,
    /// The metric's label.
    cause: &'static str,
    message: String,
}

impl Admission {
    async fn serve(self: &Arc<Self>, webhook: Webhook, judge: Judge, request: Request) -> Response {
        let start = Instant::now();
        let outcome = match self.read(request).await {
            Ok(body) if body.is_small() => self.answer(webhook, judge, &body),
            Ok(body) => {
                let admission = Arc::clone(self);
                self.apart(move || admission.answer(webhook, judge, &body)).await.flatten()
            }
            Err(fault) => Err(fault),
        };
        self.respond(webhook, start, outcome)
    }

    /// The review in `outcome` as a response; faults and the time since `start` are counted.
    pub(super) fn respond(
        &self,
        webhook: Webhook,
        start: Instant,
        outcome: Result<Vec<u8>, Fault>,
    ) -> Response {
        let outcome = outcome.and_then(|json| self.room.answer(json).ok_or_else(Fault::crowded));
        let response = outcome.map_or_else(
            |fault| {
                self.metrics.admission.fault(webhook, fault.cause);
                fault.into_response()
            },
            |body| {
                let mut response = Response::new(body);
                response.headers_mut().insert(header::CONTENT_TYPE, JSON);
                response
            },
        );
        self.metrics.admission.took(webhook, start.elapsed().as_secs_f64());
        response
    }

    /// The body, within its size, the deadline and the room that all bodies share.
    pub(super) async fn read(&self, request: Request) -> Result<Whole, Fault> {
        let announced = request.headers().get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
        let named = request.uri().query().and_then(time_out);
        let deadline = named.unwrap_or(DEADLINE).min(DEADLINE);
        let body = request.into_body();
        if announced.is_some_and(|length| length > BODY_MAX) {
            return Err(too_large(body.into_data_stream()).await);
        }
        let mut reading = pin!(self.room.read(body, announced, BODY_MAX));
        let read = match at_once(reading.as_mut()).await {
            Some(read) => Ok(read),
            None => tokio::time::timeout(deadline, reading).await,
        };
        match read {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(Unread::TooLarge(rest))) => Err(too_large(rest).await),
            Ok(Err(Unread::Broken(error))) => Err(Fault::broken(&error)),
            Ok(Err(Unread::Slow)) | Err(_) => Err(Fault::slow()),
        }
    }

    /// Does the work that a large body makes where it holds up no small one.
    pub(super) async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Fault> {
        self.room.apart(work).await.ok_or_else(Fault::failed)
    }

    fn answer(&self, webhook: Webhook, judge: Judge, body: &[u8]) -> Result<Vec<u8>, Fault> {
        let review = match review::parse(body) {
            Ok(review) => review,
            Err(error) => return self.unreadable(webhook, error),
        };
        let judged = judge(self, &review);
        Ok(judged.unwrap_or_else(|unjudgeable| self.unjudgeable(webhook, &review.uid, &unjudgeable)))
    }

    /// The answer to a body that is no review: a denial where its uid is known.
    pub(super) fn unreadable(&self, webhook: Webhook, error: ReviewError) -> Result<Vec<u8>, Fault> {
        let ReviewError { uid, message } = error;
        let Some(uid) = uid else {
            return Err(Fault { status: StatusCode::BAD_REQUEST, cause: "unreadable", message });
        };
        self.metrics.admission.fault(webhook, "unreadable");
        Ok(answer::refused(&uid, &message))
    }

    /// The answer to a review that cannot be judged: a denial.
    pub(super) fn unjudgeable(
        &self,
        webhook: Webhook,
        uid: &str,
        judge::Unjudgeable(message): &judge::Unjudgeable,
    ) -> Vec<u8> {
        self.metrics.admission.fault(webhook, "unjudgeable");
        answer::refused(uid, message)
    }

    fn mutate(&self, review: &Review<'_>) -> Result<Vec<u8>, judge::Unjudgeable> {
        let snapshot = self.state.snapshot();
        let count = |decision: &Decision<'_>| {
            self.metrics.admission.decided(Webhook::Mutate, review.operation, decision);
        };
        let patch = judge::mutate(&snapshot, review, now(), count)?;
        if !patch.is_empty() {
            self.metrics.admission.patched.inc();
        }
        Ok(answer::mutated(&review.uid, patch))
    }

    fn validate(&self, review: &Review<'_>) -> Result<Vec<u8>, judge::Unjudgeable> {
        let snapshot = self.state.snapshot();
        let mut verdict = judge::judge(&snapshot, review, now())?;
        // Dry runs are for trying things out, as often as one likes and leaving no trace.
        let pinning = self.pinning.as_ref().filter(|_| !review.dry_run);
        for (image, decision) in &mut verdict.images {
            self.metrics.admission.decided(Webhook::Validate, review.operation, decision);
            if let Some(pinning) = pinning {
                pinning.suggest(&snapshot.scope(&review.namespace), image.image, decision);
            }
        }
        Ok(answer::judged(&review.uid, &verdict))
    }
}

/// What `future` comes to if it does so within a few looks; `None` leaves it as it is, to be waited for. hyper
/// fetches a body only when it is asked for it, so the first look never finds it and the next ones mostly do; a timer
/// for every request would cost more than they.
async fn at_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    let mut looks = LOOKS;
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        looks -= 1;
        if looks == 0 {
            return Poll::Ready(None);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// Reads on for a moment: a client that is still writing when the connection is closed never gets to see the answer.
async fn too_large(mut rest: BodyDataStream) -> Fault {
    let discard = async {
        let mut discarded = 0;
        while let Some(Ok(bytes)) = rest.next().await
            && discarded < DISCARD_MAX
        {
            discarded += bytes.len();
        }
    };
    let _ = tokio::time::timeout(DISCARD_TIME, discard).await;
    Fault::too_large()
}

impl Fault {
    fn too_large() -> Self {
        let message =
            format!("the review is over {} MiB, the most that pullgate reads", BODY_MAX / 1024 / 1024);
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, cause: "too_large", message }
    }

    fn slow() -> Self {
        let message = "the review did not arrive within the request's time-out".to_owned();
        Self { status: StatusCode::REQUEST_TIMEOUT, cause: "slow", message }
    }

    /// Too many large answers are on their way.
    fn crowded() -> Self {
        let message = "there is no room for so large an answer; try again".to_owned();
        Self { status: StatusCode::SERVICE_UNAVAILABLE, cause: "crowded", message }
    }

    fn failed() -> Self {
        let message = "pullgate failed; its log says why".to_owned();
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, cause: "failed", message }
    }

    fn broken(error: &axum::Error) -> Self {
        let message = format!("the review broke off: {error}");
        Self { status: StatusCode::BAD_REQUEST, cause: "broken", message }
    }
}

impl IntoResponse for Fault {
    /// A `metav1.Status`: the API server takes everything that is not 2xx as a failed call, and shows its message.
    fn into_response(self) -> Response {
        let status = serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure",
            "code": self.status.as_u16(), "reason": "BadRequest", "message": self.message,
        });
        (self.status, axum::Json(status)).into_response()
    }
}

/// The API server's `?timeout=10s`.
pub(super) fn time_out(query: &str) -> Option<Duration> {
    query.split('&').find_map(|pair| pair.strip_prefix("timeout=")).and_then(duration)
}

/// A Go duration as the API server writes time-outs: `10s`, `1m30s`, `500ms`.
fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let amount: f64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| at + digits);
        let unit = match &rest[digits..unit_end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(amount * unit).ok()?)?;
        rest = &rest[unit_end..];
    }
    Some(total).filter(|d| !d.is_zero())
}

fn now() -> UnixSeconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixSeconds::try_from(since.as_secs()).unwrap_or(UnixSeconds::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_outs_are_read_as_the_api_server_writes_them() {
        for (text, expected) in [
            ("10s", Some(Duration::from_secs(10))),
            ("1m30s", Some(Duration::from_secs(90))),
            ("500ms", Some(Duration::from_millis(500))),
            ("1.5s", Some(Duration::from_millis(1500))),
            ("", None),
            ("s", None),
            ("10", None),
            ("99999999999999999999h", None),
            ("5124095576030430h5124095576030430h", None),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
    }
}

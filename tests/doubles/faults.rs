//! What goes wrong between a client and a server, on demand: now, for the next few calls, or for some paths.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use futures::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// How long the server waits so that what it wrote is on its way before it closes the connection.
const ON_ITS_WAY: Duration = Duration::from_millis(20);

/// One thing that goes wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The call takes so much longer, and all else is as it should be.
    Latency(Duration),
    /// This status with an empty body, and nothing is done.
    Status(u16),
    /// This status with an error of this wording, as registries word errors, and nothing is done.
    Refusal(u16, String),
    /// The page of a proxy whose upstream is down.
    BadGateway,
    /// 429 with `Retry-After` in seconds.
    TooManyFor(u64),
    /// 429 with `Retry-After` as a date so many seconds ahead (RFC 9110, 10.2.3).
    TooManyUntil(u64),
    /// Answers with this redirection and nothing else.
    Redirect(u16, String),
    /// The right head, and half of the body that it announces; then the connection is closed.
    Truncated,
    /// A list that never ends.
    Endless,
    /// The right answer, byte by byte with this pause after each.
    Drip(Duration),
    /// Half of the JSON, announced as if it were all.
    HalfJson,
    /// The right JSON with texts for numbers and numbers for texts.
    WrongTypes,
    /// 200 with an HTML page, as a login page in front of a registry answers.
    Html,
    /// Bytes that are not HTTP.
    Garbage,
    /// The connection is closed and nothing was done.
    Closed,
    /// The call is carried out, and the connection is closed before the answer.
    ClosedAfterwards,
}

/// What becomes of a call.
pub(super) enum Outcome {
    Answer(Response<Body>),
    /// These bytes instead of an answer, and then the connection is closed.
    Raw(&'static [u8]),
}

#[derive(Debug)]
struct Rule {
    method: Option<Method>,
    path: String,
    left: Option<usize>,
    fault: Fault,
}

/// The faults of one server.
#[derive(Default, Clone)]
pub struct Faults(Arc<Mutex<Vec<Rule>>>);

impl Faults {
    /// For so many calls from now on.
    pub fn next(&self, calls: usize, fault: Fault) {
        self.add(None, "", Some(calls), fault);
    }

    /// For so many calls with this method and a path that begins so.
    pub fn next_on(&self, calls: usize, method: &Method, path: &str, fault: Fault) {
        self.add(Some(method.clone()), path, Some(calls), fault);
    }

    /// For all calls whose path begins so.
    pub fn on(&self, path: &str, fault: Fault) {
        self.add(None, path, None, fault);
    }

    /// For all calls.
    pub fn always(&self, fault: Fault) {
        self.add(None, "", None, fault);
    }

    /// All is well again.
    pub fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    fn add(&self, method: Option<Method>, path: &str, left: Option<usize>, fault: Fault) {
        self.0.lock().unwrap().push(Rule { method, path: path.to_owned(), left, fault });
    }

    /// The sum of all latencies for this call, and the first other fault.
    pub(super) fn take(&self, method: &Method, path: &str) -> (Duration, Option<Fault>) {
        let (mut latency, mut found) = (Duration::ZERO, None);
        let mut rules = self.0.lock().unwrap();
        for rule in rules.iter_mut() {
            let applies = path.starts_with(&rule.path) && rule.method.as_ref().is_none_or(|m| m == method);
            let late = if let Fault::Latency(late) = rule.fault { Some(late) } else { None };
            if !applies || (late.is_none() && found.is_some()) {
                continue;
            }
            match late {
                Some(late) => latency += late,
                None => found = Some(rule.fault.clone()),
            }
            rule.left = rule.left.map(|left| left - 1);
        }
        rules.retain(|rule| rule.left != Some(0));
        (latency, found)
    }
}

impl Fault {
    /// Does to a call what is wrong with it. `answer` carries it out.
    pub(super) async fn apply(&self, answer: impl Future<Output = Response<Body>>) -> Outcome {
        Outcome::Answer(match self {
            Self::Latency(_) => answer.await,
            Self::Status(status) => plain(*status, "text/plain", String::new()),
            Self::Refusal(status, message) => {
                let body = json!({"errors": [{"code": "BAD_REQUEST", "message": message}]});
                plain(*status, "application/json", body.to_string())
            }
            Self::BadGateway => {
                let page = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
                    <center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";
                plain(502, "text/html", page.to_owned())
            }
            Self::TooManyFor(seconds) => too_many(&seconds.to_string()),
            Self::TooManyUntil(seconds) => {
                let until = Timestamp::now() + SignedDuration::from_secs((*seconds).try_into().unwrap());
                too_many(&until.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
            }
            Self::Redirect(status, to) => {
                let mut answer = plain(*status, "text/plain", String::new());
                answer.headers_mut().insert(header::LOCATION, to.parse().unwrap());
                answer
            }
            Self::Truncated => {
                let (mut head, body) = whole(answer.await).await;
                head.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
                let half = body.slice(..body.len() / 2);
                let end = stream::once(async {
                    tokio::time::sleep(ON_ITS_WAY).await;
                    Err(io::Error::other("the server is gone"))
                });
                head.map(|()| Body::from_stream(stream::iter([Ok(half)]).chain(end)))
            }
            Self::Endless => {
                let item =
                    Bytes::from(r#"{"name":"one of very many","project_id":1,"repo_count":0},"#.repeat(200));
                let items = stream::repeat_with(move || Ok::<_, io::Error>(item.clone()));
                let start = stream::iter([Ok(Bytes::from_static(b"["))]);
                let mut answer = plain(200, "application/json", String::new());
                *answer.body_mut() = Body::from_stream(start.chain(items));
                answer
            }
            Self::Drip(pause) => {
                let (mut head, body) = whole(answer.await).await;
                head.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
                let pause = *pause;
                let bytes = stream::iter(0..body.len()).then(move |at| {
                    let byte = body.slice(at..=at);
                    async move {
                        tokio::time::sleep(pause).await;
                        Ok::<_, io::Error>(byte)
                    }
                });
                head.map(|()| Body::from_stream(bytes))
            }
            Self::HalfJson => {
                let (head, body) = whole(answer.await).await;
                head.map(|()| Body::from(body.slice(..body.len() / 2)))
            }
            Self::WrongTypes => {
                let (head, body) = whole(answer.await).await;
                let body = serde_json::from_slice(&body).map_or(Value::Null, twisted);
                head.map(|()| Body::from(body.to_string()))
            }
            Self::Html => {
                plain(200, "text/html", "<!doctype html><title>Log in</title><form></form>".to_owned())
            }
            Self::Garbage => return Outcome::Raw(b"\x16\x03\x01 220 mail.example.com ESMTP\r\n\r\n\0\0\0"),
            Self::Closed => return Outcome::Raw(b""),
            Self::ClosedAfterwards => {
                answer.await;
                return Outcome::Raw(b"");
            }
        })
    }
}

fn plain(status: u16, content_type: &'static str, body: String) -> Response<Body> {
    let mut answer = Response::new(Body::from(body));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

fn too_many(retry_after: &str) -> Response<Body> {
    let body = json!({"errors": [{"code": "TOOMANYREQUESTS", "message": "too many requests"}]});
    let mut answer = plain(429, "application/json", body.to_string());
    answer.headers_mut().insert(header::RETRY_AFTER, retry_after.parse().unwrap());
    answer
}

/// An answer's head without what tells of the body's length, and its body.
async fn whole(answer: Response<Body>) -> (Response<()>, Bytes) {
    let (mut parts, body) = answer.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::TRANSFER_ENCODING);
    (Response::from_parts(parts, ()), to_bytes(body, usize::MAX).await.unwrap())
}

/// The same shape with other types.
fn twisted(value: Value) -> Value {
    match value {
        Value::Null => json!([]),
        Value::Bool(is) => json!(is.to_string()),
        Value::Number(number) => json!(number.to_string()),
        Value::String(_) => json!(42),
        Value::Array(items) => items.into_iter().map(twisted).collect(),
        Value::Object(members) => {
            Value::Object(members.into_iter().map(|(name, value)| (name, twisted(value))).collect())
        }
    }
}

//! Input made to cost much: size, depth, number, slowness. Bounded time, bounded memory, bounded answers.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode};
use futures::StreamExt;
use futures::stream;
use pullgate::admission::review::BODY_MAX;
use serde_json::{Value, json};

use crate::support::webhooks::{
    Answer, FOREIGN, MUTATE, OWN, VALIDATE, Webhooks, container, creation, creation_with_reference,
    debugging, image_volume, tenants, update,
};

/// Far more than any of these takes without optimisation on a busy machine, far less than quadratic work would.
const BOUND: Duration = Duration::from_secs(5);

fn within_bounds(what: &str, ask: impl FnOnce() -> Answer) -> Answer {
    let start = Instant::now();
    let answer = ask();
    assert!(start.elapsed() < BOUND, "{what} took {:?}", start.elapsed());
    answer
}

fn fine() -> String {
    creation_with_reference(&json!({"containers": [container("c", OWN, "Always")]})).to_string()
}

/// A review that is allowed but for `member`, a piece of JSON put among the object's members.
fn with_member(member: &str) -> String {
    let mut review: Value = serde_json::from_str(&fine()).unwrap();
    review["request"]["object"].as_object_mut().unwrap().remove("metadata");
    review.to_string().replacen(r#""object":{"#, &format!(r#""object":{{{member},"#), 1)
}

#[test]
fn the_largest_review_is_read_and_a_larger_one_is_not() {
    let webhooks = Webhooks::new(&tenants());
    let review = fine();
    let padded = |length: usize| [review.clone(), " ".repeat(length - review.len())].concat();
    for path in [MUTATE, VALIDATE] {
        assert!(webhooks.post(path, padded(BODY_MAX)).allowed());
        for length in [BODY_MAX + 1, 2 * BODY_MAX] {
            let answer = webhooks.post(path, padded(length));
            assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{length} bytes");
            assert_eq!(answer.message(), "the review is over 7 MiB, the most that pullgate reads");
        }
    }
}

#[test]
fn the_size_is_kept_however_the_body_arrives() {
    let webhooks = Webhooks::new(&tenants());
    let pieces = |sizes: &[usize]| {
        let pieces: Vec<_> = sizes.iter().map(|n| Ok::<_, Infallible>(Bytes::from(vec![b' '; *n]))).collect();
        Body::from_stream(stream::iter(pieces))
    };
    for sizes in [
        &[BODY_MAX + 1][..],
        &[BODY_MAX + 1, 1],
        &[BODY_MAX, 1],
        &[1, BODY_MAX],
        &[1, 1, BODY_MAX],
        &[4096; 1793],
    ] {
        let answer = webhooks.post(VALIDATE, pieces(sizes));
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{} pieces", sizes.len());
    }
    let piecewise = stream::iter(fine().into_bytes()).map(|b| Ok::<_, Infallible>(Bytes::from(vec![b])));
    assert!(webhooks.post(VALIDATE, Body::from_stream(piecewise)).allowed(), "byte by byte");
    let hollow = stream::iter(fine().into_bytes()).flat_map(|b| stream::iter([vec![], vec![b], vec![]]));
    let hollow = hollow.map(|piece| Ok::<_, Infallible>(Bytes::from(piece)));
    assert!(webhooks.post(VALIDATE, Body::from_stream(hollow)).allowed(), "with empty pieces between");
}

#[test]
fn an_announced_length_is_believed_only_to_refuse() {
    let webhooks = Webhooks::new(&tenants());
    let announced = |length: &str, body: Body| {
        webhooks.send(Request::post("/validate").header("content-length", length).body(body).unwrap())
    };
    let answer = announced(
        &(BODY_MAX + 1).to_string(),
        Body::from_stream(stream::pending::<Result<Bytes, Infallible>>()),
    );
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "before a byte of it is read");
    let endless =
        || Body::from_stream(stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from(vec![b' '; 65536]))));
    for length in ["5", "-1", "99999999999999999999999", "0x10"] {
        assert_eq!(announced(length, endless()).status, StatusCode::PAYLOAD_TOO_LARGE, "{length}");
    }
}

#[test]
fn a_body_that_does_not_end_is_given_up_at_the_deadline() {
    let webhooks = Webhooks::new(&tenants());
    for beginning in ["", "{", &fine()[..100]] {
        let start = Instant::now();
        let first = stream::iter([Ok::<_, Infallible>(Bytes::from(beginning.to_owned()))]);
        let body = Body::from_stream(first.chain(stream::pending()));
        let answer = webhooks.send(Request::post("/validate?timeout=300ms").body(body).unwrap());
        assert_eq!(answer.status, StatusCode::REQUEST_TIMEOUT);
        assert_eq!(answer.message(), "the review did not arrive within the request's time-out");
        assert!((300..3000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    }
}

#[test]
fn a_body_that_breaks_off_is_refused() {
    let webhooks = Webhooks::new(&tenants());
    let broken = stream::iter([Ok(Bytes::from(fine())), Err("connection reset")]);
    let answer = webhooks.post(VALIDATE, Body::from_stream(broken));
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.message().starts_with("the review broke off: "));
}

#[test]
fn seven_mebibytes_of_brackets() {
    let webhooks = Webhooks::new(&tenants());
    for piece in [
        "[",
        "{",
        r#"{"a":"#,
        r#"[{"request":"#,
        r#"{"request":"#,
        r#"{"request":{"object":"#,
        "\"",
        "\\",
        "[[],",
        "{\"\":{},",
    ] {
        let body = piece.repeat(BODY_MAX / piece.len());
        for path in [MUTATE, VALIDATE] {
            let answer = within_bounds(piece, || webhooks.post(path, body.clone()));
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{piece}");
        }
    }
}

/// What pullgate reads is shallow, and a fault where it is deep. What it does not read is skipped without recursion,
/// and refused over 1,000 levels, which no object of Kubernetes has.
#[test]
fn deep_nesting_is_refused_at_no_cost() {
    let webhooks = Webhooks::new(&tenants());
    let nested =
        |open: &str, levels: usize, close: &str| [open.repeat(levels), close.repeat(levels)].concat();
    for levels in [900, 10_000, 1_000_000] {
        for member in [
            format!(r#""status":{}"#, nested("[", levels, "]")),
            format!(r#""status":{}1{}"#, r#"{"a":"#.repeat(levels), "}".repeat(levels)),
        ] {
            let answer = within_bounds("a skipped member", || webhooks.post(VALIDATE, with_member(&member)));
            assert_eq!(answer.allowed(), levels == 900, "{levels} levels: {}", answer.body);
            let cut = with_member(&member[..member.len() - 1]);
            assert!(!webhooks.post(VALIDATE, cut).allowed(), "unbalanced at {levels} levels");
        }
        let deep =
            format!(r#""template":{}null{}"#, r#"{"spec":{"template":"#.repeat(levels), "}}".repeat(levels));
        for member in [deep, format!(r#""metadata":{}"#, nested("[", levels, "]"))] {
            let answer = within_bounds("a read member", || webhooks.post(VALIDATE, with_member(&member)));
            assert!(!answer.allowed(), "{levels} levels");
        }
    }
}

fn many(count: usize, image: &str, policy: &str) -> Value {
    let lean =
        |n| json!({"name": format!("c{n}"), "image": format!("{image}{n}"), "imagePullPolicy": policy});
    (0..count).map(lean).collect()
}

#[test]
fn ten_thousand_containers() {
    let webhooks = Webhooks::new(&tenants());
    let review = creation(&json!({"containers": many(10_000, FOREIGN, "IfNotPresent")}));
    let answer = within_bounds("denying", || webhooks.validate(&review));
    assert!(!answer.allowed());
    assert!(answer.message().ends_with("; and 9992 more images") && answer.message().len() < 2500);

    let own = creation(&json!({"containers": many(10_000, OWN, "IfNotPresent")}));
    let answer = within_bounds("patching", || webhooks.mutate(&own));
    assert_eq!(answer.patch().len(), 10_001);
}

#[test]
fn ten_thousand_containers_that_change() {
    let webhooks = Webhooks::new(&tenants());
    let reversed = |list: &Value| Value::Array(list.as_array().unwrap().iter().rev().cloned().collect());
    let lists = |list: &Value| json!({"containers": list, "ephemeralContainers": list});
    let old = many(10_000, FOREIGN, "IfNotPresent");
    for new in [reversed(&old), many(10_000, "harbor.example.com/team-b/other:", "IfNotPresent")] {
        for review in [update(&lists(&old), &lists(&new)), debugging(&lists(&old), &lists(&new))] {
            let unchanged = new == reversed(&old);
            let answer = within_bounds("judging", || webhooks.validate(&review));
            assert_eq!(answer.allowed(), unchanged);
            let answer = within_bounds("patching", || webhooks.mutate(&review));
            let patched = !unchanged && review["request"]["subResource"] == "ephemeralcontainers";
            assert_eq!(answer.patch().len(), if patched { 20_000 } else { 0 });
        }
    }
}

#[test]
fn more_entries_than_any_pod_can_have_are_refused_before_they_fill_the_memory() {
    let webhooks = Webhooks::new(&tenants());
    for (field, entry) in [
        ("initContainers", "{}"),
        ("containers", "{}"),
        ("ephemeralContainers", "{}"),
        ("volumes", "{}"),
        ("volumes", r#"{"image":{}}"#),
        ("imagePullSecrets", "{}"),
    ] {
        let count = 6 * 1024 * 1024 / (entry.len() + 1);
        let member = format!(r#""{field}":[{}]"#, vec![entry; count].join(","));
        let spec = if field == "containers" {
            format!(r#""spec":{{{member},"old":"#)
        } else {
            format!(r#""spec":{{{member},"containers":"#)
        };
        let body = fine().replacen(r#""spec":{"containers":"#, &spec, 1);
        assert!(body.len() > 6 * 1024 * 1024 && body.len() <= BODY_MAX, "{field}");
        let answer = within_bounds(field, || webhooks.post(VALIDATE, body));
        assert!(!answer.allowed(), "{field}");
        assert!(answer.message().contains("more than"), "{field}: {}", answer.message());
    }
}

#[test]
fn long_and_unprintable_texts_stay_out_of_messages() {
    let webhooks = Webhooks::new(&tenants());
    let mebibyte = "\u{0}\n\r\u{1b}[31m\u{7f}\u{9b}x".repeat(100_000);
    let said = |what: &str, review: &Value| {
        for path in [MUTATE, VALIDATE] {
            // That no message is long or has control characters holds of every answer.
            within_bounds(what, || webhooks.post(path, review.to_string()));
        }
    };
    let denied = || {
        let mut review = creation(&json!({"containers": [container("c", FOREIGN, "Always")]}));
        review["request"]["subResource"] = json!("");
        review
    };
    for pointer in [
        "/kind",
        "/apiVersion",
        "/request/operation",
        "/request/kind",
        "/request/kind/kind",
        "/request/kind/group",
        "/request/namespace",
        "/request/subResource",
        "/request/object",
        "/request/object/spec",
        "/request/object/metadata",
        "/request/object/spec/containers",
        "/request/object/spec/containers/0",
        "/request/object/spec/containers/0/image",
        "/request/object/spec/containers/0/name",
        "/request/object/spec/containers/0/imagePullPolicy",
        "/request/userInfo",
        "/request/userInfo/groups",
    ] {
        for text in
            [mebibyte.clone(), format!("harbor.example.com/team-b/{mebibyte}"), "a".repeat(1024 * 1024)]
        {
            let mut review = denied();
            *review.pointer_mut(pointer).unwrap() = json!(text);
            said(pointer, &review);
        }
    }
    let volume = image_volume(&mebibyte, &mebibyte, &mebibyte);
    said("a volume", &creation(&json!({"volumes": [volume], "imagePullSecrets": [{"name": mebibyte}]})));
    let mut named = denied().to_string();
    named = named.replacen(r#""image":"#, &format!("{}:", json!(mebibyte)), 1);
    within_bounds("a key", || webhooks.post(VALIDATE, named));
}

#[test]
fn a_uid_is_echoed_only_if_it_can_be_one() {
    let webhooks = Webhooks::new(&tenants());
    let mut review = creation_with_reference(&json!({"containers": [container("c", OWN, "Always")]}));
    review["request"]["uid"] = json!("\u{0}\"\\/é\u{1f680}");
    assert!(webhooks.validate(&review).allowed());
    review["request"]["uid"] = json!("u".repeat(1024 * 1024));
    review["kind"] = json!("Pod");
    assert_eq!(webhooks.post(VALIDATE, review.to_string()).status, StatusCode::BAD_REQUEST);
}

#[test]
fn numbers_of_any_size_are_skipped() {
    let webhooks = Webhooks::new(&tenants());
    for number in ["1e999999999999", "-0", "0.1e-400", "99999999999999999999999999999999", "1E+2"] {
        assert!(webhooks.post(VALIDATE, with_member(&format!(r#""status":{number}"#))).allowed(), "{number}");
    }
    let digits = "9".repeat(1024 * 1024);
    within_bounds("digits", || webhooks.post(VALIDATE, with_member(&format!(r#""status":{digits}"#))));
    for none in ["01", "1.", ".5", "+1", "0x1", "1e", "--1", "Infinity"] {
        assert!(!webhooks.post(VALIDATE, with_member(&format!(r#""status":{none}"#))).allowed(), "{none}");
    }
}

//! Bodies that are no review: an answer that the API server takes as "not allowed", with a sentence for its log.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use pullgate::admission::review::BODY_MAX;
use serde_json::{Value, json};

use crate::support::webhooks::{
    Answer, FOREIGN, MUTATE, OWN, UNMANAGED, VALIDATE, Webhooks, container, creation,
    creation_with_reference, recording, tenants,
};

/// What both webhooks say to a body; neither may allow it.
fn refusals(webhooks: &Webhooks, what: &str, body: &[u8]) -> [Answer; 2] {
    [MUTATE, VALIDATE].map(|path| {
        let answer = webhooks.post(path, body.to_vec());
        assert!(!answer.allowed(), "{what} was allowed at {path}");
        answer
    })
}

/// A review that both webhooks allow, as text.
fn fine() -> String {
    creation_with_reference(&json!({"containers": [container("c", OWN, "Always")]})).to_string()
}

#[test]
fn what_is_no_review_and_has_no_uid_is_a_failed_call() {
    let webhooks = Webhooks::new(&tenants());
    let gzip = [0x1f_u8, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xab, 0xae, 5, 0, 0x43, 0xbf, 0xa6, 0xa3, 2, 0, 0, 0];
    let utf16: Vec<u8> = fine().encode_utf16().flat_map(u16::to_le_bytes).collect();
    let bom = ["\u{feff}", &fine()].concat();
    for (what, body) in [
        ("nothing", &b""[..]),
        ("white space", b" \n\t "),
        ("a NUL", b"\0"),
        ("text", b"hello"),
        ("YAML", b"kind: AdmissionReview\napiVersion: admission.k8s.io/v1\n"),
        ("a form", b"kind=AdmissionReview&request=1"),
        ("null", b"null"),
        ("a number", b"7"),
        ("a string", b"\"AdmissionReview\""),
        ("an array", b"[]"),
        ("an array in the order of the fields", br#"["AdmissionReview","admission.k8s.io/v1",{"uid":"u"}]"#),
        ("an empty object", b"{}"),
        ("no request", br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}"#),
        ("request null", br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":null}"#),
        ("request a list", br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":["u","CREATE"]}"#),
        ("only an answer", br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":"u","allowed":true}}"#),
        ("gzip", &gzip),
        ("UTF-16", &utf16),
        ("a byte order mark", bom.as_bytes()),
        ("Latin-1", b"{\"kind\":\"AdmissionR\xe9view\"}"),
    ] {
        for answer in refusals(&webhooks, what, body) {
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{what}");
            assert!(answer.message().starts_with("the ") || answer.message().starts_with("expected "), "{what}: {}", answer.message());
        }
    }
}

#[test]
fn a_review_without_its_essentials_is_refused_with_its_uid() {
    let webhooks = Webhooks::new(&tenants());
    let refused = |what: &str, sentence: &str, edit: &dyn Fn(&mut Value)| {
        let mut review: Value = serde_json::from_str(&fine()).unwrap();
        edit(&mut review);
        for path in [MUTATE, VALIDATE] {
            let answer = webhooks.post(path, review.to_string());
            assert!(!answer.allowed(), "{what}");
            assert!(answer.message().contains(sentence), "{what}: {}", answer.message());
            assert_eq!(answer.status, 200, "{what}: the uid can be echoed");
            assert_eq!(answer.response()["uid"], review["request"]["uid"]);
            assert_eq!(answer.response()["status"]["code"], 400);
        }
    };
    let remove = |pointer: &'static str, field: &'static str| {
        move |r: &mut Value| drop(r.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(field))
    };
    refused("no kind", "found admission.k8s.io/v1 ", &remove("", "kind"));
    refused("no version", "expected admission.k8s.io/v1 AdmissionReview", &remove("", "apiVersion"));
    refused("another kind", "found admission.k8s.io/v1 Pod", &|r| r["kind"] = json!("Pod"));
    refused("another version", "found admission.k8s.io/v1beta1 AdmissionReview", &|r| {
        r["apiVersion"] = json!("admission.k8s.io/v1beta1");
    });
    refused("letter case", "found", &|r| r["kind"] = json!("admissionreview"));
    refused("no operation", "the request has no operation", &remove("/request", "operation"));
    refused("operation null", "the request has no operation", &|r| r["request"]["operation"] = json!(null));
    refused("another operation", "the body is not an AdmissionReview", &|r| {
        r["request"]["operation"] = json!("create");
    });
    refused("no namespace", "the request names no namespace", &remove("/request", "namespace"));
    refused("an empty namespace", "the request names no namespace", &|r| {
        r["request"]["namespace"] = json!("");
    });
    refused("no object", "the request has no object", &remove("/request", "object"));
    refused("object null", "the request has no object", &|r| r["request"]["object"] = json!(null));
    refused("no spec", "the request has no object.spec", &remove("/request/object", "spec"));
    refused("spec null", "the request has no object.spec", &|r| r["request"]["object"]["spec"] = json!(null));
    refused("no object kind", "pullgate judges Pods", &remove("/request", "kind"));
}

#[test]
fn a_review_without_a_uid_is_a_failed_call() {
    let webhooks = Webhooks::new(&tenants());
    for uid in [json!(null), json!(""), json!(7), json!(["u"]), json!({"uid": "u"})] {
        let mut review: Value = serde_json::from_str(&fine()).unwrap();
        review["request"]["uid"] = uid;
        for answer in refusals(&webhooks, "without a uid", review.to_string().as_bytes()) {
            assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        }
        review["request"].as_object_mut().unwrap().remove("uid");
        for answer in refusals(&webhooks, "without a uid", review.to_string().as_bytes()) {
            assert_eq!(answer.message(), "the request has no uid");
        }
    }
}

#[test]
fn no_truncated_review_is_allowed() {
    let webhooks = Webhooks::new(&tenants());
    let whole = fine();
    assert!(
        webhooks.post(VALIDATE, whole.clone()).allowed() && webhooks.post(MUTATE, whole.clone()).allowed()
    );
    for length in 0..whole.len() {
        refusals(&webhooks, &format!("the first {length} bytes"), &whole.as_bytes()[..length]);
    }
}

#[test]
fn what_follows_a_review_makes_it_none() {
    let webhooks = Webhooks::new(&tenants());
    for tail in ["{}", "x", "]", "}", "\0", ",", "null", "\u{feff}"] {
        refusals(&webhooks, tail, [fine(), tail.to_owned()].concat().as_bytes());
    }
    assert!(webhooks.post(VALIDATE, [fine(), " \n\r\t".to_owned()].concat()).allowed());
}

#[test]
fn no_broken_byte_is_taken_as_text() {
    let webhooks = Webhooks::new(&tenants());
    let whole = fine();
    for at in (0..whole.len()).step_by(7) {
        for byte in [0xff, 0xc0, 0x80, 0xed] {
            let mut body = whole.clone().into_bytes();
            body[at] = byte;
            refusals(&webhooks, &format!("{byte:#x} at {at}"), &body);
        }
    }
}

#[test]
fn a_key_that_counts_counts_once() {
    let webhooks = Webhooks::new(&tenants());
    let denied = creation(&json!({"containers": [container("c", FOREIGN, "Always")]})).to_string();
    let uid = format!(r#""uid":{}"#, recording("validate-create-pods-3")["request"]["uid"]);
    for (once, twice) in [
        (format!(r#""image":"{FOREIGN}""#), format!(r#""image":"{FOREIGN}","image":"{UNMANAGED}""#)),
        (format!(r#""image":"{FOREIGN}""#), format!(r#""image":"{UNMANAGED}","image":"{FOREIGN}""#)),
        (format!(r#""image":"{FOREIGN}""#), format!(r#""image":"{UNMANAGED}","im\u0061ge":"{FOREIGN}""#)),
        (r#""containers":["#.into(), r#""containers":[],"containers":["#.into()),
        (r#""spec":{"#.into(), r#""spec":{"containers":[]},"spec":{"#.into()),
        (r#""object":{"#.into(), r#""object":{"spec":{}},"object":{"#.into()),
        (r#""request":{"#.into(), r#""request":{},"request":{"#.into()),
        (
            r#""namespace":"team-a-prod","object""#.into(),
            r#""namespace":"x","namespace":"team-a-prod","object""#.into(),
        ),
        (r#""operation":"CREATE""#.into(), r#""operation":"CREATE","operation":"DELETE""#.into()),
        (uid.clone(), format!(r#""uid":"another",{uid}"#)),
    ] {
        let body = denied.replacen(&once, &twice, 1);
        assert_ne!(body, denied, "{once} is not in the review");
        refusals(&webhooks, &twice, body.as_bytes());
    }
}

#[test]
fn lone_surrogates_are_no_text() {
    let webhooks = Webhooks::new(&tenants());
    for surrogate in [
        r"\ud800",
        r"\udfff",
        r"\ud800x",
        r"\ud800\ud800",
        r"\ud83d\u0041",
        r"\u",
        r"\u12",
        r"\x",
        r"\ud83d\ude0",
    ] {
        for (field, text) in [("image", format!("{OWN}{surrogate}")), ("name", surrogate.to_owned())] {
            let at = format!(r#""{field}":"{}""#, if field == "image" { OWN } else { "c" });
            let body = fine().replacen(&at, &format!(r#""{field}":"{text}""#), 1);
            assert_ne!(body, fine());
            refusals(&webhooks, surrogate, body.as_bytes());
        }
    }
}

/// Every node of the tree under `value`, as JSON pointers.
fn nodes(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(members) => members.iter().for_each(|(name, inner)| {
            nodes(inner, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), found);
        }),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(n, inner)| nodes(inner, &format!("{at}/{n}"), found));
        }
        _ => {}
    }
}

/// Whether a value of another type at this place may let a forbidden image pass: only where the API server's own
/// types would read it as "there is none".
fn may_be_absent(pointer: &str, replacement: &Value) -> bool {
    let empty_list = replacement.is_null() || *replacement == json!([]);
    match pointer {
        "/request/object/spec/containers" => empty_list,
        "/request/object/spec" => replacement.is_object(),
        "/request/object/spec/containers/0/image" => *replacement == json!("x"),
        _ => false,
    }
}

#[test]
fn values_of_another_type_never_let_a_forbidden_image_pass() {
    let webhooks = Webhooks::new(&tenants());
    let denied = creation(&json!({"containers": [container("c", FOREIGN, "Always")]}));
    assert!(!webhooks.validate(&denied).allowed());
    let mut pointers = Vec::new();
    nodes(&denied, "", &mut pointers);
    assert!(pointers.len() > 100, "a recording has more in it than {} values", pointers.len());
    let mut replacements =
        vec![json!(null), json!(true), json!(1), json!(-1.5e300), json!("x"), json!([]), json!({})];
    replacements.extend([json!([[]]), json!([{}]), json!([null]), json!(["x", "y", "z"]), json!({"x": 1})]);
    for pointer in &pointers {
        for replacement in &replacements {
            let mut review = denied.clone();
            *review.pointer_mut(pointer).unwrap() = replacement.clone();
            let answer = webhooks.post(VALIDATE, review.to_string());
            let may = may_be_absent(pointer, replacement);
            assert_eq!(answer.allowed(), may, "{pointer} = {replacement}: {}", answer.body);
            webhooks.post(MUTATE, review.to_string());
        }
    }
}

#[test]
fn images_are_strings() {
    let webhooks = Webhooks::new(&tenants());
    for image in
        ["7", "1e400", "true", "[]", "{}", r#"["harbor.example.com/library/x"]"#, "'x'", "NaN", "undefined"]
    {
        let body = fine().replacen(&format!(r#""image":"{OWN}""#), &format!(r#""image":{image}"#), 1);
        assert_ne!(body, fine());
        refusals(&webhooks, image, body.as_bytes());
    }
    let mut review: Value = serde_json::from_str(&fine()).unwrap();
    review["request"]["object"]["spec"]["containers"][0].as_object_mut().unwrap().remove("image");
    let answer = webhooks.validate(&review);
    assert_eq!(
        answer.message(),
        "image  (container c): not an image reference that can be admitted: it is empty"
    );
}

#[test]
fn what_is_wrong_with_an_image_is_seen_and_named() {
    let webhooks = Webhooks::new(&tenants());
    let mut review: Value = serde_json::from_str(&fine()).unwrap();
    for (image, message) in [
        (
            "nginx ",
            r#"image "nginx " (container c): not an image reference that can be admitted: it must not have leading"#,
        ),
        (
            "nginx\u{200b}",
            r#"image "nginx\u{200b}" (container c): not an image reference that can be admitted: it holds a character that is not seen, U+200B"#,
        ),
        (
            "nginx\u{9b}2J",
            r#"image "nginx\u{9b}2J" (container c): not an image reference that can be admitted: it holds a control character, U+009B"#,
        ),
        (
            "docker://nginx",
            r#"image "docker://nginx" (container c): not an image reference that can be admitted: it begins with a scheme"#,
        ),
        (
            "{{ .Values.image }}",
            r#"image "{{ .Values.image }}" (container c): not an image reference that can be admitted: it holds a placeholder"#,
        ),
    ] {
        review["request"]["object"]["spec"]["containers"][0]["image"] = json!(image);
        let answer = webhooks.validate(&review);
        assert!(answer.message().starts_with(message), "{}", answer.message());
    }
}

#[test]
fn other_methods_and_paths_find_nothing() {
    let webhooks = Webhooks::new(&tenants());
    for (method, path, status) in [
        (Method::GET, "/validate", StatusCode::METHOD_NOT_ALLOWED),
        (Method::PUT, "/mutate", StatusCode::METHOD_NOT_ALLOWED),
        (Method::OPTIONS, "/mutate", StatusCode::METHOD_NOT_ALLOWED),
        (Method::POST, "/", StatusCode::NOT_FOUND),
        (Method::POST, "/validate/", StatusCode::NOT_FOUND),
        (Method::POST, "//validate", StatusCode::NOT_FOUND),
        (Method::POST, "/Validate", StatusCode::NOT_FOUND),
        (Method::POST, "/validate/x", StatusCode::NOT_FOUND),
    ] {
        let request = Request::builder().method(method.clone()).uri(path).body(Body::from(fine())).unwrap();
        assert_eq!(webhooks.send(request).status, status, "{method} {path}");
    }
}

#[test]
fn no_query_stops_a_review() {
    let webhooks = Webhooks::new(&tenants());
    let max = u64::MAX;
    for query in [
        "",
        "?",
        "?timeout",
        "?timeout=",
        "?timeout=0s",
        "?timeout=-1s",
        "?timeout=ten",
        "?timeout=.s",
        "?timeout=1.2.3s",
        "?timeout=1e9h",
        "?timeout=%00",
        "?timeout=%ff%fe",
        "?timeout=1s&timeout=2s",
        "?x=%",
        "?timeout=10s&x",
        "?&&&==",
        "?timeout=%C2%B5s",
        "?timeout=1\u{b5}s",
        "?timeout=100%25",
        "?timeout=5124095576030431h",
        &format!("?timeout={max}s"),
        &format!("?timeout={max}s{max}s"),
        "?timeout=5124095576030430h5124095576030430h",
    ] {
        let uri = format!("/validate{}", query.replace('\u{b5}', "%C2%B5"));
        let answer = webhooks.send(Request::post(uri).body(Body::from(fine())).unwrap());
        assert!(answer.allowed(), "{query}: {}", answer.body);
    }
}

#[test]
fn headers_do_not_matter() {
    let webhooks = Webhooks::new(&tenants());
    for (name, value) in [
        ("content-type", "text/plain"),
        ("content-type", "application/json; charset=utf-16"),
        ("content-encoding", "gzip"),
        ("accept", "text/html"),
        ("transfer-encoding", "chunked"),
        ("x-forwarded-for", "127.0.0.1"),
        ("content-length", "not a number"),
    ] {
        let request = Request::post("/validate").header(name, value).body(Body::from(fine())).unwrap();
        assert!(webhooks.send(request).allowed(), "{name}: {value}");
    }
}

#[test]
fn the_process_counts_what_it_could_not_judge() {
    let webhooks = Webhooks::new(&tenants());
    webhooks.post(VALIDATE, "x");
    webhooks.post(MUTATE, vec![b' '; BODY_MAX + 1]);
    webhooks.validate(&{
        let mut review = recording("validate-create-pods");
        review["request"]["kind"]["kind"] = json!("Node");
        review
    });
    let metrics = webhooks.metrics.render().unwrap();
    for line in [
        r#"pullgate_admission_faults_total{cause="unreadable",webhook="validate"} 1"#,
        r#"pullgate_admission_faults_total{cause="too_large",webhook="mutate"} 1"#,
        r#"pullgate_admission_faults_total{cause="unjudgeable",webhook="validate"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

//! What `pullgate registry` makes of servers that are no management API.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;

use crate::doubles::serving::Served;
use crate::support::cli::run;

#[test]
fn an_answer_that_is_none_is_an_error_also_where_it_is_a_200() {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "t").unwrap();
    for (kind, body, says) in [
        ("text/html", "<html>Welcome</html>", "no JSON"),
        ("application/json", "", "no JSON"),
        ("application/json", "{\"name\": ", "no JSON"),
        ("application/json", "null", "something else"),
        ("application/json", "[]", "something else"),
        ("application/json", r#"{"status": "ok"}"#, "something else"),
        ("application/json", r#"{"name": "corp", "health": "fine"}"#, "something else"),
    ] {
        let answer =
            move || async move { (StatusCode::OK, [(header::CONTENT_TYPE, kind)], body).into_response() };
        let server = Served::start(None, move |_| Router::new().fallback(answer));
        let url = server.url();
        let to = ["--server", &url, "--token-file", token.to_str().unwrap()];
        for format in ["text", "json"] {
            let answer = run(&[&["registry", "overview", "corp", "--output", format], &to[..]].concat());
            assert_eq!((answer.code, answer.stdout.as_str()), (2, ""), "{body}: {}", answer.stderr);
            assert!(
                answer.stderr.contains(says) && answer.stderr.contains(&url),
                "{body}: {}",
                answer.stderr
            );
        }
        let answer = run(&[&["registry", "sync", "corp"], &to[..]].concat());
        assert_eq!((answer.code, answer.stdout.as_str()), (2, ""), "{body}: {}", answer.stderr);
    }
}

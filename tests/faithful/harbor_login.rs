//! Who calls a Harbor: wrong passwords, the lock after them, cookies, and what is told to whom.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use super::asking::{ADMIN, NOBODY, delete, get, request, send, told};
use super::harbor_robots::pull;
use crate::doubles::harbor::{Harbor, Options};

const ME: &str = "/api/v2.0/users/current";
const PROJECTS: &str = "/api/v2.0/projects";

/// A Harbor with the projects `open` (public) and `closed`, whose administrator is `pat:Pa55word`.
fn harbor() -> Harbor {
    let harbor = Harbor::start(Options { frozen: Duration::from_millis(50), ..Options::default() });
    harbor.add_project("open", true);
    harbor.add_project("closed", false);
    harbor.add_user("pat", "Pa55word");
    harbor.make_project_admin("pat", "closed");
    harbor
}

#[tokio::test]
async fn a_wrong_password_is_an_anonymous_success() {
    let harbor = harbor();
    let listed = get(&harbor, ADMIN, PROJECTS).await.is(200);
    assert_eq!((listed.names(), listed.header("x-total-count")), (vec!["closed".into(), "open".into()], "2"));
    for wrong in ["admin:guess", "nobody-here:guess", NOBODY] {
        let listed = get(&harbor, wrong, PROJECTS).await.is(200);
        assert_eq!((listed.names(), listed.header("x-total-count")), (vec!["open".into()], "1"), "{wrong}");
        get(&harbor, wrong, ME).await.refuses(401, "UNAUTHORIZED");
    }
    harbor.set_admin_password("Changed1");
    assert_eq!(get(&harbor, ADMIN, PROJECTS).await.names(), ["open"]);
}

#[tokio::test]
async fn a_failed_login_takes_a_second_and_a_half_and_locks_out_the_right_password() {
    let harbor = Harbor::start(Options::default());
    harbor.add_project("open", true);
    let robot =
        send(&harbor, ADMIN, Method::POST, "/api/v2.0/robots", &pull("reader", &["open"])).await.json();
    let start = Instant::now();
    let wrong = tokio::spawn(told(request(&harbor, "admin:guess", Method::GET, ME)));
    while !harbor.is_locked("admin") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // At once, and not after a sleep of its own.
    get(&harbor, ADMIN, ME).await.refuses(401, "UNAUTHORIZED");
    // A robot's secret is looked up before anybody's lock.
    let wrong_robot = tokio::spawn(told(request(&harbor, "robot$reader:guess", Method::GET, ME)));
    while !harbor.is_locked("robot$reader") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    get(&harbor, &format!("robot$reader:{}", robot["secret"].as_str().unwrap()), ME).await.is(412);
    assert!(!wrong.is_finished());
    wrong.await.unwrap().unwrap().is(401);
    wrong_robot.await.unwrap().unwrap().is(401);
    assert!(start.elapsed() >= Duration::from_millis(1500));
    while harbor.is_locked("admin") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    get(&harbor, ADMIN, ME).await.is(200);
}

#[tokio::test]
async fn it_tells_who_is_logged_in_but_not_which_robot() {
    let harbor = harbor();
    let me = get(&harbor, ADMIN, ME).await.is(200).json();
    assert_eq!((&me["username"], &me["sysadmin_flag"]), (&json!("admin"), &json!(true)));
    let me = get(&harbor, "pat:Pa55word", ME).await.is(200).json();
    assert_eq!((&me["sysadmin_flag"], &me["admin_role_in_auth"]), (&json!(false), &json!(false)));
    harbor.make_sysadmin_by_group("pat");
    let me = get(&harbor, "pat:Pa55word", ME).await.is(200).json();
    assert_eq!((&me["sysadmin_flag"], &me["admin_role_in_auth"]), (&json!(false), &json!(true)));
    get(&harbor, "pat:Pa55word", "/api/v2.0/systeminfo/volumes").await.is(200);

    let robot =
        send(&harbor, ADMIN, Method::POST, "/api/v2.0/robots", &pull("reader", &["closed"])).await.json();
    let credential = |secret: &str| format!("robot$reader:{secret}");
    let secret = credential(robot["secret"].as_str().unwrap());
    get(&harbor, &secret, ME).await.refuses(412, "PRECONDITION");
    // It sees what it has permissions for, and what is public.
    assert_eq!(get(&harbor, &secret, PROJECTS).await.names(), ["closed", "open"]);
    assert_eq!(get(&harbor, &credential("Wr0ngwrong"), PROJECTS).await.names(), ["open"]);
    // Disabled, expired and wrong look the same.
    harbor.disable_robot(robot["id"].as_i64().unwrap());
    get(&harbor, &secret, ME).await.refuses(401, "UNAUTHORIZED");
    let robot =
        send(&harbor, ADMIN, Method::POST, "/api/v2.0/robots", &pull("brief", &["closed"])).await.json();
    let secret = format!("robot$brief:{}", robot["secret"].as_str().unwrap());
    get(&harbor, &secret, ME).await.is(412);
    harbor.age_robots(90);
    get(&harbor, &secret, ME).await.refuses(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn a_session_cookie_that_comes_back_turns_writes_away() {
    let harbor = harbor();
    for (who, path) in [(ADMIN, PROJECTS), (NOBODY, "/api/v2.0/health"), (ADMIN, "/api/v2.0/nothing")] {
        let cookies: Vec<_> =
            get(&harbor, who, path).await.headers.get_all("set-cookie").iter().cloned().collect();
        assert!(cookies.iter().any(|cookie| cookie.to_str().unwrap().starts_with("sid=")), "{cookies:?}");
    }
    for cookie in ["sid=5f2c1d", "lang=en; sid=5f2c1d", "_gorilla_csrf=MTYx"] {
        let write = request(&harbor, ADMIN, Method::POST, PROJECTS).header("cookie", cookie);
        let refused = told(write.json(&json!({"project_name": "new"}))).await.unwrap();
        assert!(refused.refuses(403, "FORBIDDEN").text.contains("CSRF"));
        told(request(&harbor, ADMIN, Method::GET, PROJECTS).header("cookie", cookie)).await.unwrap().is(200);
    }
    assert!(harbor.project("new").is_none());
    let seen = harbor.journal.requests();
    assert_eq!(seen.iter().filter(|seen| seen.has_cookie()).count(), 6);
    assert!(seen.iter().all(|seen| (seen.path == "/api/v2.0/health") == seen.authorization().is_none()));
}

#[tokio::test]
async fn each_tier_is_told_of_a_missing_and_of_a_foreign_project_in_its_own_way() {
    let harbor = harbor();
    harbor.add_project("foreign", false);
    for (who, own, foreign, missing) in
        [(ADMIN, 200, 200, 404), ("pat:Pa55word", 200, 403, 403), (NOBODY, 401, 401, 401)]
    {
        for (project, status) in
            [("closed", own), ("foreign", foreign), ("missing", missing), ("4711", missing)]
        {
            for path in [format!("{PROJECTS}/{project}"), format!("{PROJECTS}/{project}/summary")] {
                assert_eq!(get(&harbor, who, &path).await.status, status, "{who} {path}");
            }
        }
        // Whether there is one is told to whoever is logged in.
        for project in ["closed", "foreign", "missing"] {
            let status = match (who, project) {
                (NOBODY, _) => 401,
                (_, "missing") => 404,
                _ => 200,
            };
            let head = request(&harbor, who, Method::HEAD, &format!("{PROJECTS}?project_name={project}"));
            assert_eq!(told(head).await.unwrap().status, status, "{who} HEAD {project}");
        }
        get(&harbor, who, &format!("{PROJECTS}/open")).await.is(200);
    }
    let flag = json!({"metadata": {"public": "true"}});
    send(&harbor, "pat:Pa55word", Method::PUT, &format!("{PROJECTS}/closed"), &flag).await.is(200);
    send(&harbor, "pat:Pa55word", Method::PUT, &format!("{PROJECTS}/foreign"), &flag)
        .await
        .refuses(403, "FORBIDDEN");
    send(&harbor, NOBODY, Method::PUT, &format!("{PROJECTS}/open"), &flag).await.refuses(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn a_right_password_is_refused_while_the_database_is_away() {
    let harbor = harbor();
    let (token, noticed_after) = ("/service/token?service=harbor-registry", Duration::from_secs(1));
    harbor.set_database_away(Some(noticed_after));
    let health = get(&harbor, NOBODY, "/api/v2.0/health").await.is(200).json();
    assert_eq!(health["status"], "healthy", "as it was found some seconds ago");
    get(&harbor, ADMIN, ME).await.refuses(401, "UNAUTHORIZED");
    get(&harbor, ADMIN, "/api/v2.0/robots").await.refuses(401, "UNAUTHORIZED");
    for project in ["open", "closed", "missing"] {
        let head = request(&harbor, ADMIN, Method::HEAD, &format!("{PROJECTS}?project_name={project}"));
        told(head).await.unwrap().is(401);
    }
    for who in [ADMIN, NOBODY] {
        get(&harbor, who, PROJECTS).await.is(500);
    }
    send(&harbor, ADMIN, Method::POST, "/api/v2.0/robots", &pull("new", &["closed"])).await.is(500);
    delete(&harbor, ADMIN, "/api/v2.0/robots/1").await.is(500);
    for path in [token, "/v2/", "/v2/open/app/manifests/1"] {
        get(&harbor, ADMIN, path).await.is(401);
    }
    let given = get(&harbor, ADMIN, &format!("{token}&scope=repository:open/app:pull")).await.is(200).json();
    assert_eq!(get(&harbor, ADMIN, "/api/v2.0/systeminfo").await.is(200).json()["auth_mode"], "db_auth");
    tokio::time::sleep(noticed_after).await;
    let health = get(&harbor, NOBODY, "/api/v2.0/health").await.is(200).json();
    assert_eq!(health["status"], "unhealthy");
    let database = health["components"].as_array().unwrap().iter().find(|c| c["name"] == "database").unwrap();
    assert_eq!((&database["status"], &database["error"]), (&json!("unhealthy"), &json!("dial error")));
    assert!(!harbor.is_locked("admin"), "nothing was looked at");
    harbor.set_database_away(None);
    get(&harbor, ADMIN, ME).await.is(200);
    let image = request(&harbor, NOBODY, Method::GET, "/v2/open/app/manifests/1");
    told(image.bearer_auth(given["token"].as_str().unwrap())).await.unwrap().is(401);
}

//! A Harbor's robots: names, levels, secrets, expiry, and who may have them.

use reqwest::Method;
use serde_json::{Value, json};

use super::asking::{ADMIN, NOBODY, Told, delete, get, request, send, told};
use crate::doubles::harbor::{Harbor, Options, can_pull};

const ROBOTS: &str = "/api/v2.0/robots";
const PAT: &str = "pat:Pa55word";

fn harbor() -> Harbor {
    let harbor = Harbor::start(Options::default());
    harbor.add_project("team-a", false);
    harbor.add_project("team-b", false);
    harbor.add_user("pat", "Pa55word");
    harbor.make_project_admin("pat", "team-a");
    harbor
}

/// A robot of the system that pulls from these projects.
pub fn pull(name: &str, projects: &[&str]) -> Value {
    let permissions: Vec<_> = projects
        .iter()
        .map(|project| {
            let access = json!([{"resource": "repository", "action": "pull"}]);
            json!({"kind": "project", "namespace": project, "access": access})
        })
        .collect();
    json!({"name": name, "level": "system", "duration": 90, "description": "pullgate", "permissions": permissions})
}

/// The same on project level.
fn pull_one(name: &str, project: &str) -> Value {
    let mut wanted = pull(name, &[project]);
    wanted["level"] = json!("project");
    wanted
}

fn with(mut wanted: Value, member: &str, value: Value) -> Value {
    wanted[member] = value;
    wanted
}

async fn post(harbor: &Harbor, who: &str, wanted: &Value) -> Told {
    send(harbor, who, Method::POST, ROBOTS, wanted).await
}

async fn listed(harbor: &Harbor, query: &str) -> Vec<String> {
    get(harbor, ADMIN, &format!("{ROBOTS}?{query}")).await.is(200).names()
}

fn path(robot: &Value) -> String {
    format!("{ROBOTS}/{}", robot["id"])
}

#[tokio::test]
async fn the_secret_is_told_once_and_the_name_gets_a_prefix() {
    let harbor = harbor();
    let asked = with(
        with(pull("reader", &["team-a", "team-b"]), "secret", json!("Mine12345")),
        "disable",
        json!(true),
    );
    let made = post(&harbor, ADMIN, &asked).await.is(201);
    let robot = made.json();
    assert_eq!(made.header("location"), path(&robot));
    assert_eq!(robot["name"], "robot$reader");
    assert_ne!(robot["secret"], "Mine12345");
    let shown = get(&harbor, ADMIN, &path(&robot)).await.is(200).json();
    assert_eq!((&shown["disable"], &shown["description"]), (&json!(false), &json!("pullgate")));
    assert_eq!(shown["permissions"], pull("", &["team-a", "team-b"])["permissions"]);
    assert_eq!((shown.get("secret"), &shown["level"]), (None, &json!("system")));
    let days = shown["expires_at"].as_i64().unwrap() - harbor.robots()[0].created.as_second();
    assert_eq!(days, 90 * 24 * 3600);
    assert_eq!(harbor.robot(robot["id"].as_i64().unwrap()), Some(shown));

    post(&harbor, ADMIN, &pull("reader", &["team-a"])).await.refuses(409, "CONFLICT");
    let project_level = post(&harbor, ADMIN, &pull_one("reader", "team-a")).await.is(201).json();
    assert_eq!(project_level["name"], "robot$team-a+reader");
    post(&harbor, ADMIN, &pull_one("reader", "team-a")).await.refuses(409, "CONFLICT");
    let for_ever = post(&harbor, ADMIN, &with(pull("old", &["*"]), "duration", json!(-1))).await.json();
    assert_eq!(for_ever["expires_at"], -1);

    // It is put there whenever somebody reads.
    harbor.set_robot_prefix("bot+");
    assert_eq!(get(&harbor, ADMIN, &path(&robot)).await.json()["name"], "bot+reader");
    let secret = robot["secret"].as_str().unwrap();
    get(&harbor, &format!("bot+reader:{secret}"), "/api/v2.0/users/current").await.is(412);
}

#[tokio::test]
async fn what_a_robot_cannot_be() {
    let harbor = harbor();
    let good = pull("reader", &["team-a"]);
    for wrong in [
        with(good.clone(), "name", json!("Reader")),
        with(good.clone(), "name", json!("team-a+reader")),
        with(good.clone(), "duration", json!(0)),
        with(good.clone(), "duration", json!(-2)),
        with(good.clone(), "duration", json!("90")),
        with(good.clone(), "level", json!("team")),
        with(good.clone(), "permissions", json!([])),
        with(good.clone(), "permissions", json!([{"kind": "project", "namespace": "team-a", "access": []}])),
        with(pull("two", &["team-a", "team-b"]), "level", json!("project")),
        with(
            good,
            "permissions",
            json!([{"kind": "project", "namespace": "team-a",
            "access": [{"resource": "repository", "action": "fly"}]}]),
        ),
    ] {
        post(&harbor, ADMIN, &wrong).await.refuses(400, "BAD_REQUEST");
    }
    post(&harbor, ADMIN, &pull("lost", &["team-a", "missing"])).await.refuses(404, "NOT_FOUND");
    post(&harbor, ADMIN, &pull_one("lost", "missing")).await.refuses(404, "NOT_FOUND");
    assert!(harbor.robots().is_empty());
    harbor.set_version("2.1.6");
    get(&harbor, ADMIN, ROBOTS).await.refuses(404, "NOT_FOUND");
    get(&harbor, ADMIN, &format!("{ROBOTS}/1")).await.refuses(404, "NOT_FOUND");
}

#[tokio::test]
async fn lists_are_of_one_level_and_names_without_the_prefix() {
    let harbor = harbor();
    let id = harbor.project("team-a").unwrap().id;
    for wanted in [pull("reader", &["team-a"]), pull("other", &["team-a"]), pull_one("reader", "team-a")] {
        post(&harbor, ADMIN, &wanted).await.is(201);
    }
    post(&harbor, ADMIN, &pull_one("reader", "team-b")).await.is(201);
    assert_eq!(listed(&harbor, "").await, ["robot$other", "robot$reader"]);
    assert_eq!(listed(&harbor, "q=name%3Dreader").await, ["robot$reader"]);
    assert!(listed(&harbor, "q=name%3Drobot%24reader").await.is_empty());
    // Asking for the system's level lists every level, up to 2.12.
    assert_eq!(listed(&harbor, "q=Level%3Dsystem").await.len(), 4);
    harbor.set_version("2.13.0");
    assert_eq!(listed(&harbor, "q=Level%3Dsystem").await, ["robot$other", "robot$reader"]);
    // The prefix is no part of what is stored, whatever it looks like.
    harbor.set_robot_prefix("bot_");
    assert_eq!(listed(&harbor, "q=Level%3Dsystem,name%3D~reader").await, ["bot_reader"]);
    assert!(listed(&harbor, "q=Level%3Dsystem,name%3D~bot_reader").await.is_empty());
    harbor.set_robot_prefix("robot$");
    let in_project = format!("q=Level%3Dproject,ProjectID%3D{id}");
    assert_eq!(listed(&harbor, &in_project).await, ["robot$team-a+reader"]);
    assert_eq!(
        listed(&harbor, &format!("{in_project},name%3Dteam-a%252Breader")).await,
        ["robot$team-a+reader"]
    );
    assert!(
        listed(&harbor, &format!("{in_project},name%3Dteam-a%2Breader")).await.is_empty(),
        "a + is a space"
    );
    for wrong in ["q=Level%3Dproject", "q=Level%3Dteam", "q=Level%3Dproject,ProjectID%3Dx"] {
        get(&harbor, ADMIN, &format!("{ROBOTS}?{wrong}")).await.refuses(400, "BAD_REQUEST");
    }
    let page = get(&harbor, ADMIN, &format!("{ROBOTS}?page_size=1")).await;
    assert_eq!((page.names().len(), page.header("x-total-count")), (1, "2"));
}

#[tokio::test]
async fn a_new_secret_replaces_the_old_at_once_and_adds_no_time() {
    let harbor = harbor();
    let robot = post(&harbor, ADMIN, &pull("reader", &["team-a"])).await.json();
    let works = async |secret: &str| {
        let who = format!("robot$reader:{secret}");
        get(&harbor, &who, "/api/v2.0/users/current").await.status == 412
    };
    harbor.age_robots(30);
    let before = harbor.robots()[0].expires_at;
    let patch = async |secret: &str| {
        send(&harbor, ADMIN, Method::PATCH, &path(&robot), &json!({"secret": secret})).await
    };
    let made = patch("").await.is(200).json()["secret"].as_str().unwrap().to_owned();
    assert!(works(&made).await);
    assert_eq!(harbor.robots()[0].expires_at, before);
    assert_eq!(patch("Mine12345").await.is(200).json()["secret"], "");
    assert!(works("Mine12345").await);
    for weak in ["short1A", "alllowercase1", "NODIGITSatall"] {
        patch(weak).await.refuses(400, "BAD_REQUEST");
    }
    assert!(works("Mine12345").await);
    send(&harbor, ADMIN, Method::PATCH, &format!("{ROBOTS}/4711"), &json!({"secret": ""})).await.is(404);
}

#[tokio::test]
async fn a_change_replaces_everything_and_must_name_the_robot_in_full() {
    let harbor = harbor();
    let robot = post(&harbor, ADMIN, &pull("reader", &["team-a", "team-b"])).await.json();
    let full = pull("robot$reader", &["team-a"]);
    let put = async |body: &Value| send(&harbor, ADMIN, Method::PUT, &path(&robot), body).await;
    put(&pull("reader", &["team-a"])).await.refuses(400, "BAD_REQUEST");
    put(&with(full.clone(), "level", json!("project"))).await.refuses(400, "BAD_REQUEST");
    put(&with(full.clone(), "permissions", json!([]))).await.refuses(400, "BAD_REQUEST");
    put(&pull("robot$reader", &["team-a", "missing"])).await.refuses(404, "NOT_FOUND");
    harbor.age_robots(10);
    let created = harbor.robots()[0].created.as_second();
    put(&with(with(full.clone(), "description", json!("")), "duration", json!(30))).await.is(200);
    let shown = harbor.robot(robot["id"].as_i64().unwrap()).unwrap();
    assert_eq!((shown.get("description"), &shown["permissions"]), (None, &full["permissions"]));
    assert_eq!(shown["expires_at"], created + 30 * 24 * 3600);
    put(&with(full, "disable", json!(true))).await.is(200);
    assert!(harbor.robots()[0].disabled);

    // A project that is gone goes from the list of permissions, and stands in the way of a change that names it.
    put(&pull("robot$reader", &["team-a", "team-b"])).await.is(200);
    harbor.delete_project("team-b");
    let shown = get(&harbor, ADMIN, &path(&robot)).await.json();
    assert_eq!(shown["permissions"], pull("", &["team-a"])["permissions"]);
    put(&pull("robot$reader", &["team-a", "team-b"])).await.refuses(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_project_administrator_has_robots_of_own_projects_alone() {
    let harbor = harbor();
    let (a, b) = (harbor.project("team-a").unwrap().id, harbor.project("team-b").unwrap().id);
    let own = post(&harbor, PAT, &pull_one("mine", "team-a")).await.is(201).json();
    for wanted in [pull("mine", &["team-a"]), pull_one("mine", "team-b"), pull_one("mine", "missing")] {
        post(&harbor, PAT, &wanted).await.refuses(403, "FORBIDDEN");
        post(&harbor, NOBODY, &wanted).await.refuses(401, "UNAUTHORIZED");
    }
    let foreign = post(&harbor, ADMIN, &pull_one("theirs", "team-b")).await.json();
    get(&harbor, PAT, ROBOTS).await.refuses(403, "FORBIDDEN");
    get(&harbor, PAT, &format!("{ROBOTS}?q=Level%3Dproject,ProjectID%3D{b}")).await.refuses(403, "FORBIDDEN");
    let listed = get(&harbor, PAT, &format!("{ROBOTS}?q=Level%3Dproject,ProjectID%3D{a}")).await.is(200);
    assert_eq!(listed.names(), ["robot$team-a+mine"]);
    get(&harbor, PAT, &path(&foreign)).await.refuses(403, "FORBIDDEN");
    delete(&harbor, PAT, &path(&foreign)).await.refuses(403, "FORBIDDEN");
    get(&harbor, NOBODY, &path(&own)).await.refuses(401, "UNAUTHORIZED");
    get(&harbor, PAT, &path(&own)).await.is(200);
    delete(&harbor, PAT, &path(&own)).await.is(200);
    delete(&harbor, PAT, &path(&own)).await.refuses(404, "NOT_FOUND");
    // A robot has none, and a project takes its own along.
    let secret = foreign["secret"].as_str().unwrap();
    let robot = format!("robot$team-b+theirs:{secret}");
    post(&harbor, &robot, &pull_one("child", "team-b")).await.refuses(403, "FORBIDDEN");
    harbor.delete_project("team-b");
    assert!(harbor.robots().is_empty());
}

#[tokio::test]
async fn a_robot_may_be_made_and_nobody_be_told() {
    let harbor = harbor();
    harbor.lose_next_robot();
    let lost = request(&harbor, ADMIN, Method::POST, ROBOTS).json(&pull("reader", &["team-a"]));
    assert!(told(lost).await.is_err());
    let robot = harbor.robots().pop().unwrap();
    assert_eq!(robot.stored_name, "reader");
    post(&harbor, ADMIN, &pull("reader", &["team-a"])).await.refuses(409, "CONFLICT");
    harbor.lose_next(&Method::PATCH);
    let of_robot = format!("{ROBOTS}/{}", robot.id);
    let lost = request(&harbor, ADMIN, Method::PATCH, &of_robot).json(&json!({"secret": ""}));
    assert!(told(lost).await.is_err());
    assert_ne!(harbor.robots()[0].secret, robot.secret);
}

#[tokio::test]
async fn rights_are_of_a_projects_number_and_a_change_takes_the_project_that_bears_the_name() {
    let harbor = harbor();
    let robot = post(&harbor, ADMIN, &pull("reader", &["team-a", "team-b"])).await.json();
    let account = ("robot$reader", robot["secret"].as_str().unwrap());
    let named = async || get(&harbor, ADMIN, &path(&robot)).await.json()["permissions"].clone();
    harbor.remake_project("team-b");
    assert!(!can_pull(&harbor, account, "team-b").await && can_pull(&harbor, account, "team-a").await);
    assert_eq!(named().await, pull("", &["team-a"])["permissions"], "the old number's right is not shown");
    let put = async |body: &Value| send(&harbor, ADMIN, Method::PUT, &path(&robot), body).await;
    put(&pull("robot$reader", &["team-a", "team-b"])).await.is(200);
    assert!(can_pull(&harbor, account, "team-b").await, "the name led to the new project");
    // Also where it is made anew in the middle of the change.
    harbor.remake_project_before(&Method::PUT, "team-a");
    put(&pull("robot$reader", &["team-a"])).await.is(200);
    assert!(can_pull(&harbor, account, "team-a").await && !can_pull(&harbor, account, "team-b").await);
}

#[tokio::test]
async fn an_administrators_switch_and_refresh_void_what_was_handed_out() {
    let harbor = harbor();
    let robot = post(&harbor, ADMIN, &pull("reader", &["team-a"])).await.json();
    let (id, secret) = (robot["id"].as_i64().unwrap(), robot["secret"].as_str().unwrap());
    let login = format!("robot$reader:{secret}");
    let status = async || get(&harbor, &login, "/api/v2.0/users/current").await.status;
    assert_eq!(status().await, 412);
    harbor.disable_robot(id);
    assert_eq!(status().await, 401);
    assert_eq!(get(&harbor, ADMIN, &path(&robot)).await.json()["disable"], true);
    harbor.enable_robot(id);
    assert_eq!(status().await, 412);
    harbor.refresh_robot(id);
    assert_eq!(status().await, 401);
    harbor.describe_robot(id, "mine");
    assert_eq!(get(&harbor, ADMIN, &path(&robot)).await.json()["description"], "mine");
}

/// The body for a robot that integrates, with these rights on the whole system and on all projects.
fn integrating(system: &[(&str, &str)], projects: &[(&str, &str)]) -> Value {
    let access = |list: &[(&str, &str)]| {
        list.iter().map(|(r, a)| json!({"resource": r, "action": a})).collect::<Vec<_>>()
    };
    json!({"name": "integrating", "level": "system", "duration": -1, "permissions": [
        {"kind": "system", "namespace": "/", "access": access(system)},
        {"kind": "project", "namespace": "*", "access": access(projects)},
    ]})
}

const OF_ROBOTS: [(&str, &str); 6] = [
    ("robot", "create"),
    ("robot", "list"),
    ("robot", "read"),
    ("robot", "delete"),
    ("project", "list"),
    ("project", "create"),
];

#[tokio::test]
async fn a_robot_makes_and_deletes_others_with_what_it_has_itself_and_changes_none() {
    let harbor = harbor();
    let wanted = integrating(
        &OF_ROBOTS,
        &[("project", "read"), ("project", "update"), ("repository", "pull"), ("robot", "create")],
    );
    let team_a = harbor.project("team-a").unwrap().id;
    let of_team_a = format!("{ROBOTS}?q=Level%3Dproject,ProjectID%3D{team_a}");
    let (name, secret) = harbor.make_robot(&wanted).await;
    let robot = format!("{name}:{secret}");
    get(&harbor, &robot, "/api/v2.0/users/current").await.refuses(412, "PRECONDITION");
    assert_eq!(get(&harbor, &robot, "/api/v2.0/projects").await.names(), ["team-a", "team-b"]);
    harbor.add_project("open", true);
    let seen = get(&harbor, &robot, "/api/v2.0/statistics").await.is(200).json();
    assert_eq!((&seen["public_project_count"], &seen["total_project_count"]), (&json!(1), &json!(0)));
    harbor.delete_project("open");
    get(&harbor, &robot, "/api/v2.0/quotas").await.refuses(403, "FORBIDDEN");
    let listed = get(&harbor, &robot, ROBOTS).await.is(200).json();
    assert_eq!(listed[0]["permissions"], wanted["permissions"], "it reads what it may do");

    let made = post(&harbor, &robot, &pull("reader", &["team-a", "team-b"])).await.is(201).json();
    let own = post(&harbor, &robot, &pull_one("own", "team-a")).await.is(201).json();
    let mut more = pull("more", &["team-a"]);
    more["permissions"][0]["access"][0]["action"] = json!("push");
    post(&harbor, &robot, &more).await.refuses(403, "FORBIDDEN");
    let replaced = json!({"id": made["id"], "name": made["name"], "level": "system", "duration": 90,
        "permissions": pull("reader", &["team-a"])["permissions"]});
    send(&harbor, &robot, Method::PUT, &path(&made), &replaced).await.refuses(403, "FORBIDDEN");
    send(&harbor, &robot, Method::PATCH, &path(&made), &json!({"secret": ""}))
        .await
        .refuses(403, "FORBIDDEN");
    delete(&harbor, &robot, &path(&made)).await.is(200);
    // Those of projects are another right.
    get(&harbor, &robot, &of_team_a).await.refuses(403, "FORBIDDEN");
    delete(&harbor, &robot, &path(&own)).await.refuses(403, "FORBIDDEN");
    let mut more = integrating(&OF_ROBOTS, &[("robot", "list"), ("robot", "delete")]);
    more["name"] = json!("more");
    let (name, secret) = harbor.make_robot(&more).await;
    let more = format!("{name}:{secret}");
    assert_eq!(get(&harbor, &more, &of_team_a).await.is(200).names(), ["robot$team-a+own"]);
    delete(&harbor, &more, &path(&own)).await.is(200);

    let flag = json!({"metadata": {"public": "true"}});
    send(&harbor, &robot, Method::PUT, "/api/v2.0/projects/team-a", &flag).await.is(200);
    send(&harbor, &robot, Method::POST, "/api/v2.0/projects", &json!({"project_name": "new"})).await.is(201);
    let missing = request(&harbor, &robot, Method::HEAD, "/api/v2.0/projects?project_name=none");
    told(missing).await.unwrap().is(404);
    get(&harbor, &robot, "/api/v2.0/projects/none").await.refuses(403, "FORBIDDEN");
    // It is shown all projects by that right, also those that it may not read.
    let lists = json!({"name": "lists", "level": "system", "duration": -1, "permissions": [
        {"kind": "system", "namespace": "/", "access": [{"resource": "project", "action": "list"}]},
        {"kind": "project", "namespace": "team-a", "access": [{"resource": "project", "action": "read"}]},
    ]});
    let (name, secret) = harbor.make_robot(&lists).await;
    let lists = format!("{name}:{secret}");
    assert!(get(&harbor, &lists, "/api/v2.0/projects").await.names().contains(&"team-b".to_owned()));
    get(&harbor, &lists, "/api/v2.0/projects/team-b").await.refuses(403, "FORBIDDEN");
}

#[tokio::test]
async fn before_2_12_no_robot_can_be_allowed_to_make_others() {
    let harbor = harbor();
    harbor.set_version("2.11.0");
    post(&harbor, ADMIN, &integrating(&OF_ROBOTS, &[("repository", "pull")]))
        .await
        .refuses(400, "BAD_REQUEST");
    post(&harbor, ADMIN, &integrating(&[("robot", "list")], &[("repository", "pull")])).await.is(201);
}

//! A Harbor's projects: pages, filters, names, texts for booleans, and what may not be written.

use reqwest::Method;
use serde_json::json;

use super::asking::{ADMIN, NOBODY, delete, get, head, request, send, told};
use crate::doubles::harbor::{Harbor, Options};

const PROJECTS: &str = "/api/v2.0/projects";

#[tokio::test]
async fn pages_have_a_limit_a_total_and_links_that_lead_nowhere() {
    let harbor = Harbor::start(Options::default());
    harbor.add_projects(230);
    get(&harbor, ADMIN, &format!("{PROJECTS}?page_size=101")).await.refuses(422, "UNPROCESSABLE_ENTITY");
    get(&harbor, ADMIN, &format!("{PROJECTS}?page=x")).await.refuses(422, "UNPROCESSABLE_ENTITY");
    assert_eq!(get(&harbor, ADMIN, PROJECTS).await.names().len(), 10);
    let mut names = Vec::new();
    for page in 1..=4 {
        let told = get(&harbor, ADMIN, &format!("{PROJECTS}?page_size=100&page={page}")).await.is(200);
        assert_eq!(told.header("x-total-count"), "230");
        names.extend(told.names());
    }
    assert_eq!((names.len(), names[0].as_str(), names[229].as_str()), (230, "project-0000", "project-0229"));

    let told =
        get(&harbor, ADMIN, &format!("{PROJECTS}?page=2&page_size=2&q=name%3D~project-%2500")).await.is(200);
    assert_eq!(told.header("link"), "");
    let told =
        get(&harbor, ADMIN, &format!("{PROJECTS}?page=2&page_size=2&q=name%3D~project-00")).await.is(200);
    let link = "</api/v2.0/projects?page=1&page_size=2&q=name=~project-00>; rel=\"prev\" , \
        </api/v2.0/projects?page=3&page_size=2&q=name=~project-00>; rel=\"next\"";
    assert_eq!(told.header("link"), link);
}

/// src/server/v2.0/handler/project.go, `ListProjects`.
#[tokio::test]
async fn the_newest_come_first_where_that_is_asked_for_and_nobody_is_shown_what_is_private() {
    let harbor = Harbor::start(Options::default());
    for (name, public) in [("b", false), ("a", true), ("c", false)] {
        harbor.add_project(name, public);
    }
    let newest = format!("{PROJECTS}?public=false&sort=-creation_time&with_detail=false&page_size=1");
    let told = get(&harbor, ADMIN, &newest).await.is(200);
    assert_eq!((told.names(), told.header("x-total-count")), (vec!["c".to_owned()], "2"));
    assert_eq!(told.json()[0]["metadata"], json!({}));
    for who in [NOBODY, "admin:wrong"] {
        let told = get(&harbor, who, &newest).await.is(200);
        assert_eq!((told.names().len(), told.header("x-total-count")), (0, "0"), "{who}");
    }
}

#[tokio::test]
async fn filters_are_decoded_twice() {
    let harbor = Harbor::start(Options::default());
    for (name, public) in [("shop", true), ("shop-tools", false), ("work", false)] {
        harbor.add_project(name, public);
    }
    for (query, names) in [
        ("q=name%3Dshop", vec!["shop"]),
        ("q=name=shop", vec!["shop"]),
        ("q=name%253Dshop", vec!["shop"]),
        ("q=name%3D~SHOP", vec!["shop", "shop-tools"]),
        ("q=name%3D~shop,public%3Dfalse", vec!["shop-tools"]),
        ("name=op", vec!["shop", "shop-tools"]),
        ("public=true", vec!["shop"]),
        ("q=name%3Dsh", vec![]),
    ] {
        assert_eq!(
            get(&harbor, ADMIN, &format!("{PROJECTS}?{query}")).await.is(200).names(),
            names,
            "{query}"
        );
    }
    for query in ["q=shop", "q=name%3D", "q=%3Dshop"] {
        get(&harbor, ADMIN, &format!("{PROJECTS}?{query}")).await.refuses(400, "BAD_REQUEST");
    }
}

#[tokio::test]
async fn a_project_is_made_once_under_a_fitting_name() {
    let harbor = Harbor::start(Options { only_admins_create_projects: true, ..Options::default() });
    let new =
        |name: &str| json!({"project_name": name, "metadata": {"public": "false"}, "storage_limit": -1});
    let made = send(&harbor, ADMIN, Method::POST, PROJECTS, &new("team-a")).await.is(201);
    let project = harbor.project("team-a").unwrap();
    assert_eq!(made.header("location"), format!("{PROJECTS}/{}", project.id));
    assert!(!project.is_public());
    send(&harbor, ADMIN, Method::POST, PROJECTS, &new("team-a")).await.refuses(409, "CONFLICT");
    for name in ["Team", "team--a", "-team", "team/", "te am", ""] {
        send(&harbor, ADMIN, Method::POST, PROJECTS, &new(name)).await.refuses(400, "BAD_REQUEST");
    }
    send(&harbor, ADMIN, Method::POST, PROJECTS, &new(&"a".repeat(256)))
        .await
        .refuses(422, "UNPROCESSABLE_ENTITY");
    send(&harbor, ADMIN, Method::POST, PROJECTS, &new(&"a".repeat(255))).await.is(201);

    send(&harbor, NOBODY, Method::POST, PROJECTS, &new("b")).await.refuses(401, "UNAUTHORIZED");
    harbor.add_user("pat", "Pa55word");
    send(&harbor, "pat:Pa55word", Method::POST, PROJECTS, &new("b")).await.refuses(403, "FORBIDDEN");
    let open = Harbor::start(Options::default());
    open.add_user("pat", "Pa55word");
    send(&open, "pat:Pa55word", Method::POST, PROJECTS, &new("b")).await.is(201);
    get(&open, "pat:Pa55word", &format!("{PROJECTS}/b")).await.is(200);

    let not_json = request(&harbor, ADMIN, Method::POST, PROJECTS).body(new("c").to_string());
    told(not_json).await.unwrap().refuses(415, "UNSUPPORTED_MEDIA_TYPE");
    told(request(&harbor, ADMIN, Method::POST, PROJECTS)).await.unwrap().is(422);
}

#[tokio::test]
async fn visibility_is_a_text_and_metadata_merges() {
    let harbor = Harbor::start(Options::default());
    harbor.add_project("team-a", false);
    let path = format!("{PROJECTS}/team-a");
    let put = async |metadata| send(&harbor, ADMIN, Method::PUT, &path, &json!({"metadata": metadata})).await;
    put(json!({"auto_scan": "true"})).await.is(200);
    put(json!({"public": "true", "unheard_of": "x"})).await.is(200);
    let shown = get(&harbor, ADMIN, &path).await.json();
    assert_eq!(shown["metadata"], json!({"auto_scan": "true", "public": "true"}));
    put(json!({"public": false})).await.refuses(400, "BAD_REQUEST");
    assert!(harbor.project("team-a").unwrap().is_public());
    for wrong in [json!({"public": true}), json!({"public": "yes"})] {
        let new = json!({"project_name": "b", "metadata": wrong});
        send(&harbor, ADMIN, Method::POST, PROJECTS, &new).await.refuses(400, "BAD_REQUEST");
    }
    harbor.flip("team-a", false);
    assert_eq!(get(&harbor, ADMIN, &path).await.json()["metadata"]["public"], "false");
}

#[tokio::test]
async fn a_name_of_digits_is_an_id_unless_the_header_says_otherwise() {
    let harbor = Harbor::start(Options::default());
    let id = harbor.add_project("team-a", false);
    harbor.add_project(&id.to_string(), false);
    harbor.add_project("2024", false);
    let path = format!("{PROJECTS}/{id}");
    let by_name = async |path: &str| {
        told(request(&harbor, ADMIN, Method::GET, path).header("x-is-resource-name", "true")).await.unwrap()
    };
    assert_eq!(get(&harbor, ADMIN, &path).await.json()["name"], "team-a");
    assert_eq!(by_name(&path).await.json()["name"], id.to_string());
    get(&harbor, ADMIN, &format!("{PROJECTS}/2024")).await.refuses(404, "NOT_FOUND");
    by_name(&format!("{PROJECTS}/2024")).await.is(200);
    head(&harbor, ADMIN, &format!("{PROJECTS}?project_name=2024")).await.is(200);
    harbor.set_version("2.1.6");
    assert_eq!(by_name(&path).await.json()["name"], "team-a");
}

#[tokio::test]
async fn a_project_with_images_stays_and_read_only_refuses_all_writes() {
    let harbor = Harbor::start(Options::default());
    let path = format!("{PROJECTS}/team-a");
    let id = harbor.add_project("team-a", false);
    harbor.set_repositories("team-a", &["web", "tools/cli"]);
    delete(&harbor, ADMIN, &path).await.refuses(412, "PRECONDITION");
    harbor.set_repositories("team-a", &[]);
    harbor.set_read_only(true);
    delete(&harbor, ADMIN, &path).await.refuses(403, "DENIED");
    send(&harbor, ADMIN, Method::POST, PROJECTS, &json!({"project_name": "b"})).await.refuses(403, "DENIED");
    get(&harbor, ADMIN, &path).await.is(200);
    harbor.set_read_only(false);
    delete(&harbor, ADMIN, &path).await.is(200);
    // Made again it is another one.
    send(&harbor, ADMIN, Method::POST, PROJECTS, &json!({"project_name": "team-a"})).await.is(201);
    assert_ne!(harbor.project("team-a").unwrap().id, id);
}

#[tokio::test]
async fn only_a_proxy_cache_has_a_registry() {
    for zero in [false, true] {
        let harbor = Harbor::start(Options { zero_registry_id: zero, ..Options::default() });
        harbor.add_project("own", false);
        harbor.add_proxy_project("proxy", 3);
        let listed = get(&harbor, ADMIN, &format!("{PROJECTS}?with_detail=true")).await.json();
        assert_eq!(listed[0].get("registry_id"), zero.then_some(&json!(0)));
        assert_eq!(listed[1]["registry_id"], 3);
    }
}

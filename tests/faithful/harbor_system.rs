//! What a Harbor tells of itself, and to whom.

use serde_json::{Value, json};

use super::asking::{ADMIN, NOBODY, get};
use crate::doubles::harbor::{Harbor, Options};

const PAT: &str = "pat:Pa55word";

fn harbor(options: Options) -> Harbor {
    let harbor = Harbor::start(options);
    harbor.add_project("open", true);
    harbor.add_project("closed", false);
    harbor.add_project("foreign", false);
    harbor.set_repositories("open", &["base"]);
    harbor.set_repositories("closed", &["web", "db"]);
    harbor.set_used("closed", 5_000_000);
    harbor.add_user("pat", "Pa55word");
    harbor.make_project_admin("pat", "closed");
    harbor
}

#[tokio::test]
async fn it_is_ill_with_a_status_of_success() {
    let harbor = harbor(Options::default());
    assert_eq!(get(&harbor, NOBODY, "/api/v2.0/health").await.is(200).json()["status"], "healthy");
    harbor.make_ill("jobservice", "failed to check the health status: timeout");
    let health = get(&harbor, NOBODY, "/api/v2.0/health").await.is(200).json();
    assert_eq!(health["status"], "unhealthy");
    let ill = json!({"name": "jobservice", "status": "unhealthy",
        "error": "failed to check the health status: timeout"});
    assert!(health["components"].as_array().unwrap().contains(&ill));
}

#[tokio::test]
async fn its_version_is_for_those_who_are_logged_in() {
    let harbor =
        harbor(Options { external_url: Some("https://harbor.example.com".into()), ..Options::default() });
    assert_eq!(harbor.api("/systeminfo"), format!("{}/api/v2.0/systeminfo", harbor.url()));
    let told = get(&harbor, NOBODY, "/api/v2.0/systeminfo").await.is(200).json();
    assert_eq!(told.get("harbor_version"), None);
    let told = get(&harbor, PAT, "/api/v2.0/systeminfo").await.is(200).json();
    assert!(told["harbor_version"].as_str().unwrap().starts_with("v2.12.0-"));
    assert_eq!(told["external_url"], "https://harbor.example.com");
    assert_eq!((&told["registry_url"], &told["read_only"]), (&json!("harbor.example.com"), &json!(false)));
}

#[tokio::test]
async fn totals_are_zeros_for_all_but_system_administrators() {
    let harbor = harbor(Options::default());
    let statistics = "/api/v2.0/statistics";
    get(&harbor, NOBODY, statistics).await.refuses(401, "UNAUTHORIZED");
    let all = get(&harbor, ADMIN, statistics).await.is(200).json();
    assert_eq!(all["total_storage_consumption"], 5_000_000);
    assert_eq!((&all["total_project_count"], &all["total_repo_count"]), (&json!(3), &json!(3)));
    let some = get(&harbor, PAT, statistics).await.is(200).json();
    assert_eq!(some["total_storage_consumption"], 0);
    assert_eq!((&some["total_project_count"], &some["private_repo_count"]), (&json!(0), &json!(2)));
    harbor.set_version("2.2.4");
    assert_eq!(get(&harbor, ADMIN, statistics).await.json().get("total_storage_consumption"), None);

    for path in ["/api/v2.0/systeminfo/volumes", "/api/v2.0/quotas?reference=project"] {
        get(&harbor, NOBODY, path).await.refuses(401, "UNAUTHORIZED");
        get(&harbor, PAT, path).await.refuses(403, "FORBIDDEN");
        get(&harbor, ADMIN, path).await.is(200);
    }
}

#[tokio::test]
async fn a_quota_may_be_missing() {
    let harbor = harbor(Options::default());
    let (summary, quotas) = ("/api/v2.0/projects/closed/summary", "/api/v2.0/quotas?reference=project");
    let quota = json!({"hard": {"storage": -1}, "used": {"storage": 5_000_000}});
    for who in [ADMIN, PAT] {
        assert_eq!(get(&harbor, who, summary).await.json()["quota"], quota);
    }
    let open = get(&harbor, NOBODY, "/api/v2.0/projects/open/summary").await.is(200).json();
    assert_eq!((&open["repo_count"], &open["quota"]), (&json!(1), &Value::Null));
    let listed = get(&harbor, ADMIN, quotas).await.json();
    let closed = listed.as_array().unwrap().iter().find(|quota| quota["ref"]["name"] == "closed").unwrap();
    assert_eq!((&closed["used"]["storage"], &closed["hard"]["storage"]), (&json!(5_000_000), &json!(-1)));
    harbor.set_quotas(false);
    assert_eq!(get(&harbor, ADMIN, summary).await.is(200).json()["quota"], Value::Null);
    assert_eq!(get(&harbor, ADMIN, quotas).await.is(200).json(), json!([]));
}

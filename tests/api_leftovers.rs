//! Accounts that are left at registries: who sees them, and how they are forgotten.

use pullgate::domain::record::{Entry, Kind, Record};
use pullgate::store::{Credential, Ledger, RecordStore as _};
use pullgate::types::convert;
use serde_json::json;

use crate::support::api::Client;
use crate::support::log::Log;

async fn remember(api: &Client, registry: &str, url: &str, audience: &str, places: &[(i64, i64)]) {
    let credential = Credential {
        username: "admin".to_owned(),
        password: "left-p4ss".into(),
        audience: audience.to_owned(),
    };
    let spec = json!({"type": "Harbor", "url": url});
    let places = places.iter().copied().collect();
    api.store.set_ledger(&Ledger { registry: registry.into(), spec, credential, places }).await.unwrap();
}

/// With something left of a registry that is gone, something at an old address of `corp`, and what `corp` works with.
async fn populated() -> Client {
    let api = Client::populated().await;
    let document = api.store.get(Kind::Registry, "corp").await.unwrap().unwrap();
    let Record::Registry(Entry::Valid(corp)) = convert::record(&document) else { panic!("{document:?}") };
    remember(&api, "corp", &corp.url, &corp.audience(), &[(0, 1_900_000_000)]).await;
    remember(&api, "corp", "https://old.example.com", "old", &[(0, 1_900_000_000)]).await;
    remember(&api, "gone", "https://gone.example.com", "gone", &[(3, 1_900_000_000), (4, i64::MAX)]).await;
    api
}

#[tokio::test]
async fn what_is_left_is_told_and_forgotten_and_what_is_in_use_is_neither() {
    let log = Log::default();
    let _captured = log.capture();
    let api = populated().await;
    let left = api.get("root", "/leftovers").await.is(200).json();
    assert_eq!(
        left["items"],
        json!([
            {"registry": "corp", "url": "https://old.example.com", "recorded": true, "current": false, "places": 1,
             "until": "2030-03-17T17:46:40Z"},
            {"registry": "gone", "url": "https://gone.example.com", "recorded": false, "current": false, "places": 2,
             "until": null},
        ])
    );
    let forgotten = api.delete("root", "/leftovers/gone", "").await.is(200).json();
    assert_eq!(forgotten["forgotten"][0]["url"], "https://gone.example.com");
    api.delete("root", "/leftovers/gone", "").await.is(404).says("nothing is left");
    api.delete("root", "/leftovers/corp", "").await.is(200);
    api.delete("root", "/leftovers/corp", "").await.is(404);
    assert_eq!(api.get("root", "/leftovers").await.json()["items"], json!([]));
    let ledgers = api.store.ledgers().await.unwrap();
    assert_eq!(ledgers.len(), 1, "what the record is worked for by");
    assert_eq!(ledgers[0].registry, "corp");
    let log = log.text();
    assert_eq!(log.matches("forget-leftovers").count(), 4, "{log}");
    assert!(!log.contains("left-p4ss") && !api.seen.lock().unwrap().contains("left-p4ss"));
}

#[tokio::test]
async fn where_nothing_is_bound_any_more_what_is_left_is_told_too() {
    let api = Client::populated().await;
    let mut corp = api.store.get(Kind::Registry, "corp").await.unwrap().unwrap();
    corp.spec["pullCredentials"] = json!("Robot");
    corp.status["robotLevel"] = json!("Project");
    let Record::Registry(Entry::Valid(registry)) = convert::record(&corp) else { panic!("{corp:?}") };
    api.store.seed(Kind::Registry, "corp", corp.spec, corp.status);
    let space = api.store.get(Kind::RegistrySpace, "corp.team-a").await.unwrap().unwrap();
    api.store.seed(Kind::RegistrySpace, "corp.team-a", space.spec, json!({"projectId": 7}));
    remember(&api, "corp", &registry.url, &registry.audience(), &[(7, 1_950_000_000)]).await;
    assert_eq!(api.get("root", "/leftovers").await.json()["items"], json!([]), "what is in use is not left");
    let places = [(7, 1_950_000_000), (9, 1_900_000_000)];
    remember(&api, "corp", &registry.url, &registry.audience(), &places).await;
    assert_eq!(
        api.get("root", "/leftovers").await.json()["items"],
        json!([{"registry": "corp", "url": "https://harbor.example.com", "recorded": true, "current": true,
            "places": 1, "until": "2030-03-17T17:46:40Z"}])
    );
    api.delete("root", "/leftovers/corp", "").await.is(404);
    assert_eq!(api.store.ledgers().await.unwrap()[0].places.len(), 2);
}

#[tokio::test]
async fn it_is_the_platforms_alone() {
    let api = populated().await;
    for who in ["wa", "ea", "va"] {
        api.get(who, "/leftovers").await.is(403);
        api.delete(who, "/leftovers/gone", "").await.is(403);
        // Whether anything is left reads the same.
        api.delete(who, "/leftovers/none", "").await.is(403);
    }
    assert_eq!(api.store.ledgers().await.unwrap().len(), 3);
}

//! What a store promises of robot accounts.

use std::sync::Arc;

use pullgate::domain::pull_secret::{CredentialId, RobotId};
use pullgate::domain::record::Kind;
use pullgate::store::{CredentialChange, Ledger, Precondition, RecordStore, StoreError};
use secrecy::ExposeSecret;
use serde_json::json;

use super::{create, harbor, integration, robot, robot_id, secret, workspace};

pub async fn a_deleted_record_takes_its_credentials_along(store: Arc<dyn RecordStore>) {
    for registry in ["r1", "r2"] {
        let set = CredentialChange::Set(secret("u", "p", ""));
        store.put(harbor(registry, "a.example"), Precondition::Absent, set).await.unwrap();
    }
    for name in ["w1", "w2"] {
        create(&*store, workspace(name, &[])).await;
        for registry in ["r1", "r2"] {
            store.set_robot(&robot_id(registry, name), Some(secret("robot", registry, ""))).await.unwrap();
        }
    }
    let delete = async |kind, name: &str| {
        let version = store.get(kind, name).await.unwrap().unwrap().version;
        store.delete(kind, name, &version).await.unwrap();
    };
    let has = async |id| store.credential(&id).await.unwrap().is_some();

    delete(Kind::Registry, "r1").await;
    assert_eq!(store.get(Kind::Registry, "r1").await.unwrap(), None);
    assert!(!has(integration("r1")).await && !has(robot("r1", "w1")).await && !has(robot("r1", "w2")).await);
    assert!(has(integration("r2")).await && has(robot("r2", "w1")).await && has(robot("r2", "w2")).await);
    delete(Kind::Workspace, "w1").await;
    assert!(!has(robot("r2", "w1")).await);
    assert!(has(integration("r2")).await && has(robot("r2", "w2")).await);

    // Made again under its name, it starts without them.
    create(&*store, harbor("r1", "a.example")).await;
    assert!(!has(integration("r1")).await && !has(robot("r1", "w2")).await);
    let missing = store.delete(Kind::Workspace, "w1", "1").await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })), "{missing:?}");
}

pub async fn a_robot_belongs_to_records_that_are_there(store: Arc<dyn RecordStore>) {
    create(&*store, harbor("r", "a.example")).await;
    let missing = store.set_robot(&robot_id("r", "w"), Some(secret("robot", "p", ""))).await;
    assert!(matches!(missing, Err(StoreError::NotFound { kind: Kind::Workspace, .. })), "{missing:?}");
    create(&*store, workspace("w", &[])).await;
    store.set_robot(&robot_id("r", "w"), Some(secret("robot", "one", ""))).await.unwrap();
    store.set_robot(&robot_id("r", "w"), Some(secret("robot", "two", ""))).await.unwrap();
    let read = store.credential(&robot("r", "w")).await.unwrap().unwrap();
    assert_eq!(read.password.expose_secret(), "two");
    assert!(store.credential(&integration("r")).await.unwrap().is_none());
    store.set_robot(&robot_id("r", "w"), None).await.unwrap();
    store.set_robot(&robot_id("r", "w"), None).await.unwrap();
    assert!(store.credential(&robot("r", "w")).await.unwrap().is_none());
}

pub async fn robots_of_a_registry_are_told_apart(store: Arc<dyn RecordStore>) {
    for registry in ["r", "r2"] {
        create(&*store, harbor(registry, &format!("{registry}.example"))).await;
    }
    for name in ["v", "w"] {
        create(&*store, workspace(name, &[])).await;
    }
    let of_space = |space: &str| RobotId { space: Some(space.into()), ..robot_id("r", "w") };
    let robots = [robot_id("r", "v"), robot_id("r", "w"), of_space("a"), of_space("b")];
    for (robot, password) in robots.iter().zip(["1", "2", "3", "4"]) {
        store.set_robot(robot, Some(secret("robot", password, ""))).await.unwrap();
    }
    store.set_robot(&robot_id("r2", "w"), Some(secret("robot", "5", ""))).await.unwrap();
    assert_eq!(store.robots("r").await.unwrap(), robots);
    assert_eq!(store.robots("r2").await.unwrap(), [robot_id("r2", "w")]);
    assert_eq!(store.robots("none").await.unwrap(), []);
    let password = async |robot: &RobotId| {
        let stored = store.credential(&CredentialId::Robot(robot.clone())).await.unwrap();
        stored.map(|credential| credential.password.expose_secret().to_owned())
    };
    for (robot, expected) in robots.iter().zip(["1", "2", "3", "4"]) {
        assert_eq!(password(robot).await.as_deref(), Some(expected));
    }
    store.set_robot(&of_space("a"), None).await.unwrap();
    assert_eq!(password(&of_space("a")).await, None);
    assert_eq!(password(&of_space("b")).await.as_deref(), Some("4"));
    assert_eq!(store.robots("r").await.unwrap().len(), 3);
}

pub async fn where_accounts_may_be_is_remembered_without_the_record(store: Arc<dyn RecordStore>) {
    let ledger = |registry: &str, audience: &str, places: &[(i64, i64)]| Ledger {
        registry: registry.into(),
        spec: json!({"type": "Harbor", "url": "https://a.example"}),
        credential: secret("admin", "p4ss", audience),
        places: places.iter().copied().collect(),
    };
    let told = async || {
        let mut ledgers = store.ledgers().await.unwrap();
        ledgers.sort_by_key(|ledger| (ledger.registry.clone(), ledger.credential.audience.clone()));
        ledgers
            .into_iter()
            .map(|ledger| {
                assert_eq!(ledger.credential.password.expose_secret(), "p4ss");
                assert_eq!(ledger.spec["url"], "https://a.example");
                (
                    ledger.registry.to_string(),
                    ledger.credential.audience,
                    ledger.places.into_keys().collect::<Vec<_>>(),
                )
            })
            .collect::<Vec<_>>()
    };
    let expected = |told: &[(&str, &str, &[i64])]| {
        told.iter().map(|(r, a, p)| ((*r).to_owned(), (*a).to_owned(), p.to_vec())).collect::<Vec<_>>()
    };
    let set = CredentialChange::Set(secret("u", "p", ""));
    store.put(harbor("r", "a.example"), Precondition::Absent, set).await.unwrap();
    for (registry, audience) in [("r", "one"), ("r", "two"), ("s", "one")] {
        store.set_ledger(&ledger(registry, audience, &[(0, 7)])).await.unwrap();
    }
    store.set_ledger(&ledger("r", "two", &[(4, 7), (11, 8)])).await.unwrap();
    let version = store.get(Kind::Registry, "r").await.unwrap().unwrap().version;
    store.delete(Kind::Registry, "r", &version).await.unwrap();
    assert_eq!(told().await, expected(&[("r", "one", &[0]), ("r", "two", &[4, 11]), ("s", "one", &[0])]));
    store.set_ledger(&ledger("r", "one", &[])).await.unwrap();
    store.set_ledger(&ledger("t", "one", &[])).await.unwrap();
    assert_eq!(told().await, expected(&[("r", "two", &[4, 11]), ("s", "one", &[0])]));
}

//! What a store promises of bulk writes.

use std::sync::Arc;

use pullgate::domain::record::Kind;
use pullgate::store::{Precondition, RecordStore, StoreError};
use pullgate::types::Document;
use serde_json::json;

use super::{Seen, create, document, next, workspace};

pub async fn many_records_are_written_each_under_its_own_precondition(store: Arc<dyn RecordStore>) {
    let old = create(&*store, workspace("old", &["a"])).await;
    create(&*store, workspace("taken", &[])).await;
    let mut events = store.watch();
    let mut seen = Seen::default();
    while !seen.take(next(&mut events).await) {}
    let changed = Document { spec: json!({ "namespaces": ["b"] }), ..old.clone() };
    let space = document(Kind::RegistrySpace, "s", json!({ "registry": "r", "path": "p" }));
    let with_status = Document { status: json!({ "visibility": "Private" }), ..space };
    let written = store
        .put_all(vec![
            (changed, Precondition::Version(old.version)),
            (workspace("taken", &["c"]), Precondition::Absent),
            (with_status, Precondition::Absent),
            (workspace("taken", &["d"]), Precondition::Version("1".to_owned())),
            (workspace("none", &[]), Precondition::Version("1".to_owned())),
        ])
        .await;
    assert_eq!(written[0].as_ref().unwrap().spec["namespaces"], json!(["b"]));
    assert!(matches!(written[1], Err(StoreError::Exists { .. })), "{:?}", written[1]);
    assert_eq!(written[2].as_ref().unwrap().status["visibility"], "Private");
    assert!(written[3].is_err() && written[4].is_err(), "{written:?}");
    // In any order, and a store may tell of a record and of its status one by one.
    let is_told = |seen: &Seen| {
        let space = seen.0.get(&(Kind::RegistrySpace, "s".into()));
        space.is_some_and(|space| space.status["visibility"] == "Private")
            && seen.0[&(Kind::Workspace, "old".into())].spec["namespaces"] == json!(["b"])
    };
    while !is_told(&seen) {
        seen.take(next(&mut events).await);
    }
    let space = &seen.0[&(Kind::RegistrySpace, "s".into())];
    assert_eq!(store.get(Kind::RegistrySpace, "s").await.unwrap().unwrap().spec, space.spec);
}

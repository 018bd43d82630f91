//! A store whose failures are counted is the store that it counts for.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pullgate::domain::record::Kind;
use pullgate::metrics::Metrics;
use pullgate::store::counted::Counted;
use pullgate::store::{CredentialChange, Precondition, RecordStore, StoreError};

use crate::store_contract::{Subject, create, workspace};
use crate::support::memory_store::MemoryStore;

pub fn subject() -> Subject {
    let mut subject = crate::store_embedded::subject();
    subject.store = Arc::new(Counted::new(subject.store, Arc::new(Metrics::new().unwrap())));
    subject
}

#[tokio::test]
async fn failures_are_counted_and_refusals_are_not() {
    let (memory, metrics) = (Arc::new(MemoryStore::default()), Arc::new(Metrics::new().unwrap()));
    let store = Counted::new(memory.clone(), metrics.clone());
    let document = create(&store, workspace("w", &[])).await;
    let again = store.put(document, Precondition::Absent, CredentialChange::Keep).await;
    assert!(matches!(again, Err(StoreError::Exists { .. })));
    memory.refusing.store(true, Ordering::SeqCst);
    assert!(matches!(store.delete(Kind::Workspace, "w", "1").await, Err(StoreError::Refused { .. })));
    memory.refusing.store(false, Ordering::SeqCst);
    memory.broken.store(true, Ordering::SeqCst);
    assert!(store.get(Kind::Workspace, "w").await.is_err());
    assert!(store.list(Kind::Workspace, None, 1).await.is_err());
    assert!(store.delete(Kind::Workspace, "w", "1").await.is_err());
    let text = metrics.render().unwrap();
    for line in [r#"{operation="read"} 2"#, r#"{operation="write"} 1"#, r#"{operation="watch"} 0"#] {
        assert!(text.contains(&format!("pullgate_store_errors_total{line}")), "{line}: {text}");
    }
}

crate::store_contract::contract!(counted, std::future::ready(crate::store_counted::subject()));

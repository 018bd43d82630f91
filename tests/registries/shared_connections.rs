//! Registries that are connected to in the same way share one HTTP client, and nothing that one of them has is another's.

use std::sync::Arc;

use futures::future::join_all;
use pullgate::domain::record::{Entry, Kind, Name, Record, Registry, RegistryType, Tls};
use pullgate::registry::address::AddressPolicy;
use pullgate::registry::clients::Clients;
use pullgate::registry::http::Target;
use pullgate::registry::http_clients::HttpClients;
use pullgate::registry::{self, RegistryClient};
use pullgate::types::{Document, convert};
use serde_json::json;

use super::outcomes::target;
use crate::doubles::basic::basic;
use crate::doubles::certificates::Leaf;
use crate::doubles::harbor::{Harbor, Options};
use crate::doubles::journal::Seen;
use crate::support::memory_store::MemoryStore;

const ADMIN: (&str, &str) = ("admin", "Harbor12345");

fn secured() -> Harbor {
    Harbor::start(Options { tls: Some(Leaf::Good), ..Options::default() })
}

fn trusting(ca: &str) -> Tls {
    Tls { ca: Some(ca.to_owned()), skip_verify: false }
}

fn among(clients: &HttpClients, target: Target) -> Arc<dyn RegistryClient> {
    registry::client_among(RegistryType::Harbor, target, clients).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn registries_with_the_same_tls_settings_share_a_client_and_no_credential() {
    let (harbor, clients) = (secured(), HttpClients::default());
    let users: Vec<String> = (0..20).map(|n| format!("user-{n}")).collect();
    for user in &users {
        harbor.add_user(user, &format!("Secret-of-{user}"));
    }
    let sharing: Vec<_> = users
        .iter()
        .map(|user| {
            let login = target(&harbor.url(), Some((user, &format!("Secret-of-{user}"))));
            among(&clients, Target { tls: trusting(harbor.ca()), ..login })
        })
        .collect();
    assert_eq!(clients.count(), 1);
    for checked in join_all(sharing.iter().map(|client| client.check())).await {
        checked.unwrap();
    }
    // Every login that Harbor saw is one of theirs, each user's own as often as anybody's, and no cookie came back.
    let seen = harbor.journal.requests();
    let logins: Vec<_> = seen.iter().filter_map(|seen| basic(&seen.headers)).collect();
    let of = |user: &String| {
        let own = (user.clone(), format!("Secret-of-{user}"));
        logins.iter().filter(|login| **login == own).count()
    };
    let each = of(&users[0]);
    assert!(each > 0 && users.iter().all(|user| of(user) == each));
    assert_eq!(logins.len(), each * users.len());
    assert!(!seen.iter().any(Seen::has_cookie));
    drop(sharing);
    assert_eq!(clients.count(), 0, "nobody uses one");
}

/// A pooled connection was made by the rules of whoever made it; others with stricter ones get none of it.
#[tokio::test(flavor = "multi_thread")]
async fn no_registry_gets_a_connection_that_it_could_not_have_made() {
    let (harbor, other, clients) = (secured(), secured(), HttpClients::default());
    let port = harbor.host().rsplit(':').next().unwrap().to_owned();
    let at = |url: &str, tls: Tls, reach: AddressPolicy| {
        among(&clients, Target { tls, reach, ..target(url, Some(ADMIN)) })
    };
    let any = Tls { ca: None, skip_verify: true };
    let lenient = at(&harbor.url(), any.clone(), AddressPolicy::Anywhere);
    lenient.check().await.unwrap();
    let right = at(&harbor.url(), trusting(harbor.ca()), AddressPolicy::Anywhere);
    right.check().await.unwrap();
    assert_eq!(clients.count(), 2);
    for tls in [trusting(other.ca()), Tls::default()] {
        let strict = at(&harbor.url(), tls, AddressPolicy::Anywhere);
        assert_eq!(clients.count(), 3);
        assert_eq!(strict.check().await.unwrap_err().reason(), "TlsUnknownCA");
    }
    // By name, since a name is vetted by whoever connects and by nobody else.
    let by_name = format!("https://localhost:{port}");
    at(&by_name, any.clone(), AddressPolicy::Anywhere).check().await.unwrap();
    let tenants = at(&by_name, any, AddressPolicy::Public { and: Arc::new([]) });
    assert_eq!(tenants.check().await.unwrap_err().reason(), "AddressForbidden");
}

#[tokio::test]
async fn clients_of_records_that_are_gone_or_changed_are_dropped() {
    let (one, other) = (secured(), secured());
    let clients = Clients::new(Arc::new(MemoryStore::default()), Arc::new([]));
    let name = |n: usize| Name::from(format!("registry-{n}"));
    let record = |n: usize, ca: &str| -> Registry {
        let spec =
            json!({"type": "Docker", "url": format!("https://r{n}.example.com"), "tls": {"caBundle": ca}});
        match convert::record(&Document::new(Kind::Registry, name(n), spec)) {
            Record::Registry(Entry::Valid(registry)) => registry,
            other => panic!("{other:?}"),
        }
    };
    for n in 0..50 {
        clients.of(&name(n), &record(n, one.ca())).await.unwrap();
    }
    assert_eq!(clients.http().count(), 1);
    clients.of(&name(0), &record(0, other.ca())).await.unwrap();
    assert_eq!(clients.http().count(), 2);
    clients.of(&name(0), &record(0, one.ca())).await.unwrap();
    assert_eq!(clients.http().count(), 1, "the record changed back");
    for n in 0..50 {
        clients.forget(&name(n));
    }
    assert_eq!(clients.http().count(), 0);
}

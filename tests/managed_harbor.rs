//! What Harbors of the cluster say about themselves, and what their records take of it.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::DynamicObject;
use pullgate::controllers::managed_harbor::instance::{Instance, Objects, Source, address};
use pullgate::controllers::managed_harbor::{harbor_cluster, helm, record};
use pullgate::domain::record::Kind;
use pullgate::domain::records::Records;
use pullgate::store::{Credential, CredentialChange, rules};
use pullgate::types::{Document, names};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

fn secret(name: &str, version: &str, data: Value) -> (String, Secret) {
    let object = json!({"metadata": {"name": name, "resourceVersion": version}});
    let mut secret: Secret = serde_json::from_value(object).unwrap();
    let data: std::collections::BTreeMap<String, String> = serde_json::from_value(data).unwrap();
    secret.data = Some(data.into_iter().map(|(k, v)| (k, k8s_openapi::ByteString(v.into_bytes()))).collect());
    (name.to_owned(), secret)
}

fn config_map(name: &str, data: &Value) -> (String, ConfigMap) {
    (name.to_owned(), serde_json::from_value(json!({"metadata": {"name": name}, "data": data})).unwrap())
}

/// As the operator's samples have it.
fn cluster(change: impl FnOnce(&mut Value)) -> DynamicObject {
    let mut object = json!({
        "apiVersion": "goharbor.io/v1beta1", "kind": "HarborCluster",
        "metadata": {"name": "main", "namespace": "harbor", "uid": "u", "resourceVersion": "7"},
        "spec": {
            "externalURL": "https://core.harbor.example.com", "version": "2.10.0", "logLevel": "info",
            "harborAdminPasswordRef": "admin-core-credentials",
            "expose": {"core": {
                "ingress": {"host": "core.harbor.example.com"},
                "tls": {"certificateRef": "sample-public-certificate"},
            }},
            "database": {"kind": "Zlando/PostgreSQL"},
        },
        "status": {
            "status": "healthy", "operator": {"controllerVersion": "1.4.0"},
            "conditions": [{"type": "DatabaseReady", "status": "True", "reason": "database is ready"}],
        },
    });
    change(&mut object);
    serde_json::from_value(object).unwrap()
}

fn cluster_objects() -> Objects {
    Objects {
        secrets: [
            secret("admin-core-credentials", "11", json!({"secret": "Harbor12345"})),
            secret("sample-public-certificate", "12", json!({"ca.crt": PEM, "tls.crt": "c", "tls.key": "k"})),
        ]
        .into(),
        ..Objects::default()
    }
}

/// As the chart renders it.
fn core(change: impl FnOnce(&mut Value)) -> Deployment {
    let labels = json!({"app": "harbor", "chart": "harbor", "component": "core", "heritage": "Helm",
                        "release": "prod", "app.kubernetes.io/version": "2.14.0"});
    let mut object = json!({
        "metadata": {"name": "prod-harbor-core", "namespace": "harbor", "labels": labels},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"component": "core"}},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{
                "name": "core", "image": "goharbor/harbor-core:v2.14.0",
                "envFrom": [{"configMapRef": {"name": "prod-harbor-core"}}, {"secretRef": {"name": "prod-harbor-core"}}],
                "env": [{"name": "CORE_SECRET", "valueFrom": {"secretKeyRef": {"name": "prod-harbor-core", "key": "secret"}}}],
            }]}},
        },
        "status": {"replicas": 1, "availableReplicas": 1},
    });
    change(&mut object);
    serde_json::from_value(object).unwrap()
}

fn core_objects() -> Objects {
    Objects {
        secrets: [
            secret("prod-harbor-core", "21", json!({"HARBOR_ADMIN_PASSWORD": "Harbor12345", "secret": "x"})),
            secret("prod-harbor-ingress", "22", json!({"ca.crt": PEM, "tls.crt": "c", "tls.key": "k"})),
        ]
        .into(),
        config_maps: [config_map("prod-harbor-core", &json!({"EXT_ENDPOINT": "https://harbor.example.com"}))]
            .into(),
    }
}

fn installed() -> Instance {
    helm::read(&core(|_| {}), &core_objects()).unwrap()
}

fn trouble(instance: &Instance) -> (&str, &str) {
    instance.trouble().expect("it is in step")
}

#[test]
fn a_harbor_cluster_names_its_address_password_and_ca() {
    let object = cluster(|_| {});
    let wanted = harbor_cluster::wanted(&object);
    assert_eq!(
        Vec::from_iter(wanted.secrets),
        ["admin-core-credentials".to_owned(), "sample-public-certificate".to_owned()]
    );
    let instance = harbor_cluster::read(&object, &cluster_objects()).unwrap();
    assert!(instance.trouble().is_none());
    assert_eq!(instance.source.to_string(), "HarborCluster harbor/main");
    assert_eq!(instance.source.record(), "managed-harbor-main");
    assert_eq!(instance.url.as_deref(), Ok("https://core.harbor.example.com"));
    assert_eq!(instance.ca.as_deref(), Some(PEM));
    let password = instance.password.as_ref().unwrap();
    assert_eq!((&*password.username, password.password.expose_secret()), ("admin", "Harbor12345"));
    assert_eq!(password.version, "11");
    assert!(!format!("{instance:?}").contains("Harbor12345"));
}

#[test]
fn a_harbor_cluster_says_what_is_wrong_with_it() {
    let read = |change: fn(&mut Value)| harbor_cluster::read(&cluster(change), &cluster_objects()).unwrap();
    let failing = read(|o| {
        o["status"] = json!({"status": "unhealthy", "conditions": [
            {"type": "CacheReady", "status": "True"},
            {"type": "DatabaseReady", "status": "False", "message": "no\npostgres"},
        ]});
    });
    assert_eq!(trouble(&failing), ("Unhealthy", "its status is unhealthy: nopostgres"));
    let new = read(|o| o["status"] = Value::Null);
    assert_eq!(trouble(&new), ("Unhealthy", "its status is not known yet"));
    let leaving = read(|o| o["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
    assert_eq!(trouble(&leaving), ("Unhealthy", "it is being deleted"));
    let nowhere = read(|o| o["spec"]["externalURL"] = json!("https://admin:pw@harbor.example.com/x"));
    let (reason, message) = trouble(&nowhere);
    assert_eq!(reason, "NoAddress");
    assert!(message.contains("spec.externalURL") && !message.contains("pw"), "{message}");
    let unnamed = read(|o| o["spec"]["harborAdminPasswordRef"] = Value::Null);
    assert_eq!(trouble(&unnamed).0, "NoPassword");
    let missing = harbor_cluster::read(&cluster(|_| {}), &Objects::default()).unwrap();
    assert_eq!(trouble(&missing), ("NoPassword", "there is no Secret admin-core-credentials"));
    // Nothing of the wrong shape is more than missing.
    let odd = read(|o| o["spec"] = json!({"externalURL": 5, "expose": [], "harborAdminPasswordRef": {}}));
    assert_eq!(trouble(&odd).0, "NoAddress");
}

#[test]
fn a_release_of_the_chart_names_its_address_password_and_ca() {
    let instance = installed();
    assert!(instance.trouble().is_none());
    assert_eq!(instance.source.to_string(), "Helm harbor/prod-harbor");
    assert_eq!(instance.url.as_deref(), Ok("https://harbor.example.com"));
    assert_eq!(instance.ca.as_deref(), Some(PEM));
    assert_eq!(instance.password.as_ref().unwrap().version, "21");

    // `existingSecretAdminPassword`.
    let existing = core(|o| {
        let env = o["spec"]["template"]["spec"]["containers"][0]["env"].as_array_mut().unwrap();
        env.push(json!({"name": "HARBOR_ADMIN_PASSWORD",
                        "valueFrom": {"secretKeyRef": {"name": "mine", "key": "pw"}}}));
    });
    assert!(helm::wanted(&existing).secrets.contains("mine"));
    let mut objects = core_objects();
    objects.secrets.extend([secret("mine", "31", json!({"pw": "other"}))]);
    let instance = helm::read(&existing, &objects).unwrap();
    assert_eq!(instance.password.as_ref().unwrap().password.expose_secret(), "other");

    // Exposed without an ingress; and by a public certificate.
    objects.secrets.remove("prod-harbor-ingress");
    objects.secrets.extend([secret("prod-harbor-nginx", "32", json!({"ca.crt": PEM}))]);
    assert_eq!(helm::read(&existing, &objects).unwrap().ca.as_deref(), Some(PEM));
    objects.secrets.extend([secret("prod-harbor-nginx", "33", json!({"ca.crt": ""}))]);
    assert_eq!(helm::read(&existing, &objects).unwrap().ca, None);
}

#[test]
fn a_release_says_what_is_wrong_with_it() {
    let down = helm::read(&core(|o| o["status"] = json!({"replicas": 1})), &core_objects()).unwrap();
    assert_eq!(trouble(&down), ("Unhealthy", "no replica of Deployment prod-harbor-core is available"));
    let mut objects = core_objects();
    objects.secrets.extend([secret(
        "prod-harbor-core",
        "34",
        json!({"HARBOR_ADMIN_PASSWORD": "two\nlines"}),
    )]);
    let instance = helm::read(&core(|_| {}), &objects).unwrap();
    let (reason, message) = trouble(&instance);
    assert_eq!(reason, "NoPassword");
    assert!(!message.contains("lines"), "{message}");
    objects.config_maps.clear();
    let instance = helm::read(&core(|_| {}), &objects).unwrap();
    assert_eq!(trouble(&instance), ("NoAddress", "there is no ConfigMap prod-harbor-core"));
}

#[test]
fn other_deployments_are_none() {
    for change in [
        (|o: &mut Value| o["metadata"]["labels"]["component"] = json!("registry")) as fn(&mut Value),
        |o| o["metadata"]["labels"]["chart"] = json!("postgresql-1.2.3"),
        |o| o["metadata"]["labels"] = Value::Null,
        |o| o["metadata"]["name"] = json!("prod-harbor"),
        |o| o["metadata"]["name"] = json!("-core"),
    ] {
        assert!(helm::source(&core(change)).is_none());
        assert!(helm::read(&core(change), &core_objects()).is_none());
    }
    assert!(helm::source(&core(|o| o["metadata"]["labels"]["chart"] = json!("harbor-1.14.0"))).is_some());
}

#[test]
fn addresses_are_scheme_host_and_port() {
    for (text, expected) in [
        ("https://Harbor.example.com/", "https://harbor.example.com"),
        ("https://harbor.example.com:443", "https://harbor.example.com"),
        ("http://10.0.0.1:30002", "http://10.0.0.1:30002"),
    ] {
        assert_eq!(address(text, "f").as_deref(), Ok(expected));
    }
    for text in
        ["", "harbor.example.com", "https://h.io/harbor", "ftp://h.io", "https://u@h.io", "https://h.io?x"]
    {
        assert!(address(text, "f").is_err(), "{text}");
    }
}

#[test]
fn sources_and_names_of_records_lead_to_each_other() {
    for text in ["HarborCluster harbor/main", "Helm harbor/prod-harbor"] {
        assert_eq!(Source::parse(text).unwrap().to_string(), text);
    }
    for text in ["", "Helm", "Helm harbor", "Other harbor/main", "harbor/main"] {
        assert!(Source::parse(text).is_none(), "{text}");
    }
    let long = "x".repeat(63);
    for (namespace, name) in
        [("harbor", "a.b"), (&*long, "main"), (&*long, &*"y.".repeat(120)), ("n", &*long)]
    {
        let found = names::managed(namespace, name);
        let spec = json!({"type": "Harbor", "url": "https://h.io", "credential": {"name": names::credential(&found)}});
        let document = Document::new(Kind::Registry, found.as_str(), spec);
        assert!(rules::problems(&Records::default(), &document).is_empty(), "{found}");
    }
    assert_ne!(names::managed(&long, "a"), names::managed(&long, "b"));
}

/// The record and the credential that a pass leaves.
fn follow(
    before: Option<&Document>,
    instance: &Instance,
    stored: Option<&Credential>,
) -> (Document, Option<Credential>) {
    let (document, change) = record::following(before, instance, stored);
    match change {
        CredentialChange::Set(credential) => (document, Some(credential)),
        CredentialChange::Keep => (document, stored.cloned()),
        CredentialChange::Remove => panic!("nothing removes it"),
    }
}

fn password(credential: Option<&Credential>) -> &str {
    credential.unwrap().password.expose_secret()
}

/// The instance with another password in the Secret of this version.
fn with_password(text: &str, version: &str) -> Instance {
    let mut instance = installed();
    let password = instance.password.as_mut().unwrap();
    (password.password, password.version) = (text.into(), version.to_owned());
    instance
}

#[test]
fn a_record_is_made_and_then_stays_as_it_is() {
    let (document, stored) = follow(None, &installed(), None);
    assert!(rules::problems(&Records::default(), &document).is_empty());
    assert_eq!(
        document.spec,
        json!({"type": "Harbor", "url": "https://harbor.example.com", "source": "Helm harbor/prod-harbor",
               "tls": {"caBundle": PEM}, "credential": {"name": "registry-managed-harbor-prod-harbor"}})
    );
    assert_eq!(document.status["integrated"], "Automatic");
    assert!(record::is_automatic(&document));
    let managed = &document.status["conditions"][0];
    assert_eq!(
        (&managed["type"], &managed["status"], &managed["reason"]),
        (&json!("Managed"), &json!("True"), &json!("InStep"))
    );
    let credential = stored.as_ref().unwrap();
    assert_eq!(credential.audience, "https://harbor.example.com harbor.example.com for the platform");
    assert!(!document.status.to_string().contains("Harbor12345"));
    let (again, change) = record::following(Some(&document), &installed(), stored.as_ref());
    assert_eq!(again, document);
    assert!(matches!(change, CredentialChange::Keep));
}

#[test]
fn what_is_the_instances_is_put_back_and_what_is_the_administrators_stays() {
    let (mut document, stored) = follow(None, &installed(), None);
    document.spec["imageHosts"] = json!(["harbor.example.com", "registry.example.com"]);
    document.spec["pullCredentials"] = json!("Integration");
    document.spec["tls"]["insecureSkipVerify"] = json!(true);
    document.spec["url"] = json!("https://elsewhere.example.com");
    let (document, stored) = follow(Some(&document), &installed(), stored.as_ref());
    assert_eq!(document.spec["url"], "https://harbor.example.com");
    assert_eq!(document.spec["imageHosts"][1], "registry.example.com");
    assert_eq!(document.spec["pullCredentials"], "Integration");
    assert_eq!(document.spec["tls"], json!({"caBundle": PEM, "insecureSkipVerify": true}));
    // The password is given for the hosts that the record has now.
    let audience = "https://harbor.example.com harbor.example.com registry.example.com for the platform";
    assert_eq!(stored.unwrap().audience, audience);
}

#[test]
fn a_ca_goes_with_the_instances_and_an_administrators_stays() {
    let (document, stored) = follow(None, &installed(), None);
    let mut public = installed();
    public.ca = None;
    let (mut document, stored) = follow(Some(&document), &public, stored.as_ref());
    assert_eq!(document.spec.get("tls"), None);
    document.spec["tls"] = json!({"caBundle": "-----BEGIN CERTIFICATE-----\nmine"});
    let (again, _) = follow(Some(&document), &public, stored.as_ref());
    assert_eq!(again.spec, document.spec);
}

#[test]
fn the_password_follows_changes_of_the_instances() {
    let (document, stored) = follow(None, &installed(), None);
    let (document, stored) = follow(Some(&document), &with_password("second", "40"), stored.as_ref());
    assert_eq!(password(stored.as_ref()), "second");
    // An address of its own has no claim to a password that was given for another.
    let mut moved = with_password("second", "40");
    moved.url = Ok("https://new.example.com".to_owned());
    let (_, stored) = follow(Some(&document), &moved, stored.as_ref());
    assert!(stored.unwrap().audience.starts_with("https://new.example.com new.example.com "));
}

fn say_of_credentials(document: &mut Document, status: &str) {
    let conditions = document.status["conditions"].as_array_mut().unwrap();
    let condition = conditions.iter_mut().find(|condition| condition["type"] == "CredentialsValid").unwrap();
    condition["status"] = json!(status);
}

#[test]
fn a_password_that_an_administrator_gave_stays() {
    let (mut document, stored) = follow(None, &installed(), None);
    let given = Credential { password: "changed-in-harbor".into(), ..stored.unwrap() };
    document.status["conditions"]
        .as_array_mut()
        .unwrap()
        .push(json!({"type": "CredentialsValid", "status": "False", "reason": "Rejected", "message": "",
               "lastTransitionTime": "2026-01-01T00:00:00Z"}));
    // The condition may still be that of the old one.
    let (document, stored) = follow(Some(&document), &installed(), Some(&given));
    assert_eq!(password(stored.as_ref()), "changed-in-harbor");
    // An upgrade writes the Secret anew with what it had. The given one works.
    let mut document = document;
    say_of_credentials(&mut document, "True");
    let upgraded = with_password("Harbor12345", "50");
    let (mut document, stored) = follow(Some(&document), &upgraded, stored.as_ref());
    assert_eq!(password(stored.as_ref()), "changed-in-harbor");
    // It no longer does: the Secret has something that was not tried since.
    say_of_credentials(&mut document, "False");
    let (document, stored) = follow(Some(&document), &upgraded, stored.as_ref());
    assert_eq!(password(stored.as_ref()), "Harbor12345");
    let (_, stored) = follow(Some(&document), &upgraded, Some(&given));
    assert_eq!(password(stored.as_ref()), "changed-in-harbor");
}

#[test]
fn what_an_instance_no_longer_says_stays_as_it_was() {
    let (document, stored) = follow(None, &installed(), None);
    let mut broken = installed();
    (broken.url, broken.password) = (Err("no address".to_owned()), Err("no password".to_owned()));
    broken.health = Err("down".to_owned());
    let (after, kept) = follow(Some(&document), &broken, stored.as_ref());
    assert_eq!(after.spec, document.spec);
    assert_eq!(password(kept.as_ref()), "Harbor12345");
    let managed = &after.status["conditions"][0];
    assert_eq!((&managed["reason"], &managed["message"]), (&json!("NoAddress"), &json!("no address")));
}

#[test]
fn only_a_harbor_of_the_platform_follows_an_instance() {
    let spec = json!({"type": "Harbor", "url": "https://h.io", "source": "Helm harbor/prod-harbor", "workspace": "w"});
    let problems = rules::problems(&Records::default(), &Document::new(Kind::Registry, "r", spec));
    assert!(problems.iter().any(|p| p.field == "spec.source"), "{problems:?}");
    let spec = json!({"type": "Docker", "url": "https://h.io", "source": "Helm harbor/prod-harbor"});
    assert!(!rules::problems(&Records::default(), &Document::new(Kind::Registry, "r", spec)).is_empty());
}

//! Everything else that reaches the webhooks: templates, subresources, other operations, mirror pods.

use pullgate::domain::record::{Mode, Unmanaged};
use serde_json::{Value, json};

use crate::support::records::policy;
use crate::support::webhooks::{
    FOREIGN, MUTATE, NAMESPACE, OWN, PUBLIC, UNMANAGED, VALIDATE, Webhooks, container, creation,
    image_volume, recording, tenants, through_subresource, update,
};

/// Group, version, kind and resource of what makes pods, and where its template lies.
const WORKLOADS: [(&str, &str, &str, &str, &str); 8] = [
    ("apps", "v1", "Deployment", "deployments", "/spec/template"),
    ("apps", "v1", "ReplicaSet", "replicasets", "/spec/template"),
    ("apps", "v1", "StatefulSet", "statefulsets", "/spec/template"),
    ("apps", "v1", "DaemonSet", "daemonsets", "/spec/template"),
    ("batch", "v1", "Job", "jobs", "/spec/template"),
    ("batch", "v1", "CronJob", "cronjobs", "/spec/jobTemplate/spec/template"),
    ("", "v1", "PodTemplate", "podtemplates", "/template"),
    ("", "v1", "ReplicationController", "replicationcontrollers", "/spec/template"),
];

/// A review of the kind, with `object` in place of the recorded pod.
fn review_of(group: &str, version: &str, kind: &str, resource: &str, object: Value) -> Value {
    let mut review = recording("validate-create-pods-3");
    let request = &mut review["request"];
    for field in ["kind", "requestKind"] {
        request[field] = json!({"group": group, "version": version, "kind": kind});
    }
    for field in ["resource", "requestResource"] {
        request[field] = json!({"group": group, "version": version, "resource": resource});
    }
    request["object"] = object;
    review
}

/// An object with a pod template where the kind has it.
fn templated(path: &str, spec: &Value) -> Value {
    let template = json!({"metadata": {"labels": {"app": "x"}}, "spec": spec});
    path.rsplit('/').filter(|s| !s.is_empty()).fold(template, |inner, name| json!({name: inner}))
}

#[test]
fn templates_are_warned_of_and_never_denied() {
    let webhooks = Webhooks::new(&tenants());
    let spec = json!({
        "initContainers": [container("i", FOREIGN, "IfNotPresent")],
        "containers": [container("c", UNMANAGED, "IfNotPresent"), container("own", OWN, "Never"), container("bad", "!", "")],
        "volumes": [image_volume("v", FOREIGN, "IfNotPresent")],
    });
    for (group, version, kind, resource, path) in WORKLOADS {
        let mut review = review_of(group, version, kind, resource, templated(path, &spec));
        for operation in ["CREATE", "UPDATE"] {
            review["request"]["operation"] = json!(operation);
            if operation == "UPDATE" {
                review["request"]["oldObject"] = review["request"]["object"].clone();
            }
            let answer = webhooks.validate(&review);
            assert!(answer.allowed(), "{kind}");
            assert_eq!(
                answer.warnings(),
                [
                    &*format!(
                        "its pods will be denied: image {FOREIGN} (init container i): space team-b of registry corp is \
                         private and not bound to this namespace's workspace; ask a platform admin to bind it"
                    ),
                    "its pods will be denied: image ! (container bad): not an image reference that can be admitted: its \
                     repository path is malformed",
                    &*format!(
                        "its pods will be denied: image {FOREIGN} (image volume v): space team-b of registry corp is \
                         private and not bound to this namespace's workspace; ask a platform admin to bind it"
                    ),
                ],
                "{kind} {operation}"
            );
            assert!(webhooks.mutate(&review).patch().is_empty(), "{kind}: templates stay as they are");
        }
    }
}

#[test]
fn harmless_templates_and_those_without_a_pod_pass_in_silence() {
    let webhooks = Webhooks::new(&tenants());
    let spec =
        json!({"containers": [container("c", PUBLIC, "IfNotPresent"), container("d", OWN, "IfNotPresent")]});
    for (group, version, kind, resource, path) in WORKLOADS {
        let harmless = templated(path, &spec);
        for object in
            [harmless, json!({}), json!({"spec": {}}), json!({"spec": null}), templated(path, &json!(null))]
        {
            let answer = webhooks.validate(&review_of(group, version, kind, resource, object));
            assert!(answer.allowed() && answer.warnings().is_empty(), "{kind}");
        }
    }
}

#[test]
fn warnings_follow_the_mode() {
    let spec = json!({"containers": [container("c", FOREIGN, "IfNotPresent")]});
    let review = review_of("apps", "v1", "Deployment", "deployments", templated("/spec/template", &spec));
    let warnings = |mode| {
        let mut all = tenants();
        all.put(
            "p".into(),
            <(_, _)>::from(policy("p", Unmanaged::Allow).for_namespaces(&[NAMESPACE]).mode(mode)).1,
        );
        Webhooks::new(&all).validate(&review).warnings().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(warnings(Mode::Enforce)[0].starts_with("its pods will be denied: image "));
    assert!(warnings(Mode::Warn)[0].starts_with("image "));
    assert!(warnings(Mode::Audit).is_empty());
}

#[test]
fn warnings_about_thousands_of_images_keep_within_the_servers_limits() {
    let webhooks = Webhooks::new(&tenants());
    let name = "x".repeat(2000);
    let many: Vec<_> =
        (0..1000).map(|_| container(&name, &format!("{FOREIGN}\u{0}\u{7f}{name}"), "")).collect();
    let object = templated("/spec/template", &json!({"containers": many}));
    let answer = webhooks.validate(&review_of("apps", "v1", "Deployment", "deployments", object));
    assert!(answer.allowed());
    assert_eq!(answer.warnings().len(), 9);
    assert_eq!(answer.warnings()[8], "and more images");
}

#[test]
fn subresources_that_cannot_set_images_pass() {
    let webhooks = Webhooks::new(&tenants());
    let forbidden = json!({"containers": [container("c", FOREIGN, "Never")]});
    let harmless = json!({"containers": [container("c", UNMANAGED, "Never")]});
    for name in ["status", "resize"] {
        let mut review = update(&harmless, &forbidden);
        through_subresource(&mut review, name);
        assert_passes(&webhooks, &review, name);
    }
    let pod_reference = json!({"apiVersion": "v1", "kind": "Node", "name": "node-1"});
    for (group, kind, resource, sub, operation, object) in [
        ("", "Binding", "pods", "binding", "CREATE", json!({"target": pod_reference})),
        ("policy", "Eviction", "pods", "eviction", "CREATE", json!({"metadata": {"name": "x"}})),
        (
            "authentication.k8s.io",
            "TokenRequest",
            "serviceaccounts",
            "token",
            "CREATE",
            json!({"spec": {"audiences": []}}),
        ),
        ("autoscaling", "Scale", "deployments", "scale", "UPDATE", json!({"spec": {"replicas": 3}})),
        (
            "autoscaling",
            "Scale",
            "replicationcontrollers",
            "scale",
            "UPDATE",
            json!({"spec": {"replicas": 3}}),
        ),
    ] {
        let mut review = review_of(group, "v1", kind, resource, object);
        review["request"]["operation"] = json!(operation);
        through_subresource(&mut review, sub);
        assert_passes(&webhooks, &review, kind);
    }
    let mut status =
        review_of("apps", "v1", "Deployment", "deployments", templated("/spec/template", &forbidden));
    status["request"]["operation"] = json!("UPDATE");
    through_subresource(&mut status, "status");
    assert_passes(&webhooks, &status, "deployments/status");
}

/// Allowed by both webhooks, with nothing to add.
fn assert_passes(webhooks: &Webhooks, review: &Value, what: &str) {
    let expected = json!({"uid": review["request"]["uid"], "allowed": true});
    for path in [MUTATE, VALIDATE] {
        assert_eq!(*webhooks.ask(path, review).response(), expected, "{what} at {path}");
    }
}

#[test]
fn deletions_and_connections_pass_whatever_their_kind() {
    let webhooks = Webhooks::new(&tenants());
    let pod = json!({"spec": {"containers": [container("c", FOREIGN, "Never")]}});
    let others = [
        ("", "v1", "Pod", "pods", ""),
        ("", "v1", "PodExecOptions", "pods", ""),
        ("", "v1", "PodAttachOptions", "pods", ""),
        ("", "v1", "Namespace", "namespaces", ""),
        ("example.com", "v1alpha1", "Whatever", "whatevers", ""),
        ("", "v2", "Pod", "pods", ""),
    ];
    for (group, version, kind, resource, _) in WORKLOADS.into_iter().chain(others) {
        for operation in ["DELETE", "CONNECT"] {
            for (object, old) in [
                (json!(null), pod.clone()),
                (pod.clone(), json!(null)),
                (json!({"command": ["sh"]}), json!(null)),
            ] {
                for sub in [None, Some(""), Some("exec"), Some("attach"), Some("ephemeralcontainers")] {
                    let mut review = review_of(group, version, kind, resource, object.clone());
                    review["request"]["operation"] = json!(operation);
                    review["request"]["oldObject"] = old.clone();
                    if let Some(sub) = sub {
                        through_subresource(&mut review, sub);
                    }
                    assert_passes(&webhooks, &review, &format!("{operation} {kind}/{sub:?}"));
                }
            }
        }
    }
}

#[test]
fn kinds_that_nobody_should_send_are_refused_with_the_cause() {
    let webhooks = Webhooks::new(&tenants());
    let pod = creation(&json!({}))["request"]["object"].clone();
    for (group, version, kind) in [
        ("", "v1", "Namespace"),
        ("", "v2", "Pod"),
        ("", "v1", "pod"),
        ("apps", "v1", "Pod"),
        ("apps", "v1beta1", "Deployment"),
        ("", "v1", ""),
        ("", "v1", "Pod\u{0}\n"),
        ("example.com", "v1", "Deployment"),
    ] {
        for path in [MUTATE, VALIDATE] {
            let answer = webhooks.ask(path, &review_of(group, version, kind, "things", pod.clone()));
            assert!(!answer.allowed(), "{group}/{version} {kind}");
            assert_eq!(answer.response()["status"]["code"], 400);
            assert!(answer.message().starts_with("pullgate judges Pods and workload templates, not "));
            assert!(answer.message().ends_with("mend the rules of the webhook configuration"));
        }
    }
}

/// A static pod's mirror as the kubelet of `node` sends it, with an image that nobody here may pull.
fn mirror(node: &str) -> Value {
    let mut review =
        creation(&json!({"containers": [container("c", FOREIGN, "IfNotPresent")], "nodeName": node}));
    let annotations =
        json!({"kubernetes.io/config.mirror": "0123456789abcdef", "kubernetes.io/config.source": "file"});
    review["request"]["object"]["metadata"]["annotations"] = annotations;
    review["request"]["userInfo"] = json!({
        "username": format!("system:node:{node}"), "groups": ["system:nodes", "system:authenticated"],
    });
    review
}

#[test]
fn a_nodes_mirror_of_its_own_static_pod_passes_untouched() {
    let webhooks = Webhooks::new(&tenants());
    let review = mirror("node-1");
    assert!(webhooks.mutate(&review).patch().is_empty());
    let answer = webhooks.validate(&review);
    assert_eq!((answer.allowed(), answer.reasons()), (true, "Exempt"));
}

#[test]
fn a_mirror_by_anybody_else_is_judged() {
    let webhooks = Webhooks::new(&tenants());
    let judged = |what: &str, edit: &dyn Fn(&mut Value)| {
        let mut review = mirror("node-1");
        edit(&mut review["request"]);
        let answer = webhooks.validate(&review);
        assert_eq!((answer.allowed(), answer.reasons()), (false, "NotBound"), "{what}");
        assert_eq!(webhooks.mutate(&review).patch().len(), 2, "{what}");
    };
    judged("a tenant", &|r| r["userInfo"]["username"] = json!("jane"));
    judged("a service account", &|r| {
        r["userInfo"]["username"] = json!("system:serviceaccount:x:system:node:node-1");
    });
    judged("another node", &|r| r["userInfo"]["username"] = json!("system:node:node-2"));
    judged("a node whose name goes on", &|r| r["userInfo"]["username"] = json!("system:node:node-10"));
    judged("a node whose name is shorter", &|r| r["userInfo"]["username"] = json!("system:node:node-"));
    judged("letter case", &|r| r["userInfo"]["username"] = json!("System:Node:node-1"));
    judged("nobody", &|r| r["userInfo"] = json!({}));
    judged("without groups", &|r| r["userInfo"] = json!({"username": "system:node:node-1"}));
    judged("groups null", &|r| r["userInfo"]["groups"] = json!(null));
    judged("another group", &|r| {
        r["userInfo"]["groups"] = json!(["system:masters", "system:nodes2", "system:node"]);
    });
    judged("without the annotation", &|r| {
        r["object"]["metadata"]["annotations"] = json!({"config.mirror": "x"});
    });
    judged("annotations null", &|r| r["object"]["metadata"]["annotations"] = json!(null));
    judged("a label instead", &|r| {
        r["object"]["metadata"]["annotations"] = json!({});
        r["object"]["metadata"]["labels"] = json!({"kubernetes.io/config.mirror": "x"});
    });
    judged("no node yet", &|r| {
        r["object"]["spec"].as_object_mut().unwrap().remove("nodeName");
        r["userInfo"]["username"] = json!("system:node:");
    });
    judged("an empty node", &|r| {
        r["object"]["spec"]["nodeName"] = json!("");
        r["userInfo"]["username"] = json!("system:node:");
    });
}

#[test]
fn a_nodes_mirror_does_not_exempt_a_template() {
    let webhooks = Webhooks::new(&tenants());
    let pod = mirror("node-1")["request"]["object"].clone();
    let mut review = mirror("node-1");
    review["request"]["kind"] = json!({"group": "apps", "version": "v1", "kind": "Deployment"});
    review["request"]["object"] = json!({"metadata": pod["metadata"], "spec": {"template": pod}});
    assert_eq!(webhooks.validate(&review).warnings().len(), 1);
}

//! The rights that the chart gives, to a user whose part a replica takes.

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::Client;
use kube::api::{Api, DeleteParams};
use serde_json::{Value, json};

use super::world::{NAMED, apply};
use crate::control_plane::{client, namespace};

pub struct Rights {
    client: Client,
}

impl Rights {
    const USER: &str = "pullgate-managed-harbor-test";

    pub async fn install() -> Self {
        let client = client().await;
        namespace(&client, "pullgate-system").await;
        namespace(&client, NAMED).await;
        let installed: Vec<Value> =
            serde_saphyr::from_multiple(include_str!("../../../deploy/install.yaml")).unwrap();
        let rules = |kind: &str, name: &str| {
            let of = |o: &&Value| o["kind"] == kind && o["metadata"]["name"] == name;
            installed.iter().find(of).unwrap()["rules"].clone()
        };
        let this = Self { client };
        let (all, own) = (Api::<ClusterRole>::all(this.client.clone()), Self::USER);
        let role = json!({"rules": rules("ClusterRole", "pullgate")});
        apply(&all, own, role).await;
        apply(&Api::<ClusterRoleBinding>::all(this.client.clone()), own, Self::binding("ClusterRole")).await;
        let role = json!({"rules": rules("Role", "pullgate")});
        this.role("pullgate-system", role).await;
        let bindings = Api::<RoleBinding>::namespaced(this.client.clone(), "pullgate-system");
        apply(&bindings, own, Self::binding("Role")).await;
        // As the chart renders it: tests/deploy/variants/managed-harbor.diff.
        let reads = |group: &str, resources: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": ["get", "list", "watch"]});
        let rules = [
            reads("goharbor.io", &["harborclusters"]),
            reads("apps", &["deployments"]),
            reads("", &["configmaps", "secrets"]),
        ];
        this.role(NAMED, json!({ "rules": rules })).await;
        this.grant(true).await;
        this
    }

    async fn role(&self, namespace: &str, role: Value) {
        apply(&Api::<Role>::namespaced(self.client.clone(), namespace), Self::USER, role).await;
    }

    /// In the namespace that is looked into.
    pub async fn grant(&self, granted: bool) {
        let bindings = Api::<RoleBinding>::namespaced(self.client.clone(), NAMED);
        if granted {
            apply(&bindings, Self::USER, Self::binding("Role")).await;
        } else {
            bindings.delete(Self::USER, &DeleteParams::default()).await.unwrap();
        }
    }

    fn binding(kind: &str) -> Value {
        json!({
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": Self::USER},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": Self::USER}],
        })
    }

    /// The administrator's, as somebody else.
    pub fn kubeconfig() -> String {
        let path = std::env::var("KUBECONFIG").unwrap();
        let mut config: Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        for user in config["users"].as_array_mut().unwrap() {
            user["user"]["as"] = json!(Self::USER);
        }
        serde_json::to_string(&config).unwrap()
    }
}

//! What admission would do to the pods of a manifest: both webhooks in one look, for `check`.

use super::images::{ALWAYS, ImageUse, Pod, PullSecrets};
use crate::domain::decision::{Decision, Request, decide};
use crate::domain::record::UnixSeconds;
use crate::domain::snapshot::Scope;

/// How a kind of object makes pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodSource {
    /// It is one.
    Pod,
    /// From the template under this path.
    Template(&'static [&'static str]),
    /// Not at all.
    Nothing,
    /// Nobody here knows: where it makes some, its controller does, and they come to admission as Pods.
    Unknown,
    /// Its kind makes pods, but clusters serve it under this version only.
    Outdated(&'static str),
}

/// How the objects of a kind make pods; the kinds that the webhooks are registered for.
pub fn makes(api_version: &str, kind: &str) -> PodSource {
    let (served, makes) = match kind {
        "Pod" => ("v1", PodSource::Pod),
        "ReplicationController" => ("v1", PodSource::Template(&["spec", "template"])),
        "PodTemplate" => ("v1", PodSource::Template(&["template"])),
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" => {
            ("apps/v1", PodSource::Template(&["spec", "template"]))
        }
        "Job" => ("batch/v1", PodSource::Template(&["spec", "template"])),
        "CronJob" => ("batch/v1", PodSource::Template(&["spec", "jobTemplate", "spec", "template"])),
        _ => {
            return if makes_none(group(api_version), kind) {
                PodSource::Nothing
            } else {
                PodSource::Unknown
            };
        }
    };
    match group(api_version) {
        _ if api_version == served => makes,
        // `extensions/v1beta1` Deployments and the like; another group's Job is another thing.
        "" | "apps" | "batch" | "extensions" => PodSource::Outdated(served),
        _ => PodSource::Unknown,
    }
}

/// The API group of a version; empty for the core group.
pub fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// Whether a kind is one of Kubernetes itself, or of pullgate, that makes no pods.
fn makes_none(group: &str, kind: &str) -> bool {
    match group {
        "" => matches!(
            kind,
            "Binding"
                | "ComponentStatus"
                | "ConfigMap"
                | "Endpoints"
                | "Event"
                | "LimitRange"
                | "List"
                | "Namespace"
                | "Node"
                | "PersistentVolume"
                | "PersistentVolumeClaim"
                | "ResourceQuota"
                | "Secret"
                | "Service"
                | "ServiceAccount"
        ),
        "apps" => kind == "ControllerRevision",
        "extensions" => matches!(kind, "Ingress" | "NetworkPolicy" | "PodSecurityPolicy"),
        "autoscaling" | "policy" | "pullgate.io" => true,
        // Groups that Kubernetes serves itself, each to its whole name: anybody may end a group of their own alike.
        _ => matches!(
            group,
            "admissionregistration.k8s.io"
                | "apiextensions.k8s.io"
                | "apiregistration.k8s.io"
                | "authentication.k8s.io"
                | "authorization.k8s.io"
                | "certificates.k8s.io"
                | "coordination.k8s.io"
                | "discovery.k8s.io"
                | "events.k8s.io"
                | "flowcontrol.apiserver.k8s.io"
                | "internal.apiserver.k8s.io"
                | "networking.k8s.io"
                | "node.k8s.io"
                | "rbac.authorization.k8s.io"
                | "resource.k8s.io"
                | "scheduling.k8s.io"
                | "storage.k8s.io"
                | "storagemigration.k8s.io"
        ),
    }
}

/// What becomes of a pod.
#[derive(Debug)]
pub struct Preview<'r> {
    /// The reference to pullgate's Secret is appended.
    pub adds_pull_secret: bool,
    pub images: Vec<ImagePreview<'r>>,
}

/// What becomes of one image of a pod.
#[derive(Debug)]
pub struct ImagePreview<'r> {
    pub image: ImageUse<'r>,
    /// The validating webhook's, after the mutating one did its part.
    pub decision: Decision<'r>,
    /// The pull policy is changed to `Always`.
    pub sets_always: bool,
}

/// Judges a pod as it will be when the mutating webhook has seen it.
pub fn preview<'r>(scope: &Scope<'r>, pod: Pod<'r>, now: UnixSeconds) -> Preview<'r> {
    let judge = |image: ImageUse<'r>| {
        let decision = decide(scope, &Request { image: image.image, always: None, now });
        let sets_always = decision.needs_always && image.pull_policy != Some(ALWAYS);
        ImagePreview { image, decision, sets_always }
    };
    let images: Vec<_> = pod.images().map(judge).collect();
    let needed = images.iter().any(|image| image.decision.needs_credential);
    Preview { adds_pull_secret: scope.injects(needed) && pod.pull_secrets() != PullSecrets::Present, images }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart_by_group_and_version() {
        for (api_version, kind, expected) in [
            ("v1", "Pod", PodSource::Pod),
            ("v1", "Service", PodSource::Nothing),
            ("apps/v1", "Pod", PodSource::Outdated("v1")),
            ("apps/v1", "Deployment", PodSource::Template(&["spec", "template"])),
            ("apps/v1beta2", "Deployment", PodSource::Outdated("apps/v1")),
            ("batch/v1beta1", "CronJob", PodSource::Outdated("batch/v1")),
            ("batch.volcano.sh/v1alpha1", "Job", PodSource::Unknown),
            ("serving.knative.dev/v1", "Service", PodSource::Unknown),
            ("v1", "Rollout", PodSource::Unknown),
            ("rbac.authorization.k8s.io/v1", "Role", PodSource::Nothing),
            ("autoscaling/v2", "HorizontalPodAutoscaler", PodSource::Nothing),
        ] {
            assert_eq!(makes(api_version, kind), expected, "{api_version} {kind}");
        }
    }
}

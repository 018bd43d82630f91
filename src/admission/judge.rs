//! What the webhooks do with a review: which images are judged, what is refused, warned of or patched.
//!
//! Pure but for the snapshot and the time that are passed in; the handlers, `check` and the tests share it.

use crate::domain::decision::{Decision, PullSecretList, Reason, Request, decide};
use crate::domain::record::UnixSeconds;
use crate::domain::snapshot::{Scope, Snapshot};

use super::images::{ALWAYS, ImageUse, Object, Pod, PullSecrets};
use super::patch::Patch;
use super::review::{Operation, Review, shown};

/// What a review is about.
enum Subject<'r> {
    /// A pod that is made: every image.
    NewPod(Pod<'r>),
    /// A pod that changes: the images that `old` did not have.
    ChangedPod { pod: Pod<'r>, old: Pod<'r> },
    /// Something that makes pods later.
    Template(Pod<'r>),
    /// Nothing that could name an image.
    NoImages,
}

/// The judged images of a review.
#[derive(Debug)]
pub struct Verdict<'r> {
    pub kind: VerdictKind,
    pub images: Vec<(ImageUse<'r>, Decision<'r>)>,
}

/// How the verdict binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerdictKind {
    /// A pod: denials refuse it.
    Pod,
    /// A workload's template: denials are warnings about the pods to come.
    Template,
}

/// A review that cannot be judged; never allowed.
#[derive(Debug, PartialEq, Eq)]
pub struct Unjudgeable(pub String);

/// Judges every image of a review as the validating webhook does.
///
/// # Errors
/// The review names no namespace, has no object, or is of a kind that pullgate does not know.
pub fn judge<'r>(
    snapshot: &'r Snapshot,
    review: &'r Review<'_>,
    now: UnixSeconds,
) -> Result<Verdict<'r>, Unjudgeable> {
    let (pod, old, kind) = match subject(review)? {
        Subject::NewPod(pod) => (pod, None, VerdictKind::Pod),
        Subject::ChangedPod { pod, old } => (pod, Some(old), VerdictKind::Pod),
        Subject::Template(pod) => (pod, None, VerdictKind::Template),
        Subject::NoImages => return Ok(Verdict { kind: VerdictKind::Pod, images: Vec::new() }),
    };
    // A template's pods still pass the mutating webhook, which adds and sets what is missing.
    let to_come = kind == VerdictKind::Template;
    let list = if old.is_some() { PullSecretList::Fixed } else { PullSecretList::Open };
    let lacks_pull_secret = !to_come && pod.pull_secrets() != PullSecrets::Present;
    let old = old.map(Pod::former_images);
    let scope = snapshot.scope(&review.namespace);
    let exempt = !to_come && review.is_mirror_of_a_node(pod);
    let verdict = |image: ImageUse<'r>| {
        let decision = if exempt {
            Decision::plain(Reason::Exempt)
        } else if old.as_ref().is_some_and(|old| old.have(&image)) {
            Decision::plain(Reason::Unchanged)
        } else {
            let always = (!to_come).then_some(image.pull_policy == Some(ALWAYS));
            let mut decision = decide(&scope, &Request { image: image.image, always, now });
            if lacks_pull_secret {
                decision.without_pull_secret(list);
            }
            decision
        };
        (image, decision)
    };
    Ok(Verdict { kind, images: pod.images().map(verdict).collect() })
}

/// What the mutating webhook changes; `count` gets every decision on the way.
///
/// # Errors
/// Those of [`judge`].
pub fn mutate(
    snapshot: &Snapshot,
    review: &Review<'_>,
    now: UnixSeconds,
    mut count: impl FnMut(&Decision<'_>),
) -> Result<Patch, Unjudgeable> {
    let scope = snapshot.scope(&review.namespace);
    let mut patch = Patch::default();
    match subject(review)? {
        Subject::NewPod(pod) if !review.is_mirror_of_a_node(pod) => {
            let whatever_it_uses = scope.injects(false);
            if whatever_it_uses {
                patch.add_pull_secret(pod.pull_secrets());
            }
            let needed = always_where_needed(&scope, pod.images(), now, &mut patch, &mut count);
            if !whatever_it_uses && scope.injects(needed) {
                patch.add_pull_secret(pod.pull_secrets());
            }
        }
        // Nothing but ephemeral containers can be added to a pod with a pull policy of its own.
        Subject::ChangedPod { pod, old } if &*review.sub_resource == EPHEMERAL_CONTAINERS => {
            let old = old.former_images();
            let new = pod.images().filter(|image| !old.have(image));
            always_where_needed(&scope, new, now, &mut patch, &mut count);
        }
        // Set when the pod was made, and never to be changed: a manifest without it would be refused when it is applied
        // again. Whether the image still asks for it does not matter.
        Subject::ChangedPod { pod, old } if review.sub_resource.is_empty() && !scope.exempt() => {
            let always = old.always_pulled();
            pod.images().filter(|image| always.lose(image)).for_each(|image| patch.set_always(&image));
        }
        _ => {}
    }
    Ok(patch)
}

/// Sets the pull policy where it has to be; whether an image needs a credential.
fn always_where_needed<'r>(
    scope: &Scope<'_>,
    images: impl Iterator<Item = ImageUse<'r>>,
    now: UnixSeconds,
    patch: &mut Patch,
    count: &mut impl FnMut(&Decision<'_>),
) -> bool {
    let mut needed = false;
    for image in images {
        let decision = decide(scope, &Request { image: image.image, always: None, now });
        count(&decision);
        needed |= decision.needs_credential;
        if decision.needs_always && image.pull_policy != Some(ALWAYS) {
            patch.set_always(&image);
        }
    }
    needed
}

const EPHEMERAL_CONTAINERS: &str = "ephemeralcontainers";

/// Which pods of a review are to be looked at.
fn subject<'r>(review: &'r Review<'_>) -> Result<Subject<'r>, Unjudgeable> {
    let [group, version, kind] = [&review.kind.group, &review.kind.version, &review.kind.kind]
        .map(|part| part.as_deref().unwrap_or_default());
    let of_pod = match (group, version, kind) {
        ("", "v1", "Pod") => true,
        ("apps", "v1", "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet")
        | ("batch", "v1", "Job" | "CronJob")
        | ("", "v1", "PodTemplate" | "ReplicationController") => false,
        // Scale, Eviction, Binding and the like come as subresources and name no image.
        _ if !review.sub_resource.is_empty() => return Ok(Subject::NoImages),
        _ if !matches!(review.operation, Operation::Create | Operation::Update) => {
            return Ok(Subject::NoImages);
        }
        (group, version, kind) => {
            return Err(Unjudgeable(format!(
                "pullgate judges Pods and workload templates, not {}/{} {}; mend the rules of the webhook \
                 configuration",
                shown(group),
                shown(version),
                shown(kind)
            )));
        }
    };
    let images_may_change = matches!(&*review.sub_resource, "" | EPHEMERAL_CONTAINERS);
    if !images_may_change || !matches!(review.operation, Operation::Create | Operation::Update) {
        return Ok(Subject::NoImages);
    }
    if review.namespace.is_empty() {
        return Err(Unjudgeable("the request names no namespace".to_owned()));
    }
    let missing = |what: &str| Unjudgeable(format!("the request has no {what}"));
    let object = review.object.as_ref().ok_or_else(|| missing("object"))?;
    if !of_pod {
        return Ok(object.template().map_or(Subject::NoImages, Subject::Template));
    }
    let pod = object.pod().ok_or_else(|| missing("object.spec"))?;
    if review.operation == Operation::Create {
        return Ok(Subject::NewPod(pod));
    }
    let old = review.old_object.as_ref().and_then(Object::pod).ok_or_else(|| missing("oldObject"))?;
    Ok(Subject::ChangedPod { pod, old })
}

impl Review<'_> {
    /// Whether this is a node telling of its own static pod, which runs whether or not its mirror is admitted. The
    /// annotation alone is anybody's to write; the user name is not.
    fn is_mirror_of_a_node(&self, pod: Pod<'_>) -> bool {
        self.object.as_ref().is_some_and(Object::claims_to_be_mirror)
            && !pod.node_name().is_empty()
            && self.user.username.as_deref().and_then(|name| name.strip_prefix("system:node:"))
                == Some(pod.node_name())
            && self.user.in_nodes == Some(true)
    }
}

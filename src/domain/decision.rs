//! Whether an image may be pulled in a namespace: the table of the design, as one pure function.

use std::fmt;

use super::canonical_host::canonical_host;
use super::hosts::{Claim, HostEntry};
use super::image::{ImageRef, ReferenceError};
use super::policy::Objection;
use super::pull_secret::PULL_SECRET;
pub use super::reason::Reason;
use super::record::{Mode, UnixSeconds, Visibility};
use super::snapshot::{Access, RegistryEntry, Scope, SpaceView};

/// One image of a pod, as it is to be judged.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The reference as the pod has it.
    pub image: &'a str,
    /// Whether the pod's pull policy for it is `Always`; `None` where it can still be set (workload templates,
    /// pods before mutation), so that its absence is nobody's fault.
    pub always: Option<bool>,
    /// The time of the request.
    pub now: UnixSeconds,
}

/// The answer for one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<'a> {
    pub reason: Reason,
    /// What a denial does in this namespace.
    pub mode: Mode,
    /// The image must be pulled with the policy `Always`, so that one that another tenant left on the node is
    /// not run without asking the registry.
    pub needs_always: bool,
    /// Another policy is a denial. Not for what others claim as a whole host: they deny nobody anything.
    demands_always: bool,
    /// The namespace's pull secret holds a credential for the image, without which its registry does not give it.
    pub needs_credential: bool,
    detail: Detail<'a>,
}

/// What the sentence of a denial needs beyond its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Detail<'a> {
    None,
    Reference(ReferenceError),
    Spelling(&'a str),
    Registry(&'a str),
    /// Registry, and the space as the image spells it: what is absent and what is another's must read the same.
    Space(&'a str, String),
    /// The image names no space where it must be in one, and nothing that is recorded could cover it.
    NoProject {
        registry: &'a str,
        host: Box<str>,
        path: Box<str>,
    },
    Rule(Objection),
    /// What the image's tag names, where a digest is demanded.
    Digest(String),
    /// The pod is there, so that nothing but its images can change.
    Fixed,
}

/// Whether a pod's list of pull secrets can still be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullSecretList {
    /// The pod is about to be made; whoever makes it can try again.
    Open,
    /// The pod is there, and the API server lets nobody change the list.
    Fixed,
}

impl Decision<'_> {
    /// A decision that needs no look at the image.
    pub fn plain(reason: Reason) -> Self {
        Self {
            reason,
            mode: Mode::Enforce,
            needs_always: false,
            demands_always: false,
            needs_credential: false,
            detail: Detail::None,
        }
    }

    /// Whether the reason allows; what a denial then does is for [`Self::mode`] to say.
    pub fn allowed(&self) -> bool {
        self.reason.allows()
    }

    /// Whether the pod has to be refused for it.
    pub fn refuses(&self) -> bool {
        !self.allowed() && self.mode == Mode::Enforce
    }

    /// Notes that the pod does not name pullgate's Secret. Where the image needs it, a pod that is yet to be made is
    /// denied, since it could never pull; one that is there can get no reference any more, which is a warning.
    pub fn without_pull_secret(&mut self, list: PullSecretList) {
        if !self.needs_credential || !self.allowed() {
            return;
        }
        self.reason = Reason::PullSecretMissing;
        if list == PullSecretList::Fixed {
            self.mode = self.mode.min(Mode::Warn);
            self.detail = Detail::Fixed;
        }
    }

    /// Whether all that is wrong is that the image has no digest.
    pub fn lacks_digest(&self) -> bool {
        self.detail == Detail::Rule(Objection::NoDigest)
    }

    /// Names the digest that the image's tag stands for, to be written instead; it changes no decision.
    pub fn suggest(&mut self, digest: String) {
        if self.lacks_digest() {
            self.detail = Detail::Digest(digest);
        }
    }

    /// What is wrong, why and what to do, as the second half of a sentence about the image.
    pub fn explanation(&self) -> impl fmt::Display + '_ {
        Explanation(self)
    }
}

/// Decides one image for a namespace. Pure: look-ups in the snapshot and nothing else.
pub fn decide<'s>(scope: &Scope<'s>, request: &Request<'_>) -> Decision<'s> {
    if scope.exempt {
        return Decision::plain(Reason::Exempt);
    }
    let mut decision = isolate(scope, request);
    decision.mode = scope.policy.mode;
    if decision.allowed() && decision.demands_always && request.always == Some(false) {
        decision.reason = Reason::AlwaysPullRequired;
    }
    decision
}

impl<'s> Scope<'s> {
    /// The registry whose rules hold for an image here, where it is integrated.
    pub fn registry_of(&self, image: &ImageRef<'_>) -> Option<&'s super::record::Name> {
        let integrations = &self.snapshot.integrations;
        let host = integrations.hosts.get(&canonical_host(image.domain))?;
        let mut claims = integrations.hosts.claims(host, &image.path);
        let mut own = || claims.find(|claim| self.owns(claim));
        let id = host.platform.or_else(|| own().map(|claim| claim.registry))?;
        Some(integrations.registry(id).name())
    }

    /// Whether it is a claim of the namespace's own workspace.
    fn owns(&self, claim: &Claim) -> bool {
        claim.workspace.is_some() && claim.workspace.as_ref() == self.workspace.map(|w| &w.name)
    }
}

/// Everything but the pull policy.
fn isolate<'s>(scope: &Scope<'s>, request: &Request<'_>) -> Decision<'s> {
    let image = match ImageRef::admissible(request.image) {
        Ok(image) => image,
        Err(error) => return denied(Reason::InvalidReference, false, Detail::Reference(error)),
    };
    let decision = by_registry(scope, &image, request.now);
    match scope.policy.objection(&image) {
        Some(objection) if decision.allowed() => {
            Decision { reason: Reason::RuleDenied, detail: Detail::Rule(objection), ..decision }
        }
        _ => decision,
    }
}

fn by_registry<'s>(scope: &Scope<'s>, image: &ImageRef<'_>, now: UnixSeconds) -> Decision<'s> {
    let integrations = &scope.snapshot.integrations;
    let Some(host) = integrations.hosts.get(&canonical_host(image.domain)) else {
        return unmanaged(scope, image, Claimed::Not);
    };
    match host.platform {
        Some(id) => by_platform(scope, image, integrations.registry(id), now),
        None => by_claims(scope, image, host),
    }
}

fn by_platform<'s>(
    scope: &Scope<'s>,
    image: &ImageRef<'_>,
    registry: &'s RegistryEntry,
    now: UnixSeconds,
) -> Decision<'s> {
    if let Some(spelling) = registered_spelling(registry, image.domain) {
        return denied(Reason::HostSpelling, true, Detail::Spelling(spelling));
    }
    match registry.access {
        Access::Everybody => {
            Decision { needs_credential: registry.has_credential, ..allowed(Reason::Public, false) }
        }
        Access::Password => denied(Reason::PasswordProtected, true, Detail::Registry(registry.name())),
        Access::Spaces | Access::Workspace => by_space(scope, image, registry, now),
    }
}

fn by_space<'s>(
    scope: &Scope<'s>,
    image: &ImageRef<'_>,
    registry: &'s RegistryEntry,
    now: UnixSeconds,
) -> Decision<'s> {
    let space = image.first_segment().and_then(|path| scope.snapshot.space(registry, path));
    let public = space.as_ref().is_some_and(|s| s.visibility() == Visibility::Public);
    let believed = |s: &SpaceView<'_>| {
        scope.snapshot.public_max_age().is_none_or(|limit| {
            let at = s.observed_at();
            at != 0 && now.saturating_sub(at.into()) <= limit
        })
    };
    if public && space.as_ref().is_some_and(believed) {
        return allowed(Reason::Public, false);
    }
    let bound = |s: &SpaceView<'_>| scope.workspace.is_some_and(|w| s.binds(&w.name));
    if space.as_ref().is_some_and(bound) {
        // What was public when last seen is not among the entries of a pull secret.
        let needs_credential = !public && registry.has_credential;
        return Decision { needs_credential, ..allowed(Reason::Bound, true) };
    }
    let reason = match (public, scope.workspace) {
        (true, _) => Reason::Stale,
        (false, Some(_)) => Reason::NotBound,
        (false, None) => Reason::NoWorkspace,
    };
    let detail = match image.first_segment() {
        Some(named) => Detail::Space(registry.name(), named.to_owned()),
        None => Detail::NoProject {
            registry: registry.name(),
            host: image.domain.into(),
            path: image.path.clone().into(),
        },
    };
    denied(reason, true, detail)
}

fn by_claims<'s>(scope: &Scope<'s>, image: &ImageRef<'_>, host: &HostEntry) -> Decision<'s> {
    let mut claimed = Claimed::Not;
    let mut misspelt = None;
    let mut own = None;
    let integrations = &scope.snapshot.integrations;
    for claim in integrations.hosts.claims(host, &image.path) {
        if claim.real {
            claimed = Claimed::Whole;
        }
        if !scope.owns(claim) {
            continue;
        }
        let registry = integrations.registry(claim.registry);
        match registered_spelling(registry, image.domain) {
            // Any of the workspace's credentials that matches is tried.
            None => own = Some(own == Some(true) || registry.has_credential),
            Some(spelling) => misspelt = Some(spelling),
        }
    }
    if let Some(needs_credential) = own {
        return Decision { needs_credential, ..allowed(Reason::WorkspaceRegistry, true) };
    }
    if let Some(spelling) = misspelt {
        return denied(Reason::HostSpelling, true, Detail::Spelling(spelling));
    }
    let partly = integrations.hosts.partial(host, &image.path).any(|claim| claim.real);
    unmanaged(scope, image, if partly { Claimed::Partly } else { claimed })
}

/// What to write instead, where `domain` is not a spelling under which the registry is registered.
fn registered_spelling<'s>(registry: &'s RegistryEntry, domain: &str) -> Option<&'s str> {
    let hosts = &registry.hosts;
    if hosts.iter().any(|h| h.as_str() == domain) {
        return None;
    }
    let canonical = canonical_host(domain);
    hosts.iter().find(|h| canonical_host(h.as_str()) == canonical).map(super::record::Host::as_str)
}

/// What other workspaces claim of an image, as far as their claims are real.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Claimed {
    Not,
    /// Its whole host, and with it perhaps what has nothing to do with them.
    Whole,
    /// A path that it lies in.
    Partly,
}

fn unmanaged<'s>(scope: &Scope<'s>, image: &ImageRef<'_>, claimed: Claimed) -> Decision<'s> {
    let needs_always = claimed != Claimed::Not;
    if scope.policy.allows_unmanaged(image) {
        let demands_always = claimed == Claimed::Partly;
        Decision { demands_always, ..allowed(Reason::Unmanaged, needs_always) }
    } else {
        denied(Reason::UnmanagedDenied, needs_always, Detail::None)
    }
}

fn allowed<'s>(reason: Reason, needs_always: bool) -> Decision<'s> {
    Decision { needs_always, demands_always: needs_always, ..Decision::plain(reason) }
}

fn denied(reason: Reason, needs_always: bool, detail: Detail<'_>) -> Decision<'_> {
    Decision { needs_always, detail, ..Decision::plain(reason) }
}

struct Explanation<'d>(&'d Decision<'d>);

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.reason, &self.0.detail) {
            (Reason::Public, _) => f.write_str("every namespace may pull it"),
            (Reason::Bound, _) => f.write_str("its space is bound to this namespace's workspace"),
            (Reason::WorkspaceRegistry, _) => f.write_str("this namespace's own workspace integrated its registry"),
            (Reason::Unmanaged, _) => f.write_str("no registry that pullgate manages; the pull policy allows it"),
            (Reason::Unchanged, _) => f.write_str("it was in the pod before this change"),
            (Reason::Exempt, _) => f.write_str("this namespace or pod is exempt from pull decisions"),
            (Reason::InvalidReference, Detail::Reference(error)) => {
                write!(f, "not an image reference that can be admitted: {error}")
            }
            (Reason::HostSpelling, Detail::Spelling(spelling)) => write!(
                f,
                "its registry is registered under another spelling, and nodes compare hosts letter by letter; \
                 write {spelling}"
            ),
            (_, Detail::NoProject { registry, host, path }) => write!(
                f,
                "every image of registry {registry}, as of any Harbor, lies in a project; write {host}/PROJECT/{path}, or \
                 {host}/PROJECT/library/{path} for an official image of Docker Hub through a proxy project"
            ),
            (Reason::NotBound, Detail::Space(registry, space)) => write!(
                f,
                "space {space} of registry {registry} is private and not bound to this namespace's workspace; \
                 ask a platform admin to bind it"
            ),
            (Reason::NoWorkspace, Detail::Space(registry, space)) => write!(
                f,
                "space {space} of registry {registry} is private and this namespace belongs to no workspace; \
                 ask a platform admin to add the namespace to the workspace that may pull it"
            ),
            (Reason::Stale, Detail::Space(registry, space)) => write!(
                f,
                "space {space} of registry {registry} was public when last seen, too long ago to rely on; ask a \
                 platform admin why the registry cannot be read, or to bind the space to this namespace's workspace"
            ),
            (Reason::PasswordProtected, Detail::Registry(registry)) => write!(
                f,
                "registry {registry} asks for a password and is not declared public; ask a platform admin to \
                 declare it (visibility: Public) or use a registry with spaces"
            ),
            (Reason::UnmanagedDenied, _) => f.write_str(
                "no registry that is integrated here, and the pull policy of this namespace does not allow it; use \
                 an integrated registry, or ask a platform admin to allow this one",
            ),
            (Reason::AlwaysPullRequired, _) => f.write_str(
                "it is private to some workspace, so the node must ask the registry each time; set imagePullPolicy \
                 (for an image volume, pullPolicy) to Always, on a running pod by creating it again",
            ),
            (Reason::PullSecretMissing, Detail::Fixed) => write!(
                f,
                "the pod does not name the pull secret {PULL_SECRET}, which holds the image's credential, and cannot \
                 get it any more; if the image is not pulled, make the pod again"
            ),
            (Reason::PullSecretMissing, _) => write!(
                f,
                "the pod does not name the pull secret {PULL_SECRET}, which holds the image's credential and which \
                 pullgate's mutating webhook adds; try again, as controllers do; if it stays so, add it to \
                 imagePullSecrets, or ask a platform admin why that webhook does not answer"
            ),
            (Reason::RuleDenied, Detail::Digest(digest)) => write!(
                f,
                "the pull policy of this namespace demands a digest; write the image as NAME@{digest}, which its \
                 tag names now",
            ),
            (Reason::RuleDenied, Detail::Rule(Objection::NoDigest)) => f.write_str(
                "the pull policy of this namespace demands a digest; write the image as NAME@sha256:…",
            ),
            (Reason::RuleDenied, _) => f.write_str(
                "the pull policy of this namespace does not allow its tag; name a version or a digest",
            ),
            (reason, _) => f.write_str(reason.as_str()),
        }
    }
}

//! Who calls, and what they may do. Every rule of the roles is here; who is asked is either the tokens file
//! ([`super::tokens`]) or the cluster ([`super::cluster`]).
//!
//! What somebody may do is a [`Permission`] in the terms of Kubernetes' roles, so that both ways mean the same. An
//! Admin is whoever may do a thing without a name, that is to everything of its kind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::http::{HeaderMap, header};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::cluster::{Cluster, Identity};
use super::error::ApiError;
use super::tokens::{Grant, Tokens};
use crate::domain::record::{Entry, Kind, Name, Owner, Record};

/// What somebody is told who may not write a registry.
const OWN_REGISTRIES_ONLY: &str =
    "a WorkspaceAdmin integrates registries for its own workspaces only; set spec.workspace to one of them";

/// Questions about one list that are asked at one time.
const QUESTIONS: usize = 16;

/// What is done to a thing, as Kubernetes calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    Get,
    List,
    Create,
    Update,
    Delete,
}

impl Verb {
    /// The verb as rules of a role spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// What a right is about; resources of the group `pullgate.io`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// Registries of the platform.
    Registries,
    Spaces,
    Workspaces,
    Policies,
    /// Registries of the workspace that is named.
    WorkspaceRegistries,
    /// Passwords in the pull secrets of the workspace that is named.
    PullSecrets,
}

impl Target {
    /// Resource and subresource, as rules of a role spell them.
    pub fn resource(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Registries => ("registries", None),
            Self::Spaces => ("registryspaces", None),
            Self::Workspaces => ("workspaces", None),
            Self::Policies => ("pullpolicies", None),
            Self::WorkspaceRegistries => ("workspaces", Some("registries")),
            Self::PullSecrets => ("workspaces", Some("pullsecrets")),
        }
    }

    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Registry => Self::Registries,
            Kind::RegistrySpace => Self::Spaces,
            Kind::Workspace => Self::Workspaces,
            Kind::PullPolicy => Self::Policies,
        }
    }
}

/// A right that somebody has or has not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Permission {
    pub verb: Verb,
    pub target: Target,
    /// `None`: whatever the name.
    pub name: Option<Name>,
}

/// Who knows the callers.
pub enum Authority {
    /// A tokens file, published by whoever watches it.
    Tokens(Arc<ArcSwap<Tokens>>),
    /// The cluster's own users and roles.
    Cluster(Arc<Cluster>),
}

impl Authority {
    /// Who holds the bearer token of a request.
    ///
    /// # Errors
    /// `Unauthenticated` for a missing, malformed, repeated or unknown one alike; `Unanswered` where it is not known.
    pub(super) async fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Caller>, ApiError> {
        let token = bearer(headers).ok_or(ApiError::Unauthenticated)?;
        let caller = match self {
            Self::Tokens(tokens) => tokens.load().holder(token).map(Caller::with_token),
            Self::Cluster(cluster) => {
                let identity = cluster.identify(token).await?;
                identity.map(|identity| Caller::of_cluster(cluster.clone(), identity))
            }
        };
        caller.map(Arc::new).ok_or(ApiError::Unauthenticated)
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

/// Whoever presented a known token.
pub struct Caller {
    pub name: String,
    rights: Rights,
}

enum Rights {
    Token(Arc<Grant>),
    Cluster(Arc<Cluster>, Identity),
}

impl Caller {
    fn with_token(grant: Arc<Grant>) -> Self {
        Self { name: grant.name.clone(), rights: Rights::Token(grant) }
    }

    fn of_cluster(cluster: Arc<Cluster>, identity: Identity) -> Self {
        Self { name: identity.name.clone(), rights: Rights::Cluster(cluster, identity) }
    }

    /// The role, for the audit log; roles in the cluster have no one name.
    pub fn role(&self) -> &'static str {
        match &self.rights {
            Rights::Token(grant) => grant.role.as_str(),
            Rights::Cluster(..) => "-",
        }
    }

    async fn may(&self, verb: Verb, target: Target, name: Option<&str>) -> Result<bool, ApiError> {
        let permission = Permission { verb, target, name: name.map(Name::from) };
        match &self.rights {
            Rights::Token(grant) => Ok(grant.allows(&permission)),
            Rights::Cluster(cluster, identity) => Ok(cluster.allows(identity, permission).await?),
        }
    }

    /// Refuses what needs a right to things of the platform, in words that do not tell whether they exist.
    async fn check(&self, verb: Verb, target: Target, name: Option<&str>) -> Result<(), ApiError> {
        if self.may(verb, target, name).await? {
            return Ok(());
        }
        Err(ApiError::Forbidden(match &self.rights {
            Rights::Token(grant) => {
                format!("this needs the role Admin; {} has {}", self.name, grant.role.as_str())
            }
            Rights::Cluster(..) => {
                let right = right(verb, target);
                format!("this needs the right to {right}, which {} does not have", self.name)
            }
        }))
    }

    /// Refuses kinds that are none of the caller's business, whatever records there are. `name`: to read the one.
    pub(super) async fn check_kind(&self, kind: Kind, name: Option<&str>) -> Result<(), ApiError> {
        match kind {
            Kind::Registry | Kind::Workspace => Ok(()),
            Kind::RegistrySpace | Kind::PullPolicy => {
                let verb = if name.is_some() { Verb::Get } else { Verb::List };
                self.check(verb, Target::of(kind), name).await
            }
        }
    }

    /// Whether the caller may know that the record exists.
    pub(super) async fn may_see(&self, name: &str, record: &Record) -> Result<bool, ApiError> {
        let (target, name) = target_of(name, record);
        self.may(Verb::Get, target, Some(name)).await
    }

    /// Asks for a record that is not there what would be asked were it there, so that neither the answer nor the
    /// time to it tells the two apart.
    pub(super) async fn look_for_nothing(&self, kind: Kind, name: &str) -> Result<(), ApiError> {
        self.may(Verb::Get, Target::of(kind), Some(name)).await.map(drop)
    }

    /// Whether the caller sees every record of a kind.
    pub(super) async fn sees_all(&self, kind: Kind) -> Result<bool, ApiError> {
        Ok(self.may(Verb::List, Target::of(kind), None).await?
            && (kind != Kind::Registry || self.may(Verb::List, Target::WorkspaceRegistries, None).await?))
    }

    /// Which of some records the caller may know of, in their order.
    pub(super) async fn sees(&self, records: &[(Name, Record)]) -> Result<Vec<bool>, ApiError> {
        let targets: Vec<(Target, Name)> = records
            .iter()
            .map(|(name, record)| target_of(name, record))
            .map(|(target, name)| (target, name.into()))
            .collect();
        let questions: BTreeSet<_> = targets.iter().cloned().collect();
        let asked = stream::iter(questions).map(|(target, name)| async move {
            // Without a name first: for everybody who sees many, one question answers for them all.
            let sees =
                self.may(Verb::Get, target, None).await? || self.may(Verb::Get, target, Some(&name)).await?;
            Ok::<_, ApiError>(((target, name), sees))
        });
        let seen: BTreeMap<_, _> = asked.buffered(QUESTIONS).try_collect().await?;
        Ok(targets.iter().map(|wanted| seen.get(wanted) == Some(&true)).collect())
    }

    /// Refuses to write a kind of record at all, whatever records there are. Whose a registry is decides later.
    pub(super) async fn check_write_kind(
        &self,
        kind: Kind,
        verb: Verb,
        name: Option<&str>,
    ) -> Result<(), ApiError> {
        match &self.rights {
            Rights::Token(grant) if kind == Kind::Registry && grant.writes_registries() => Ok(()),
            Rights::Cluster(..) if kind == Kind::Registry => Ok(()),
            _ => self.check(verb, Target::of(kind), name).await,
        }
    }

    /// Refuses to write a record: a workspace's registries are its admins', all else is the platform's. The words are
    /// the same whether or not the workspace that `record` names exists.
    pub(super) async fn check_write(&self, verb: Verb, name: &str, record: &Record) -> Result<(), ApiError> {
        let (target, name) = target_of(name, record);
        // What is not there yet has no name that a role could give.
        let name = (verb != Verb::Create || target == Target::WorkspaceRegistries).then_some(name);
        if self.may(verb, target, name).await? {
            return Ok(());
        }
        Err(ApiError::Forbidden(OWN_REGISTRIES_ONLY.to_owned()))
    }

    /// Whether a role tells what the caller does at all; in the cluster that depends on the name of each thing.
    pub(super) fn has_role(&self) -> bool {
        matches!(self.rights, Rights::Token(_))
    }

    /// Whether the caller may make registries whatever their owner.
    pub(super) async fn creates_any_registry(&self) -> Result<bool, ApiError> {
        Ok(self.may(Verb::Create, Target::Registries, None).await?
            || self.may(Verb::Create, Target::WorkspaceRegistries, None).await?)
    }

    /// Refuses to make a registry of the workspace, without one of the platform.
    pub(super) async fn check_create_registry(&self, workspace: Option<&str>) -> Result<(), ApiError> {
        let target = if workspace.is_some() { Target::WorkspaceRegistries } else { Target::Registries };
        if self.may(Verb::Create, target, workspace).await? {
            return Ok(());
        }
        Err(ApiError::Forbidden(OWN_REGISTRIES_ONLY.to_owned()))
    }

    /// Refuses to hand a record to another owner, which only an Admin does.
    pub(super) async fn check_move(&self, name: &str, from: &Record, to: &Record) -> Result<(), ApiError> {
        if same_owner(name, from, to)
            || (self.may(Verb::Update, Target::Registries, None).await?
                && self.may(Verb::Update, Target::WorkspaceRegistries, None).await?)
        {
            return Ok(());
        }
        Err(ApiError::Forbidden("only an Admin changes which workspace a registry belongs to".to_owned()))
    }

    /// Refuses to bind and unbind a space.
    pub(super) async fn check_bind(&self, space: &str) -> Result<(), ApiError> {
        self.check(Verb::Update, Target::Spaces, Some(space)).await
    }

    /// Refuses what is about accounts that were left at registries, recorded ones or not: it is the platform's.
    pub(super) async fn check_leftovers(&self, verb: Verb) -> Result<(), ApiError> {
        self.check(verb, Target::Registries, None).await
    }

    /// Refuses namespaces outside of the caller's workspaces, in the same words whether or not they exist.
    pub(super) async fn check_namespace(&self, workspace: Option<&str>) -> Result<(), ApiError> {
        if self.may(Verb::Get, Target::Workspaces, workspace).await? {
            return Ok(());
        }
        Err(ApiError::Forbidden("the namespace is in none of this token's workspaces".to_owned()))
    }

    /// Refuses to show the pull secret of a namespace of `workspace`; its passwords are a right of their own.
    pub(super) async fn check_pull_secret(
        &self,
        workspace: Option<&str>,
        reveal: bool,
    ) -> Result<(), ApiError> {
        self.check(Verb::Get, Target::Workspaces, None).await?;
        if !reveal || self.may(Verb::Get, Target::PullSecrets, workspace).await? {
            return Ok(());
        }
        Err(ApiError::Forbidden(match &self.rights {
            Rights::Token(_) => {
                "this token has no right to see passwords (reveal: true in the tokens file)".to_owned()
            }
            Rights::Cluster(..) => {
                format!("to see passwords needs the right to {}", right(Verb::Get, Target::PullSecrets))
            }
        }))
    }
}

fn right(verb: Verb, target: Target) -> String {
    match target.resource() {
        (resource, None) => format!("{} {resource}.pullgate.io", verb.as_str()),
        (resource, Some(part)) => format!("{} {resource}/{part} of pullgate.io", verb.as_str()),
    }
}

/// The workspace that a record belongs to; `None`: the platform.
fn workspace_of<'r>(name: &'r str, record: &'r Record) -> Option<&'r str> {
    match record {
        Record::Workspace(_) => Some(name),
        Record::Registry(Entry::Valid(registry)) => match &registry.owner {
            Owner::Workspace(workspace) => Some(workspace),
            Owner::Platform => None,
        },
        Record::Registry(Entry::Invalid(invalid)) => invalid.workspace.as_deref(),
        Record::Space(_) | Record::PullPolicy(_) => None,
    }
}

/// What a right to a record is about.
fn target_of<'r>(name: &'r str, record: &'r Record) -> (Target, &'r str) {
    match record {
        Record::Registry(_) => match workspace_of(name, record) {
            Some(workspace) => (Target::WorkspaceRegistries, workspace),
            None => (Target::Registries, name),
        },
        Record::Space(_) => (Target::Spaces, name),
        Record::Workspace(_) => (Target::Workspaces, name),
        Record::PullPolicy(_) => (Target::Policies, name),
    }
}

/// Whether two versions of a record belong to the same owner.
pub(super) fn same_owner(name: &str, one: &Record, other: &Record) -> bool {
    workspace_of(name, one) == workspace_of(name, other)
}

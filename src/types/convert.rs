//! The one conversion from documents to domain values.
//!
//! The API, `check` and the record webhook all read records through [`parse`], so that one may be written everywhere or
//! nowhere. What is stored is read through [`record`].

mod faults;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;
use smallvec::SmallVec;
use url::Url;

use self::faults::Faults;
use super::v1alpha1::{
    PullPolicySpec, RegistrySpec, RegistryStatus, RobotLevel, SpaceSpec, SpaceStatus, UnmanagedDefault,
    WorkspaceSpec, WorkspaceStatus,
};
use super::{Document, bounds};
use crate::domain::canonical_host::is_docker_hub_alias;
use crate::domain::record::bounds::{HOSTS, NAMES};
use crate::domain::record::{
    AllowedPrefix, Entry, Host, Invalid, Kind, Name, Owner, PathPrefix, Problem, PullCredentials, PullPolicy,
    Record, Registry, RegistryType, Selector, Small, Space, Tls, UnixSeconds, Unmanaged, Visibility,
    Workspace, is_project_name,
};
use crate::hex::{number, short_digest};

/// The domain value of a stored document, invalid ones included. Earlier versions let a list name a thing twice, which is
/// no harm.
pub fn record(document: &Document) -> Record {
    read(document).unwrap_or_else(|problems| salvage(document, problems))
}

/// The domain value of a document that may be written.
///
/// # Errors
/// Every fault that was found, by field; of very many the first.
pub fn parse(document: &Document) -> Result<Record, Vec<Problem>> {
    let record = read(document);
    let repeats = match &record {
        Err(faults) if faults.iter().any(|fault| fault.field == "spec") => Vec::new(),
        _ => bounds::repeats(document.kind, &document.spec),
    };
    match record {
        Ok(record) if repeats.is_empty() => Ok(record),
        Ok(_) => Err(Problem::first_of(repeats)),
        Err(faults) => Err(Problem::first_of(faults.into_iter().chain(repeats).collect())),
    }
}

fn read(document: &Document) -> Result<Record, Vec<Problem>> {
    check_name(&document.name)?;
    let Document { spec, status, .. } = document;
    let excess = bounds::excess(document.kind, spec);
    if !excess.is_empty() {
        return Err(Problem::first_of(excess));
    }
    Ok(match document.kind {
        Kind::Registry => {
            let registry = registry(typed(spec, "spec")?, &typed_status(status)?, document.created)?;
            Record::Registry(Entry::Valid(Registry { uid: uid(Some(&document.uid)), ..registry }))
        }
        Kind::RegistrySpace => {
            let space = space(typed(spec, "spec")?, &typed_status(status)?)?;
            Record::Space(Entry::Valid(Space { owner: uid(document.owner.as_ref()), ..space }))
        }
        Kind::Workspace => Record::Workspace(Entry::Valid(workspace(
            typed(spec, "spec")?,
            typed_status(status)?,
            document.created,
        )?)),
        Kind::PullPolicy => Record::PullPolicy(Entry::Valid(policy(typed(spec, "spec")?)?)),
    })
}

fn typed<T: DeserializeOwned>(value: &Value, field: &str) -> Result<T, Vec<Problem>> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let at = if path == "." { field.to_owned() } else { format!("{field}.{path}") };
        vec![Problem::new(at, error.inner().to_string())]
    })
}

fn typed_status<T: DeserializeOwned + Default>(status: &Value) -> Result<T, Vec<Problem>> {
    if status.is_null() { Ok(T::default()) } else { typed(status, "status") }
}

fn registry(
    spec: RegistrySpec,
    status: &RegistryStatus,
    created: UnixSeconds,
) -> Result<Registry, Vec<Problem>> {
    let mut faults = Faults::default();
    let url = faults.check("spec.url", &spec.url, base_url);
    let hosts: SmallVec<[Host; 1]> = if spec.image_hosts.is_empty() {
        let derived = url.as_ref().map(url_host);
        derived.iter().filter_map(|h| faults.check("spec.imageHosts", h, host)).collect()
    } else {
        faults.each("spec.imageHosts", &spec.image_hosts, host)
    };
    if spec.workspace.is_some() && hosts.iter().any(Host::is_node) {
        faults.add(
            if spec.image_hosts.is_empty() { "spec.url" } else { "spec.imageHosts" },
            "localhost is each node itself, and no workspace's; write the host by which nodes reach the registry",
        );
    }
    let paths = faults.each("spec.paths", &spec.paths, |p| {
        PathPrefix::parse(p)
            .ok_or_else(|| format!("{p:?} is not a run of whole lower-case path segments, as acme/"))
    });
    let platform = spec.workspace.is_none();
    let docker = spec.r#type == RegistryType::Docker;
    if platform && spec.r#type == RegistryType::Artifactory {
        faults.add("spec.type", "the platform integrates Harbor and Docker; Artifactory is for workspaces");
    }
    if platform && !spec.paths.is_empty() {
        faults.add("spec.paths", "only a workspace's registry claims part of a host");
    }
    if spec.visibility.is_some() && !(platform && docker) {
        faults.add(
            "spec.visibility",
            "only a Docker registry of the platform is declared public or private as a whole",
        );
    }
    if spec.pull_credentials.is_some() && !(platform && spec.r#type == RegistryType::Harbor) {
        faults.add("spec.pullCredentials", "only a Harbor of the platform has it");
    }
    if spec.source.is_some() && !(platform && spec.r#type == RegistryType::Harbor) {
        faults.add("spec.source", "only a Harbor of the platform follows one that runs in the cluster");
    }
    if let Some(tls) = &spec.tls
        && tls.ca_bundle.as_ref().is_some_and(|pem| !pem.contains("-----BEGIN CERTIFICATE-----"))
    {
        faults.add("spec.tls.caBundle", "there is no PEM certificate in it");
    }
    let token_realm = spec.token_realm.as_ref().and_then(|realm| {
        let realm = faults.check("spec.tokenRealm", realm, base_url)?;
        if realm.scheme() == "http" && url.as_ref().is_some_and(|url| url.scheme() == "https") {
            faults.add("spec.tokenRealm", "a credential that goes by https must not go by http too");
        }
        Some(bare(&realm))
    });
    if let Some(workspace) = &spec.workspace {
        faults.check("spec.workspace", workspace, dns_name);
    }
    if let Some(credential) = &spec.credential {
        faults.check("spec.credential.name", &credential.name, dns_name);
    }
    // A workspace's namespaces have its own credential, unless a token was made and the status says so.
    let pull_credentials = match (platform, status.robot_level) {
        (true, _) => spec.pull_credentials.unwrap_or(PullCredentials::Robot),
        (false, Some(_)) if spec.r#type == RegistryType::Artifactory => PullCredentials::Robot,
        (false, _) => PullCredentials::Integration,
    };
    let url = url.as_ref().map(bare).unwrap_or_default();
    let identity = identity(created, &url, &hosts);
    // What an earlier version observed says not of what; the leader notes it.
    let current = status.observed_of.as_ref().is_none_or(|of| *of == identity);
    let tls = spec.tls.map(|tls| Tls { ca: tls.ca_bundle, skip_verify: tls.insecure_skip_verify });
    faults.none_or(Registry {
        created,
        uid: Small::default(),
        identity_number: Some(number(&identity)).into(),
        identity,
        kind: spec.r#type,
        owner: spec.workspace.map_or(Owner::Platform, |w| Owner::Workspace(w.into())),
        url,
        hosts,
        paths,
        declared_public: spec.visibility == Some(Visibility::Public),
        has_credential: spec.credential.is_some(),
        pull_credentials,
        anonymous_pull: status.anonymous_pull.filter(|_| current),
        answered: current && status.last_success.is_some(),
        tls: tls.unwrap_or_default(),
        token_realm,
        robot_per_space: status.robot_level == Some(RobotLevel::Project),
        discovered_at: status.last_discovery.filter(|_| current).map(Timestamp::as_second),
    })
}

/// A UID, which is random, in the few bytes that 100,000 spaces have room for.
fn uid(uid: Option<&Name>) -> Small {
    uid.map(|uid| number(uid)).into()
}

/// Stands for a registry's record and its addresses: a later record of its name is another one.
fn identity(created: UnixSeconds, url: &str, hosts: &[Host]) -> Name {
    let created = created.to_string();
    let parts: Vec<_> = [created.as_str(), url].into_iter().chain(hosts.iter().map(Host::as_str)).collect();
    // Long enough that no tenant finds two registries of one identity.
    short_digest(&parts, 16).into()
}

fn space(spec: SpaceSpec, status: &SpaceStatus) -> Result<Space, Vec<Problem>> {
    let mut faults = Faults::default();
    faults.check("spec.registry", &spec.registry, dns_name);
    faults.check("spec.path", &spec.path, |path| {
        is_project_name(path).then_some(()).ok_or_else(|| {
            "a space is one lower-case path segment that a Harbor takes as the name of a project, as team-a: at most 255 \
             letters and digits, joined inside by one '.', '_' or '-' at a time (^[a-z0-9]+(?:[._-][a-z0-9]+)*$)"
                .to_owned()
        })
    });
    faults.each::<(), Vec<()>>("spec.workspaces", &spec.workspaces, dns_name);
    faults.none_or(Space {
        registry: spec.registry.into(),
        owner: Small::default(),
        path: spec.path.into(),
        workspaces: spec.workspaces.into_iter().map(Name::from).collect(),
        visibility: spec.visibility,
        observed: status.visibility,
        observed_of: status.observed_of.as_deref().map(number).into(),
        observed_at: status.observed_at.map(Timestamp::as_second).into(),
        suspended: status.suspended,
        missing: status.missing,
        proxy_cache: status.proxy_cache,
        project: status.project_id.into(),
        confirmed: spec.project_id.into(),
        repositories: status.repositories.into(),
        storage: status.storage.into(),
    })
}

fn workspace(
    spec: WorkspaceSpec,
    status: WorkspaceStatus,
    created: UnixSeconds,
) -> Result<Workspace, Vec<Problem>> {
    let mut faults = Faults::default();
    faults.each::<(), Vec<()>>("spec.namespaces", &spec.namespaces, namespace_name);
    let (mut pins, mut claimed) = (BTreeMap::new(), BTreeMap::new());
    for member in status.members.into_iter().take(NAMES) {
        if let Some(since) = member.since {
            claimed.insert(member.namespace.clone(), since.as_microsecond());
        }
        if let Some(uid) = member.uid {
            pins.insert(member.namespace, uid);
        }
    }
    let namespaces = spec.namespaces.into_iter().map(Name::from).collect();
    faults.none_or(Workspace {
        created,
        namespaces,
        pin: spec.pin_namespaces,
        injection: spec.injection,
        pins,
        claimed,
    })
}

fn policy(spec: PullPolicySpec) -> Result<PullPolicy, Vec<Problem>> {
    let mut faults = Faults::default();
    faults.each::<(), Vec<()>>("spec.namespaces", &spec.namespaces, namespace_name);
    faults.each::<(), Vec<()>>("spec.workspaces", &spec.workspaces, dns_name);
    let allow: Vec<_> = faults.each("spec.unmanaged.allow", &spec.unmanaged.allow, |entry| {
        AllowedPrefix::parse(entry).ok_or_else(|| {
            format!("{entry:?} is not HOST or HOST/path in whole segments, as docker.io/library")
        })
    });
    let unmanaged = match spec.unmanaged.default {
        UnmanagedDefault::Allow if !spec.unmanaged.allow.is_empty() => {
            faults
                .add("spec.unmanaged.allow", "it narrows nothing while default is Allow; set default: Deny");
            Unmanaged::Deny
        }
        UnmanagedDefault::Allow => Unmanaged::Allow,
        UnmanagedDefault::Deny if allow.is_empty() => Unmanaged::Deny,
        UnmanagedDefault::Deny => Unmanaged::AllowList(allow),
    };
    faults.none_or(PullPolicy {
        selector: Selector {
            namespaces: spec.namespaces.into_iter().map(Name::from).collect(),
            workspaces: spec.workspaces.into_iter().map(Name::from).collect(),
        },
        mode: spec.mode,
        unmanaged,
        denied_tags: spec.rules.denied_tags.into_iter().map(Name::from).collect(),
        require_digest: spec.rules.require_digest,
    })
}

/// What an invalid document still says of the things that it must go on denying.
fn salvage(document: &Document, problems: Vec<Problem>) -> Record {
    let strings = |field: &str| -> Vec<&str> {
        let list = document.spec.get(field).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).collect()
    };
    let names = |field: &str| -> Vec<Name> {
        let each: BTreeSet<&str> = strings(field).into_iter().filter(|name| dns_name(name).is_ok()).collect();
        each.into_iter().map(Name::from).collect()
    };
    let text = |field: &str| document.spec.get(field).and_then(Value::as_str);
    let url = text("url").and_then(|u| Url::parse(u).ok());
    let workspace = document.spec.get("workspace").filter(|workspace| !workspace.is_null());
    // All that the platform held, or it would be for everybody. What a workspace claims counts for others once its
    // registry answered for these addresses, and never what is the node's own; a few hosts of it are enough.
    let platform = workspace.is_none();
    let own = url.as_ref().and_then(|url| Host::parse(&url_host(url)));
    let listed: Vec<Host> = strings("imageHosts").into_iter().filter_map(Host::parse).collect();
    let answered = || {
        let images = if listed.is_empty() { own.as_slice() } else { &listed };
        let identity = identity(document.created, &url.as_ref().map(bare).unwrap_or_default(), images);
        let status: RegistryStatus = typed_status(&document.status).unwrap_or_default();
        status.last_success.is_some() && status.observed_of == Some(identity.into())
    };
    let counted = platform || answered();
    let counts = |host: &Host| counted && (platform || !host.is_node());
    let most = if platform { usize::MAX } else { HOSTS };
    let hosts: BTreeSet<Host> =
        own.iter().cloned().chain(listed.iter().cloned()).filter(counts).take(most).collect();
    let invalid = Box::new(Invalid {
        problems,
        hosts: hosts.into_iter().collect(),
        registry: text("registry").filter(|_| document.kind == Kind::RegistrySpace).map(Name::from),
        owner: uid(document.owner.as_ref()),
        workspace: workspace.map(|w| w.as_str().filter(|w| dns_name(w).is_ok()).unwrap_or_default().into()),
        selector: Selector { namespaces: names("namespaces"), workspaces: names("workspaces") },
    });
    match document.kind {
        Kind::Registry => Record::Registry(Entry::Invalid(invalid)),
        Kind::RegistrySpace => Record::Space(Entry::Invalid(invalid)),
        Kind::Workspace => Record::Workspace(Entry::Invalid(invalid)),
        Kind::PullPolicy => Record::PullPolicy(Entry::Invalid(invalid)),
    }
}

fn host(text: &str) -> Result<Host, String> {
    Host::parse(text).ok_or_else(|| {
        if is_docker_hub_alias(text) {
            return format!("images of Docker Hub are named docker.io/…, not {text}/…: write docker.io");
        }
        format!("{text:?} is no host that an image reference can name; write it as images do, as harbor.example.com[:port]")
    })
}

fn base_url(text: &str) -> Result<Url, String> {
    // Not repeated to its author: somebody may have written a password into it.
    let url = Url::parse(text)
        .map_err(|error| format!("not a URL ({error}); write it as https://harbor.example.com"))?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() || !bare {
        return Err("write scheme, host and port only, as https://harbor.example.com".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL carries no user name or password; give them as the credential".to_owned());
    }
    Ok(url)
}

/// A URL of [`base_url`] without the slash that the parser adds.
fn bare(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// The host as images spell it: the port of plain `http` must be written out, that of `https` must not.
fn url_host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match (url.port(), url.scheme()) {
        (Some(port), _) => format!("{host}:{port}"),
        (None, "http") => format!("{host}:80"),
        (None, _) => host.to_owned(),
    }
}

fn check_name(name: &str) -> Result<(), Vec<Problem>> {
    dns_name(name).map_err(|message| vec![Problem::new("metadata.name", message)])
}

/// A name of a cluster-scoped object: RFC 1123 subdomain.
fn dns_name(text: &str) -> Result<(), String> {
    let valid = text.len() <= 253 && text.split('.').all(is_dns_label);
    valid.then_some(()).ok_or_else(|| {
        format!("{text:?} is not a name: lower-case letters, digits, '-' and '.', at most 253 characters")
    })
}

/// A namespace's name: RFC 1123 label.
fn namespace_name(text: &str) -> Result<(), String> {
    is_dns_label(text).then_some(()).ok_or_else(|| {
        format!("{text:?} is not a namespace name: lower-case letters, digits and '-', at most 63 characters")
    })
}

fn is_dns_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|b| inner(b) || *b == b'-')
        && bytes.first().is_some_and(inner)
        && bytes.last().is_some_and(inner)
}

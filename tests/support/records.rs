//! Small builders for records: `registry("corp").harbor().host("harbor.example.com")`.

use pullgate::domain::record::{
    CompactOption, Entry, Host, Injection, Mode, Name, Owner, PathPrefix, PullCredentials, PullPolicy,
    Record, Registry, RegistryType, Selector, Small, Space, Tls, Unmanaged, Visibility, Workspace,
};
use pullgate::domain::records::Records;

#[derive(Clone, Debug)]
pub struct Named<T>(pub Name, pub T);

pub fn registry(name: &str) -> Named<Registry> {
    let host = Host::parse("harbor.example.com").unwrap();
    let record = Registry {
        uid: Small::default(),
        created: 0,
        kind: RegistryType::Harbor,
        owner: Owner::Platform,
        identity: Name::default(),
        identity_number: Small::default(),
        url: "https://harbor.example.com".into(),
        hosts: [host].into_iter().collect(),
        paths: Vec::new(),
        declared_public: false,
        has_credential: true,
        pull_credentials: PullCredentials::Integration,
        anonymous_pull: None,
        tls: Tls::default(),
        token_realm: None,
        robot_per_space: false,
        answered: true,
        discovered_at: None,
    };
    Named(name.into(), record)
}

impl Named<Registry> {
    pub fn host(mut self, host: &str) -> Self {
        self.1.hosts = [Host::parse(host).unwrap()].into_iter().collect();
        self
    }
    pub fn docker(mut self) -> Self {
        self.1.kind = RegistryType::Docker;
        self
    }
    pub fn no_password(mut self) -> Self {
        self.1.has_credential = false;
        self.1.anonymous_pull = Some(true);
        self
    }
    pub fn declared_public(mut self) -> Self {
        self.1.declared_public = true;
        self
    }
    pub fn of(mut self, workspace: &str) -> Self {
        self.1.owner = Owner::Workspace(workspace.into());
        self
    }
    pub fn paths(mut self, paths: &[&str]) -> Self {
        self.1.paths = paths.iter().map(|p| PathPrefix::parse(p).unwrap()).collect();
        self
    }
}

pub fn space(registry: &str, path: &str) -> Named<Space> {
    let record = Space {
        registry: registry.into(),
        owner: Small::default(),
        path: path.into(),
        workspaces: Box::default(),
        visibility: Some(Visibility::Private),
        observed: None,
        observed_of: Small::default(),
        observed_at: Small::default(),
        suspended: false,
        missing: false,
        proxy_cache: false,
        project: CompactOption::default(),
        confirmed: CompactOption::default(),
        repositories: Small::default(),
        storage: CompactOption::default(),
    };
    Named(format!("{registry}.{path}").into(), record)
}

impl Named<Space> {
    pub fn public(mut self) -> Self {
        self.1.visibility = Some(Visibility::Public);
        self
    }
    pub fn bound(mut self, workspaces: &[&str]) -> Self {
        self.1.workspaces = workspaces.iter().map(|w| Name::from(*w)).collect();
        self
    }
}

pub fn workspace(name: &str, namespaces: &[&str]) -> Named<Workspace> {
    let namespaces = namespaces.iter().map(|n| Name::from(*n)).collect();
    Named(name.into(), Workspace { namespaces, ..Workspace::default() })
}

impl Named<Workspace> {
    pub fn injecting_when_needed(mut self) -> Self {
        self.1.injection = Injection::WhenNeeded;
        self
    }
}

pub fn policy(name: &str, unmanaged: Unmanaged) -> Named<PullPolicy> {
    let record = PullPolicy {
        selector: Selector::default(),
        mode: Mode::Enforce,
        unmanaged,
        denied_tags: Vec::new(),
        require_digest: false,
    };
    Named(name.into(), record)
}

impl Named<PullPolicy> {
    pub fn for_namespaces(mut self, namespaces: &[&str]) -> Self {
        self.1.selector.namespaces = namespaces.iter().map(|n| Name::from(*n)).collect();
        self
    }
    pub fn for_workspaces(mut self, workspaces: &[&str]) -> Self {
        self.1.selector.workspaces = workspaces.iter().map(|n| Name::from(*n)).collect();
        self
    }
    pub fn mode(mut self, mode: Mode) -> Self {
        self.1.mode = mode;
        self
    }
}

impl From<Named<Registry>> for (Name, Record) {
    fn from(Named(name, record): Named<Registry>) -> Self {
        (name, Record::Registry(Entry::Valid(record)))
    }
}
impl From<Named<Space>> for (Name, Record) {
    fn from(Named(name, record): Named<Space>) -> Self {
        (name, Record::Space(Entry::Valid(record)))
    }
}
impl From<Named<Workspace>> for (Name, Record) {
    fn from(Named(name, record): Named<Workspace>) -> Self {
        (name, Record::Workspace(Entry::Valid(record)))
    }
}
impl From<Named<PullPolicy>> for (Name, Record) {
    fn from(Named(name, record): Named<PullPolicy>) -> Self {
        (name, Record::PullPolicy(Entry::Valid(record)))
    }
}

pub fn records(all: impl IntoIterator<Item = (Name, Record)>) -> Records {
    let mut records = Records::default();
    for (name, record) in all {
        records.put(name, record);
    }
    records
}

/// A Harbor with a space that is bound to workspace `a`, a Docker registry, one of `a`'s own, and workspace `b`.
pub fn two_workspaces() -> Records {
    records([
        registry("corp").into(),
        registry("plain").docker().host("plain.io").into(),
        registry("a-own").of("a").host("own.io").into(),
        space("corp", "team-a").bound(&["a"]).into(),
        workspace("a", &["a-prod"]).into(),
        workspace("b", &["b-prod"]).into(),
    ])
}

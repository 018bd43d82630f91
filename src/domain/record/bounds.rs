//! How large a record may be: every list and every text of every kind, in one table.
//!
//! The custom resource definitions and the conversion of records read it, and nothing else bounds a record. The numbers
//! leave room for the largest platforms, and keep what one record takes in memory to some hundred KiB.

use super::Kind;

/// Bytes of a spec as JSON; etcd takes no object of more than 1.5 MiB.
pub const SPEC: usize = 1 << 20;
/// Namespaces or workspaces that one record names.
pub const NAMES: usize = 10_000;
/// Faults that are told of one record; the rest is counted.
pub const PROBLEMS: usize = 32;
/// Characters of what is told of one fault, and of a condition's message.
pub const MESSAGE: usize = 1024;
pub const CONDITION: usize = 4096;
/// Bytes of a registry's user name, and of its password or token.
pub const USERNAME: usize = 256;
pub const PASSWORD: usize = 16 * 1024;
/// Image hosts of a registry.
pub const HOSTS: usize = 16;

/// What a status repeats of a registry, whose answers a tenant may write. Characters of its software's version; parts that
/// are not well, and characters of a name; prefixes of images.
pub const VERSION: usize = 64;
pub const COMPONENTS: usize = 16;
pub const COMPONENT: usize = 64;
pub const PREFIXES: usize = 100;
/// Tokens of one Artifactory that are not taken back yet.
pub const TOKENS: usize = 16;
/// Spaces that all accounts of a registry together are told to cover.
pub const COVERED: usize = 5_000;
/// Spaces that are named for a right which the integrating account lacks in them.
pub const LACKING: usize = 500;
/// Samples of the course of the storage, by the hour and then by the day.
pub const HOURS: usize = 48;
pub const DAYS: usize = 90;

/// An object's name (RFC 1123 subdomain), and a namespace's (RFC 1123 label).
const NAME: usize = 253;
const LABEL: usize = 63;
/// A DNS name and its port.
const HOST: usize = 260;
const URL: usize = 512;
/// A repository path, as image references have it, and a slash.
pub const PATH: usize = 256;
/// What images of a repository start with: host, path and a slash.
pub const PREFIX: usize = HOST + PATH + 1;
const TAG: usize = 128;

/// What makes two entries of a list the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Same {
    Text,
    /// Whatever a client dials alike.
    Host,
    /// With or without a slash at the end.
    Path,
}

/// The bounds of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entries {
    pub max: usize,
    pub same: Same,
}

/// The bounds of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// Below `spec`, as `tls.caBundle`.
    pub field: &'static str,
    /// `None`: it is a text.
    pub entries: Option<Entries>,
    /// Characters of the text, or of each entry.
    pub length: usize,
}

const fn text(field: &'static str, length: usize) -> Bound {
    Bound { field, entries: None, length }
}

const fn list(field: &'static str, max: usize, same: Same, length: usize) -> Bound {
    Bound { field, entries: Some(Entries { max, same }), length }
}

/// The bounds of a kind's spec; a field that is not among them is no list and no free text.
pub fn of(kind: Kind) -> &'static [Bound] {
    const REGISTRY: &[Bound] = &[
        text("url", URL),
        list("imageHosts", HOSTS, Same::Host, HOST),
        text("workspace", NAME),
        list("paths", 64, Same::Path, PATH),
        text("credential.name", NAME),
        text("tokenRealm", URL),
        text("tls.caBundle", 64 * 1024),
        text("source", URL),
    ];
    const SPACE: &[Bound] =
        &[text("registry", NAME), text("path", PATH), list("workspaces", NAMES, Same::Text, NAME)];
    const WORKSPACE: &[Bound] = &[list("namespaces", NAMES, Same::Text, LABEL)];
    const POLICY: &[Bound] = &[
        list("namespaces", NAMES, Same::Text, LABEL),
        list("workspaces", NAMES, Same::Text, NAME),
        list("unmanaged.allow", 256, Same::Path, HOST + PATH),
        list("rules.deniedTags", 64, Same::Text, TAG),
    ];
    match kind {
        Kind::Registry => REGISTRY,
        Kind::RegistrySpace => SPACE,
        Kind::Workspace => WORKSPACE,
        Kind::PullPolicy => POLICY,
    }
}

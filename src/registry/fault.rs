//! What can go wrong with a registry, in words for the person who integrated it. Of the registry's own text only the reason
//! of a refusal is repeated, short and printable: it may hold anything.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use super::address::Unreachable;
use super::trust::TlsFault;
use super::words::Words;

/// Why a login that was refused does not say that the password is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    #[error("its {0} is not well")]
    Ill(&'static str),
    #[error("it does not say how it is")]
    Silent,
    #[error(
        "it refuses the account without looking at the password, as while its database is away, or after failed logins of \
         somebody else under that name"
    )]
    Locked,
    #[error("it refused a login that held before")]
    HeldBefore,
}

/// Why a registry did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the name {0} cannot be resolved; check spec.url and the cluster's DNS")]
    NameResolution(String),
    #[error(
        "{0} has no address that a workspace's registry may reach: there is no such name, or its address is not public \
         and in no range that an admin allowed (--allow-registry-range)"
    )]
    AddressForbidden(String),
    #[error("{0} refuses connections; check the port of spec.url, and whether the registry runs")]
    Refused(String),
    #[error("there is no trusted TLS connection: {0}")]
    Tls(TlsFault),
    #[error("the registry did not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("the connection ended before the answer was complete")]
    Interrupted,
    #[error("the registry redirects to {0}; redirects are not followed, write the final address as spec.url")]
    Redirected(String),
    #[error(
        "the registry asks to fetch tokens from {0}, where the credential is not sent unless spec.tokenRealm names it"
    )]
    ForeignRealm(String),
    #[error("the registry rejects user name and password; store the right ones")]
    CredentialsRejected,
    /// The same of a robot account of a Harbor, which has other causes: the prefix is put before names when they are read.
    #[error(
        "the registry rejects the robot account's name and secret; store the right ones, or enable or renew the account there. \
         A changed prefix of robot names changes its name too"
    )]
    RobotRejected,
    /// It refused the login, and that says nothing of the password.
    #[error(
        "the registry cannot check user name and password now: {0}; they are tried again soon and need not be stored again"
    )]
    CredentialsNotChecked(Doubt),
    #[error("the registry asks for user name and password, and none are stored")]
    CredentialsMissing,
    /// Without asking: they were rejected a moment ago, and asking again might lock the account.
    #[error(
        "user name and password were rejected; they are tried again once a minute, or when others are stored"
    )]
    CredentialsHeldBack,
    #[error(
        "the registry keeps the account out (403), as it does for a while after several wrong logins; it is tried again \
         once a minute, or when another credential is stored{0}"
    )]
    Suspended(Words),
    #[error("the account may not {0}")]
    NotPermitted(Denied),
    #[error("its version {found} is too old; at least {needed} is needed")]
    TooOld { found: String, needed: &'static str },
    #[error("the registry is in read-only mode")]
    ReadOnly,
    #[error("this does not answer as a {0} does; check spec.type and spec.url")]
    NotA(&'static str),
    #[error("the registry takes no more requests for now (429)")]
    RateLimited { retry_after: Option<Duration> },
    #[error("the registry answers with HTTP status {0}{1}")]
    Failing(u16, Words),
    /// Without asking: it failed several times in a row, at last so, and is left alone for a while.
    #[error("{0}")]
    Paused(Box<Fault>),
    #[error("the answer to {0} cannot be understood")]
    Malformed(&'static str),
    #[error("the answer is larger than {} MiB", .0 >> 20)]
    TooLarge(usize),
    #[error("the registry has, or says that it has, more than {0} {1}")]
    TooMany(usize, &'static str),
    #[error("the registry has no such thing")]
    NotFound,
    #[error("the registry has such a thing already{0}")]
    Conflict(Words),
    #[error("the registry refuses the request (HTTP status {0})")]
    Rejected(u16),
    #[error("the registry refuses the request (HTTP status {0}){1}")]
    Declined(u16, Words),
    #[error(
        "project {0} was deleted and made again under its name; accounts may not pull from it until its bindings are \
         confirmed (spec.projectId)"
    )]
    MadeAnew(String),
    #[error(
        "an administrator of the registry disabled {0}, and nobody pulls with it until it is enabled there; or ask for \
         new accounts (rotate)"
    )]
    AccountDisabled(String),
    /// It is not replaced in a loop.
    #[error(
        "the registry refuses {0} again, which was replaced for that a while ago; it is replaced once more later"
    )]
    AccountRefused(String),
    #[error("the registry has no project {0}")]
    NoProject(String),
    #[error("{0}")]
    Settings(String),
}

/// What an account may not do, and what the registry says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    to: &'static str,
    words: Words,
}

impl Denied {
    /// `to`: what the account may not do, as `make robot accounts`.
    pub(super) fn new(to: &'static str, words: Words) -> Self {
        Self { to, words }
    }
}

impl From<&'static str> for Denied {
    fn from(to: &'static str) -> Self {
        Self::new(to, Words::default())
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.to, self.words)
    }
}

impl Fault {
    /// One word for programs: the reason of a condition, a label of a metric.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NameResolution(_) => "NameResolution",
            Self::AddressForbidden(_) => "AddressForbidden",
            Self::Refused(_) => "ConnectionRefused",
            Self::Tls(fault) => fault.reason(),
            Self::TimedOut(_) => "TimedOut",
            Self::Interrupted => "Interrupted",
            Self::Redirected(_) => "Redirected",
            Self::ForeignRealm(_) => "ForeignRealm",
            Self::CredentialsRejected
            | Self::RobotRejected
            | Self::CredentialsHeldBack
            | Self::Suspended(_) => "CredentialsRejected",
            Self::CredentialsNotChecked(_) => "CredentialsNotChecked",
            Self::CredentialsMissing => "CredentialsMissing",
            Self::NotPermitted(_) => "NotPermitted",
            Self::TooOld { .. } => "TooOld",
            Self::ReadOnly => "ReadOnly",
            Self::NotA(_) => "WrongType",
            Self::RateLimited { .. } => "RateLimited",
            Self::Failing(..) => "Failing",
            Self::Paused(last) => last.reason(),
            Self::Malformed(_) => "Malformed",
            Self::TooLarge(_) => "TooLarge",
            Self::TooMany(..) => "TooMany",
            Self::NotFound => "NotFound",
            Self::Conflict(_) => "Conflict",
            Self::Rejected(_) | Self::Declined(..) => "Rejected",
            Self::NoProject(_) => "NoProject",
            Self::MadeAnew(_) => "MadeAnew",
            Self::AccountDisabled(_) => "AccountDisabled",
            Self::AccountRefused(_) => "AccountRefused",
            Self::Settings(_) => "Settings",
        }
    }

    /// Whether the same call may succeed a moment later.
    pub fn passes(&self) -> bool {
        matches!(
            self,
            Self::Refused(_)
                | Self::NameResolution(_)
                | Self::TimedOut(_)
                | Self::Interrupted
                | Self::RateLimited { .. }
                | Self::Failing(..)
        )
    }

    /// Whether it is the answer to what was asked, so that to ask the same again soon is of no use.
    pub fn refuses(&self) -> bool {
        matches!(
            self,
            Self::NotPermitted(_)
                | Self::NotFound
                | Self::Conflict(_)
                | Self::Rejected(_)
                | Self::Declined(..)
        )
    }

    /// Whether another look in a few seconds is worth it, before the next regular one.
    pub fn ends_soon(&self) -> bool {
        match self {
            Self::Paused(last) => last.ends_soon(),
            Self::RateLimited { retry_after: Some(_) } => false,
            Self::CredentialsNotChecked(_) => true,
            fault => fault.passes(),
        }
    }

    /// Whether it speaks of user name and password.
    pub fn of_credentials(&self) -> bool {
        matches!(
            self,
            Self::CredentialsRejected
                | Self::RobotRejected
                | Self::CredentialsHeldBack
                | Self::CredentialsMissing
                | Self::Suspended(_)
        )
    }

    /// What reqwest says, of a call to `host` that had `limit` to be answered in.
    pub(super) fn of_transport(error: &reqwest::Error, host: &str, limit: Duration) -> Self {
        match find::<Unreachable>(error) {
            Some(Unreachable::Unresolved) => return Self::NameResolution(host.to_owned()),
            Some(Unreachable::Forbidden) => return Self::AddressForbidden(host.to_owned()),
            None => {}
        }
        if let Some(tls) = find::<rustls::Error>(error) {
            return Self::Tls(TlsFault::of(tls));
        }
        let io = find::<io::Error>(error);
        if io.is_some_and(|error| {
            let unreached = [
                io::ErrorKind::ConnectionRefused,
                io::ErrorKind::HostUnreachable,
                io::ErrorKind::NetworkUnreachable,
            ];
            unreached.contains(&error.kind())
        }) {
            return Self::Refused(host.to_owned());
        }
        let tls = error.url().is_some_and(|url| url.scheme() == "https");
        if error.is_timeout() {
            Self::TimedOut(limit)
        } else if error.is_connect() && tls {
            let ended = io.and_then(TlsFault::of_end);
            Self::Tls(ended.unwrap_or(TlsFault::Ended))
        } else {
            Self::Interrupted
        }
    }
}

/// The first error of a type among the causes of another. An I/O error hides what it wraps: its source is the source of
/// that.
fn find<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    let mut cause = Some(error);
    // Causes do not go on for ever, and nobody promises it.
    for _ in 0..32 {
        let here = cause?;
        if let Some(found) = here.downcast_ref::<E>() {
            // Of I/O errors the innermost knows most.
            let inner = here.downcast_ref::<io::Error>().and_then(wrapped).and_then(find::<E>);
            return Some(inner.unwrap_or(found));
        }
        let inner = here.downcast_ref::<io::Error>().and_then(wrapped);
        cause = inner.or_else(|| here.source());
    }
    None
}

fn wrapped(error: &io::Error) -> Option<&(dyn Error + 'static)> {
    error.get_ref().map(|inner| inner as &(dyn Error + 'static))
}

//! What a Harbor in the cluster says about itself, however it was installed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use secrecy::SecretString;
use url::Url;

use crate::domain::record::Name;
use crate::types::names;

/// The user that an installation's password is for.
const ADMIN: &str = "admin";
/// Key of a CA in the Secret of a certificate.
const CA: &str = "ca.crt";

/// How a Harbor was installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Installer {
    HarborCluster,
    Helm,
}

/// Which Harbor it is, as records name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    pub installer: Installer,
    pub namespace: String,
    pub name: String,
}

/// A Harbor in the cluster. What is missing says why.
#[derive(Debug, Clone)]
pub struct Instance {
    pub source: Source,
    /// As `https://harbor.example.com`.
    pub url: Result<String, String>,
    pub password: Result<Password, String>,
    /// Certificates in PEM, where it has a CA of its own.
    pub ca: Option<String>,
    pub health: Result<(), String>,
}

/// The password that an instance was installed with. It may have been changed since, in Harbor alone.
#[derive(Debug, Clone)]
pub struct Password {
    pub username: String,
    pub password: SecretString,
    /// Version of the Secret that it is in.
    pub version: String,
}

/// Names of objects that an installation refers to, in its own namespace.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub secrets: BTreeSet<String>,
    pub config_maps: BTreeSet<String>,
}

/// Those that there are.
#[derive(Debug, Default)]
pub struct Objects {
    pub secrets: BTreeMap<String, Secret>,
    pub config_maps: BTreeMap<String, ConfigMap>,
}

impl Installer {
    /// The first word of a source.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HarborCluster => "HarborCluster",
            Self::Helm => "Helm",
        }
    }
}

impl Source {
    /// Reads what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let (installer, rest) = text.split_once(' ')?;
        let installer =
            [Installer::HarborCluster, Installer::Helm].into_iter().find(|i| i.as_str() == installer)?;
        let (namespace, name) = rest.split_once('/')?;
        Some(Self { installer, namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// The name of its record.
    pub fn record(&self) -> Name {
        names::managed(&self.namespace, &self.name).into()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.installer.as_str(), self.namespace, self.name)
    }
}

impl Instance {
    /// What keeps it from being in step: a word for programs and a sentence.
    pub fn trouble(&self) -> Option<(&'static str, &str)> {
        let Self { url, password, health, .. } = self;
        if let Err(why) = url {
            return Some(("NoAddress", why));
        }
        if let Err(why) = password {
            return Some(("NoPassword", why));
        }
        health.as_ref().err().map(|why| ("Unhealthy", why.as_str()))
    }
}

impl Objects {
    /// The administrator's password in a Secret.
    ///
    /// # Errors
    /// Why there is none, without a word of what is there instead.
    pub fn password(&self, secret: &str, key: &str) -> Result<Password, String> {
        let found = self.secrets.get(secret).ok_or_else(|| format!("there is no Secret {secret}"))?;
        let text = text_in(found, key).ok_or_else(|| format!("Secret {secret} has no key {key}"))?;
        // Neither goes over Basic authentication.
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(format!("key {key} of Secret {secret} is empty or has control characters"));
        }
        Ok(Password {
            username: ADMIN.to_owned(),
            password: text.into(),
            version: found.metadata.resource_version.clone().unwrap_or_default(),
        })
    }

    /// The CA beside a certificate. There is none where a public one signed it.
    pub fn ca(&self, secret: &str) -> Option<String> {
        text_in(self.secrets.get(secret)?, CA).filter(|pem| pem.contains("-----BEGIN CERTIFICATE-----"))
    }
}

fn text_in(secret: &Secret, key: &str) -> Option<String> {
    String::from_utf8(secret.data.as_ref()?.get(key)?.0.clone()).ok()
}

/// An address as records have it.
///
/// # Errors
/// It is none. The text is not repeated: somebody may have written a password into it.
pub fn address(text: &str, field: &str) -> Result<String, String> {
    let fault = || format!("{field} is not scheme, host and port alone, as https://harbor.example.com");
    let url = Url::parse(text).map_err(|_| fault())?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let anonymous = url.username().is_empty() && url.password().is_none();
    if matches!(url.scheme(), "http" | "https") && url.host().is_some() && bare && anonymous {
        Ok(url.as_str().trim_end_matches('/').to_owned())
    } else {
        Err(fault())
    }
}
